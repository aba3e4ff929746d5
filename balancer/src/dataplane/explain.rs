//! Asking the data plane where a packet would go.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Context as _, ensure};
use balancer_common::{
    abi::{Explanation, Tick, protocol},
    packet::{Ethernet, Tcp},
};

use super::{Dataplane, load};

/// `XDP_PASS` (linux/bpf.h): the program's word for an answer given.
const ANSWERED: u32 = 2;

impl Dataplane {
    /// Where a packet from `client` to `service` goes right now and why. The answer comes from the maps that packets meet
    /// and from the code that they run through; the question leaves no trace.
    pub fn explain(&self, client: SocketAddr, service: SocketAddr, protocol: u8) -> anyhow::Result<Explanation> {
        let question = packet(client, service, protocol).context("client and service are of different IP versions")?;
        let answer = self.test_run(load::EXPLAIN, &question, None)?;
        ensure!(
            answer.action == ANSWERED,
            "the data plane did not understand the question"
        );
        Explanation::from_bytes(&answer.packet).context("the data plane's answer is too short")
    }

    /// What the data plane's clock says.
    pub(super) fn now(&self) -> anyhow::Result<Tick> {
        let nobody = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        Ok(self.explain(nobody, nobody, protocol::UDP)?.moment)
    }
}

/// A minimal packet from `client` to `service`. Its checksums are zero, since nobody receives it.
fn packet(client: SocketAddr, service: SocketAddr, protocol: u8) -> Option<Vec<u8>> {
    let transport = transport_header(client.port(), service.port(), protocol);
    let length = u16::try_from(transport.len()).ok()?;
    let mut packet = vec![0; 12];
    match (client.ip(), service.ip()) {
        (IpAddr::V4(client), IpAddr::V4(service)) => {
            packet.extend(Ethernet::IPV4);
            packet.extend([0x45, 0]);
            packet.extend((20 + length).to_be_bytes());
            packet.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
            packet.extend(client.octets());
            packet.extend(service.octets());
        }
        (IpAddr::V6(client), IpAddr::V6(service)) => {
            packet.extend(Ethernet::IPV6);
            packet.extend([0x60, 0, 0, 0]);
            packet.extend(length.to_be_bytes());
            packet.extend([protocol, 64]);
            packet.extend(client.octets());
            packet.extend(service.octets());
        }
        _ => return None,
    }
    packet.extend(transport);
    Some(packet)
}

/// The length of a TCP header without options, in units of four bytes, where it stands in the header.
const TCP_DATA_OFFSET: u8 = 5 << 4;

fn transport_header(source: u16, destination: u16, protocol: u8) -> Vec<u8> {
    let mut header = Vec::new();
    header.extend(source.to_be_bytes());
    header.extend(destination.to_be_bytes());
    if protocol == protocol::TCP {
        header.resize(12, 0);
        header.push(TCP_DATA_OFFSET);
        header.resize(Tcp::LEN, 0);
    } else {
        header.extend([0, 8, 0, 0]);
    }
    header
}
