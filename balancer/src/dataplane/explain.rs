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

/// A packet whose way is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Who sends it.
    pub client: SocketAddr,
    /// The VIP and port that it is for.
    pub service: SocketAddr,
    /// Its IP protocol number.
    pub protocol: u8,
    /// The connection ID, if it is a QUIC packet with a short header.
    pub connection_id: Option<&'a [u8]>,
}

impl Dataplane {
    /// Where a packet from `client` to `service` goes right now and why. The answer comes from the maps that packets meet
    /// and from the code that they run through; the question leaves no trace.
    pub fn explain(&self, question: Question<'_>) -> anyhow::Result<Explanation> {
        let question = packet(question).context("client and service are of different IP versions")?;
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
        let question = Question {
            client: nobody,
            service: nobody,
            protocol: protocol::UDP,
            connection_id: None,
        };
        Ok(self.explain(question)?.moment)
    }
}

/// A minimal packet like the one that is asked about. Its checksums are zero, since nobody receives it.
fn packet(question: Question<'_>) -> Option<Vec<u8>> {
    let Question {
        client,
        service,
        protocol,
        connection_id,
    } = question;
    let mut transport = transport_header(client.port(), service.port(), protocol);
    if let Some(id) = connection_id {
        transport.extend(quic_packet(id));
        let length = u16::try_from(transport.len()).ok()?.to_be_bytes();
        transport.get_mut(4..6)?.copy_from_slice(&length);
    }
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

/// The shortest packet with a short header (RFC 9000, 17.3).
fn quic_packet(connection_id: &[u8]) -> Vec<u8> {
    const FIXED_BIT: u8 = 0x40;
    const SHORTEST: usize = 21;
    let mut packet = vec![FIXED_BIT];
    packet.extend(connection_id);
    packet.resize(packet.len().max(SHORTEST), 0);
    packet
}

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
