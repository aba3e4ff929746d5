//! What is measured: configurations, and packets for each.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use balancer::{
    maglev::TableSize,
    reconcile::{DesiredBackend, DesiredService},
};
use balancer_common::abi::{Forwarding, Tracking, protocol};
use serde::Serialize;

use super::sample::{ENDLESS, Sample};
use crate::packet::{Action, Host, Interface, Transport, backend, full_nat, service};

/// Room for flows.
pub(super) const MAX_FLOWS: u32 = 1 << 20;

/// Ports that full NAT sends from, and how long it keeps one for a flow, in seconds: longer than any measurement.
const SOURCE_PORTS: (u16, u16) = (1_024, 65_535);
const IDLE: u32 = 3_600;

const BACKENDS: u16 = 100;
const SLOTS: u32 = 65_537;

/// Ports of the VIP: that of known flows, of new ones, of a service without backends, of one whose only backend's replies
/// are measured, and one that nobody serves.
const KNOWN: u16 = 80;
const NEW: u16 = 443;
const EMPTY: u16 = 81;
const REPLIES: u16 = 82;
const NOT_SERVED: u16 = 83;

/// A configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Setting {
    /// How packets get to backends.
    #[serde(serialize_with = "forwarding")]
    pub(super) forwarding: Forwarding,
    /// IP version.
    pub(super) ip: u8,
    /// TCP or UDP.
    #[serde(serialize_with = "transport")]
    pub(super) protocol: u8,
    /// What is remembered.
    #[serde(serialize_with = "tracking")]
    pub(super) tracking: Tracking,
}

/// A kind of packet that is measured.
#[derive(Clone, Debug)]
pub(super) struct Case {
    /// What it is called.
    pub(super) name: &'static str,
    pub(super) sample: Sample,
    /// Where it comes in.
    pub(super) ingress: u32,
    /// What has to come before: the packet that begins the flows.
    pub(super) begun_by: Option<Sample>,
}

/// What cases are called, in the order in which they are shown.
pub(super) const CASES: [&str; 9] = [
    "known 64",
    "known 64k",
    "known 500k",
    "redirected 64",
    "new",
    "reply 64",
    "drop",
    "other port",
    "not ours",
];

impl Setting {
    /// All that are measured.
    pub(super) fn all() -> Vec<Self> {
        let mut settings = Vec::new();
        for forwarding in Forwarding::ALL {
            for protocol in [protocol::TCP, protocol::UDP] {
                for ip in [4, 6] {
                    for tracking in [Tracking::Full, Tracking::Changes, Tracking::None] {
                        // The configuration refuses it: the flow is where the addresses of a packet are.
                        if forwarding == Forwarding::FullNat && tracking != Tracking::Full {
                            continue;
                        }
                        settings.push(Self {
                            forwarding,
                            ip,
                            protocol,
                            tracking,
                        });
                    }
                }
            }
        }
        settings
    }

    /// What it is called.
    pub(super) fn name(self) -> String {
        let (forwarding, transport, tracking) = (
            forwarding_name(self.forwarding),
            transport_name(self.protocol),
            tracking_name(self.tracking),
        );
        format!("{forwarding} {transport}v{} {tracking}", self.ip)
    }

    /// Has a host serve it.
    pub(super) fn serve(self, host: &mut Host<'_>) {
        let backends = (1..=BACKENDS).map(|number| self.backend(number));
        host.serve([
            self.service("web", &[KNOWN, NEW], backends),
            self.service("empty", &[EMPTY], []),
            self.service("replies", &[REPLIES], [self.replying_backend()]),
        ]);
    }

