//! Following what is decided about single packets.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use balancer_common::{
    DropReason,
    abi::{self, Address, Decision, Reason, protocol},
};
use rustix::time::{ClockId, clock_gettime};

use super::{
    Controller, desired,
    resolve::{self, not_found, usage},
};
use crate::{
    control::protocol::{PacketDecision, PacketFate, PacketFrames, Refusal, RefusalKind, TraceFilter},
    dataplane::{Frames, Trace, Traced},
    neighbors,
};

/// XDP actions (linux/bpf.h) of packets that do not leave.
const XDP_DROP: u8 = 1;
const XDP_PASS: u8 = 2;

/// Bits before an IPv4 address in its 128-bit form.
const BEFORE_V4: u32 = 96;

impl Controller {
    /// Has the data plane tell of packets until [`end_trace`](Self::end_trace).
    pub(super) fn start_trace(&mut self, filter: &TraceFilter) -> Result<Trace, Refusal> {
        let filter = self.trace_filter(filter)?;
        self.dataplane.start_trace(&filter).map_err(|error| Refusal {
            kind: RefusalKind::Failed,
            message: format!("{error:#}"),
        })
    }

    pub(super) fn end_trace(&mut self) {
        if let Err(error) = self.dataplane.stop_trace() {
            tracing::error!("the program that tells of packets could not be replaced: {error:#}");
        }
    }

    /// The filter in the data plane's terms.
    fn trace_filter(&self, filter: &TraceFilter) -> Result<abi::TraceFilter, Refusal> {
        let known = &self.dataplane.state().index;
        let (mut service_index, mut backend_index) = (0, 0);
        if let Some(name) = &filter.service {
            let service = resolve::service(&self.intent.running, name)?;
            let missing = || not_found(&format!("the data plane lacks {name}"), std::iter::empty());
            service_index = *known.services.get(name.as_str()).ok_or_else(missing)?;
            if let Some(text) = &filter.backend {
                let backend = resolve::backend(service, text)?;
                backend_index = desired::backend_index(known, service, backend).ok_or_else(missing)?;
            }
        } else if filter.backend.is_some() {
            return Err(usage("a backend is one of a service: name the service too".to_owned()));
        }
        let (client, mask) = match filter.client {
            None => (Address::UNSPECIFIED, Address::UNSPECIFIED),
            Some(prefix) => {
                let before = if prefix.addr().is_ipv4() { BEFORE_V4 } else { 0 };
                let mask = Address::mask(before + u32::from(prefix.prefix_len()));
                (Address::from(prefix.network()), mask)
            }
        };
        Ok(abi::TraceFilter {
            client,
            client_mask: mask,
            drops: match filter.drops.as_deref() {
                None | Some([]) => abi::TraceFilter::ALL_DROPS,
                Some(labels) => reasons(labels)?,
            },
            service: service_index,
            backend: backend_index,
            rate: filter.rate,
            kept: u8::from(filter.drops.is_none()),
            capture: u8::from(filter.capture),
            _reserved: [0; 2],
        })
    }
}

/// A bit for each of these reasons.
fn reasons(labels: &[String]) -> Result<u64, Refusal> {
    labels.iter().try_fold(0, |bits, label| {
        let reason = DropReason::ALL.iter().find(|reason| reason.label() == label);
        let reason = reason.ok_or_else(|| {
            let known = DropReason::ALL.iter().map(|reason| reason.label().to_owned());
            not_found(&format!("there is no drop reason {label}"), known)
        })?;
        Ok(bits | 1 << *reason as u32)
    })
}

/// A decision as those who follow are told.
pub fn view(traced: Traced) -> PacketDecision {
    let Traced {
        decision,
        service,
        backend,
        frames,
    } = traced;
    let time = moment(decision.time);
    let (fate, reason) = fate(&decision);
    PacketDecision {
        time: humantime::format_rfc3339_micros(time).to_string(),
        interface: neighbors::interface_name(decision.interface),
        protocol: match decision.protocol {
            protocol::TCP => "tcp".to_owned(),
            protocol::UDP => "udp".to_owned(),
            protocol::ICMP | protocol::ICMPV6 => "icmp".to_owned(),
            number => number.to_string(),
        },
        flags: (decision.protocol == protocol::TCP).then(|| flags(decision.tcp_flags)),
        source: end(decision.source, decision.source_port),
        destination: end(decision.destination, decision.destination_port),
        service,
        backend,
        fate,
        reason: reason.map(ToOwned::to_owned),
        bytes: decision.received,
        missed: decision.missed,
        frames: frames.map(|Frames { received, sent }| PacketFrames {
            nanoseconds: nanoseconds(time),
            received,
            received_length: decision.received,
            sent,
            sent_length: decision.sent,
        }),
    }
}

fn fate(decision: &Decision) -> (PacketFate, Option<&'static str>) {
    let drop = decision.drop.checked_sub(1).and_then(DropReason::from_number);
    let chosen = match Reason::from_u32(decision.reason) {
        Some(Reason::Flow) => Some("flow"),
        Some(Reason::Maglev) => Some("maglev"),
        Some(Reason::Affinity) => Some("affinity"),
        Some(Reason::Pin) => Some("pin"),
        Some(Reason::Connection) => Some("connection-id"),
        Some(Reason::NoService | Reason::NoBackend | Reason::Denied | Reason::Limited) | None => None,
    };
    match (decision.action, drop) {
        (XDP_DROP, reason) => (PacketFate::Dropped, reason.map(DropReason::label)),
        (_, Some(reason)) => (PacketFate::Answered, Some(reason.label())),
        (XDP_PASS, None) => (PacketFate::Passed, None),
        (_, None) if decision.is_reply != 0 => (PacketFate::Returned, None),
        (_, None) if decision.backend != 0 => (PacketFate::Forwarded, chosen),
        (_, None) => (PacketFate::Answered, None),
    }
}

fn end(address: Address, port: abi::Port) -> SocketAddr {
    SocketAddr::new(IpAddr::from(address), u16::from_be_bytes(port))
}

/// The letters that packet analysers write, from the first bit on.
fn flags(bits: u8) -> String {
    let letters = "FSRPAUEC".chars().enumerate();
    letters
        .filter_map(|(bit, letter)| (bits >> bit & 1 == 1).then_some(letter))
        .collect()
}

/// The time of day at a reading of the monotonic clock, in nanoseconds.
fn moment(monotonic: u64) -> SystemTime {
    let now = clock_gettime(ClockId::Monotonic);
    let since_start = Duration::try_from(now).unwrap_or_default();
    SystemTime::now() - since_start.saturating_sub(Duration::from_nanos(monotonic))
}

fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(decision: Decision) -> (PacketFate, Option<String>) {
        let (fate, reason) = fate(&decision);
        (fate, reason.map(ToOwned::to_owned))
    }

    #[test]
    fn a_fate_follows_from_action_reason_and_direction() {
        const XDP_TX: u8 = 3;
        const XDP_REDIRECT: u8 = 4;
        let forwarded = Decision {
            action: XDP_REDIRECT,
            service: 1,
            backend: 2,
            reason: Reason::Maglev as u32,
            ..Decision::NONE
        };
        let rejected = DropReason::Rejected as u32 + 1;
        let cases = [
            (forwarded, PacketFate::Forwarded, Some("maglev")),
            (
                Decision {
                    action: XDP_TX,
                    ..forwarded
                },
                PacketFate::Forwarded,
                Some("maglev"),
            ),
            (
                Decision {
                    is_reply: 1,
                    reason: 0,
                    ..forwarded
                },
                PacketFate::Returned,
                None,
            ),
            (
                Decision {
                    action: XDP_DROP,
                    drop: rejected,
                    ..forwarded
                },
                PacketFate::Dropped,
                Some("rejected"),
            ),
            (
                Decision {
                    action: XDP_TX,
                    drop: rejected,
                    ..forwarded
                },
                PacketFate::Answered,
                Some("rejected"),
            ),
            (
                Decision {
                    action: XDP_TX,
                    ..Decision::NONE
                },
                PacketFate::Answered,
                None,
            ),
            (
                Decision {
                    action: XDP_PASS,
                    service: 1,
                    ..Decision::NONE
                },
                PacketFate::Passed,
                None,
            ),
        ];
        for (decision, fate, reason) in cases {
            assert_eq!(told(decision), (fate, reason.map(ToOwned::to_owned)), "{decision:?}");
        }
    }

    #[test]
    fn flags_are_written_as_packet_analysers_do() {
        assert_eq!(flags(0x02), "S");
        assert_eq!(flags(0x12), "SA");
        assert_eq!(flags(0x18), "PA");
        assert_eq!(flags(0), "");
    }

    #[test]
    fn reasons_are_named_by_their_labels() {
        let named = |labels: &[&str]| reasons(&labels.iter().map(|&label| label.to_owned()).collect::<Vec<_>>());
        let (no_backend, too_big) = (DropReason::NoBackend as u32, DropReason::TooBig as u32);
        assert_eq!(
            named(&["no_backend", "too_big"]).unwrap(),
            1 << no_backend | 1 << too_big
        );
        let refusal = named(&["no_backends"]).unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::NotFound);
        assert!(refusal.message.contains("there are malformed, "), "{}", refusal.message);
    }
}