    /// The packets that are measured.
    pub(super) fn cases(self) -> Vec<Case> {
        let (first, next) = match self.protocol {
            protocol::TCP => (Transport::syn(), Transport::ack()),
            _ => (Transport::Udp, Transport::Udp),
        };
        let request =
            |transport: &Transport, port| Sample::request(transport.clone(), SocketAddr::new(self.vip(), port));
        let known = |flows| {
            (
                Interface::BACKENDS,
                request(&next, KNOWN).of_flows(flows),
                Some(request(&first, KNOWN).of_flows(flows)),
            )
        };
        let (_, sample, begun_by) = known(64);
        let redirected = (Interface::CLIENTS, sample.that_becomes(Action::Redirect), begun_by);
        let replying = SocketAddr::new(self.replying_backend().address.into(), REPLIES);
        let replied = (
            Interface::CLIENTS,
            Sample::reply(next.clone(), replying).of_flows(64),
            Some(request(&first, REPLIES).of_flows(64)),
        );
        let stranger = Sample::request(next.clone(), SocketAddr::new(self.stranger(), KNOWN));
        let other = |sample: Sample| (Interface::BACKENDS, sample, None);
        let cases = [
            known(64),
            known(1 << 16),
            known(1 << 19),
            redirected,
            other(request(&first, NEW).of_flows(ENDLESS)),
            replied,
            other(request(&first, EMPTY).of_flows(64).that_becomes(Action::Drop)),
            other(request(&next, NOT_SERVED).of_flows(64).that_becomes(Action::Pass)),
            other(stranger.of_flows(64).that_becomes(Action::Pass)),
        ];
        CASES
            .into_iter()
            .zip(cases)
            .map(|(name, (ingress, sample, begun_by))| Case {
                name,
                sample,
                ingress: ingress.index,
                begun_by,
            })
            .filter(|case| self.has_known_replies() || !case.name.starts_with("reply"))
            .collect()
    }

    /// The kind of packet that meets a full table, if there is a table.
    pub(super) fn overflow(self) -> Option<Case> {
        let new = self.cases().into_iter().find(|case| case.name == "new")?;
        (self.tracking == Tracking::Full).then_some(Case {
            name: "new, table full",
            ..new
        })
    }

    /// Whether replies pass here, and to the client's own address: under full NAT the program alone knows where to.
    fn has_known_replies(self) -> bool {
        self.forwarding.replies_return() && self.forwarding != Forwarding::FullNat
    }

    fn service(self, name: &str, ports: &[u16], backends: impl IntoIterator<Item = DesiredBackend>) -> DesiredService {
        let service = DesiredService {
            forwarding: self.forwarding,
            tracking: self.tracking,
            table_size: TableSize::new(SLOTS).expect("the size is a prime"),
            ..service(name, self.vip(), self.protocol, ports, backends)
        };
        match self.forwarding {
            Forwarding::FullNat => full_nat(service, &self.sources(), SOURCE_PORTS, IDLE),
            _ => service,
        }
    }

    fn vip(self) -> IpAddr {
        match self.ip {
            4 => Ipv4Addr::new(192, 0, 2, 10).into(),
            _ => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10).into(),
        }
    }

    /// An address that is no VIP.
    fn stranger(self) -> IpAddr {
        match self.ip {
            4 => Ipv4Addr::new(198, 51, 100, 10).into(),
            _ => Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x10).into(),
        }
    }

    /// The addresses that full NAT sends from.
    fn sources(self) -> [IpAddr; 4] {
        [1, 2, 3, 4].map(|number| match self.ip {
            4 => Ipv4Addr::new(10, 2, 1, number).into(),
            _ => Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0xf, number.into()).into(),
        })
    }

    fn replying_backend(self) -> DesiredBackend {
        self.backend(BACKENDS + 1)
    }

    fn backend(self, number: u16) -> DesiredBackend {
        let [high, low] = number.to_be_bytes();
        let address: IpAddr = match self.ip {
            4 => Ipv4Addr::new(10, 2, high, low).into(),
            _ => Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, number).into(),
        };
        backend(SocketAddr::new(address, 0))
    }
}

const fn forwarding_name(forwarding: Forwarding) -> &'static str {
    match forwarding {
        Forwarding::Nat => "nat",
        Forwarding::FullNat => "full-nat",
        Forwarding::Dsr => "dsr",
        Forwarding::Ipip => "ipip",
        Forwarding::Gue => "gue",
    }
}

const fn transport_name(protocol: u8) -> &'static str {
    match protocol {
        protocol::TCP => "TCP",
        _ => "UDP",
    }
}

const fn tracking_name(tracking: Tracking) -> &'static str {
    match tracking {
        Tracking::Full => "full",
        Tracking::Changes => "changes",
        Tracking::None => "none",
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn forwarding<S: serde::Serializer>(forwarding: &Forwarding, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(forwarding_name(*forwarding))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn transport<S: serde::Serializer>(protocol: &u8, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(transport_name(*protocol))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn tracking<S: serde::Serializer>(tracking: &Tracking, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(tracking_name(*tracking))
}
