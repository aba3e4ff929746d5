//! Packets that differ in nothing but the number of their flow.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use crate::packet::{Action, Packet, Transport};

/// Words of eight bytes in which the front of a frame is written, and where they are (balancer-ebpf/src/bench.rs).
pub(in crate::bench) const WORDS: usize = 10;
const OFFSETS: [usize; WORDS] = [0, 6, 14, 22, 30, 38, 46, 54, 62, 70];

/// Bytes of every frame.
const FRAME: usize = 128;

/// More flows than are ever remembered.
pub(in crate::bench) const ENDLESS: u32 = 1 << 24;

/// Where the number of the flow stands: in the last bytes of an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::bench) enum Numbered {
    /// Of the sender's: packets from clients.
    Source,
    /// Of the receiver's: packets to clients.
    Destination,
}

/// A kind of packet.
#[derive(Clone, Debug)]
pub(in crate::bench) struct Sample {
    frame: Vec<u8>,
    number: usize,
    flows: u32,
    becomes: Action,
}

impl Sample {
    /// A packet from the first client to `service`.
    pub(in crate::bench) fn request(transport: Transport, service: SocketAddr) -> Self {
        Self::new(
            &Packet::new(transport, first_client(service), service),
            Numbered::Source,
        )
    }

    /// A packet from one client to `service` and those behind it: what is numbered is the VIP.
    pub(in crate::bench) fn requests_to_neighbours(transport: Transport, service: SocketAddr) -> Self {
        Self::new(
            &Packet::new(transport, first_client(service), service),
            Numbered::Destination,
        )
    }

    /// A packet from `backend` to the first client.
    pub(in crate::bench) fn reply(transport: Transport, backend: SocketAddr) -> Self {
        Self::new(
            &Packet::new(transport, backend, first_client(backend)),
            Numbered::Destination,
        )
    }

    fn new(packet: &Packet, numbered: Numbered) -> Self {
        let network = packet.network();
        let end_of_address = match (numbered, packet.source.is_ipv4()) {
            (Numbered::Source, true) => 16,
            (Numbered::Destination, true) => 20,
            (Numbered::Source, false) => 24,
            (Numbered::Destination, false) => 40,
        };
        let headers = Packet {
            payload: Vec::new(),
            ..packet.clone()
        }
        .frame()
        .len();
        let payload = vec![0x5a; FRAME - headers];
        Self {
            frame: Packet {
                payload,
                ..packet.clone()
            }
            .frame(),
            number: network + end_of_address - size_of::<u32>(),
            flows: 1,
            becomes: Action::Transmit,
        }
    }

    /// Of so many flows, which must be a power of two.
    #[must_use]
    pub(in crate::bench) fn of_flows(self, flows: u32) -> Self {
        assert!(flows.is_power_of_two() && flows <= ENDLESS, "{flows} flows");
        Self { flows, ..self }
    }

    /// What is to become of it.
    #[must_use]
    pub(in crate::bench) fn that_becomes(self, becomes: Action) -> Self {
        Self { becomes, ..self }
    }

    /// How many flows there are.
    pub(in crate::bench) const fn flows(&self) -> u32 {
        self.flows
    }

    /// What is to become of it.
    pub(in crate::bench) const fn becomes(&self) -> Action {
        self.becomes
    }

    /// The packet of the first flow.
    pub(in crate::bench) fn frame(&self) -> &[u8] {
        &self.frame
    }

    /// The front of the frame.
    pub(in crate::bench) fn words(&self) -> [u64; WORDS] {
        words(&self.frame)
    }

    /// The bits of the front that carry the number of the flow.
    pub(in crate::bench) fn number_bits(&self) -> [u64; WORDS] {
        let mut bits = vec![0; FRAME];
        bits[self.number..][..size_of::<u32>()].fill(0xff);
        words(&bits)
    }

    /// How many flows there are, less one.
    pub(in crate::bench) fn flows_mask(&self) -> u64 {
        u64::from(self.flows - 1)
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} flows of {:02x?}", self.flows, &self.frame[..54])
    }
}

fn words(bytes: &[u8]) -> [u64; WORDS] {
    OFFSETS.map(|offset| {
        let word = bytes[offset..].first_chunk().expect("a frame is longer than its front");
        u64::from_ne_bytes(*word)
    })
}

/// The client in whose address the number of the flow is zero.
fn first_client(peer: SocketAddr) -> SocketAddr {
    let address: IpAddr = match peer {
        SocketAddr::V4(_) => Ipv4Addr::new(11, 0, 0, 0).into(),
        SocketAddr::V6(_) => Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 0).into(),
    };
    SocketAddr::new(address, 40_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{address, read};

    #[test]
    fn the_number_is_the_end_of_the_clients_address() {
        for (service, client) in [
            ("192.0.2.1:80", "11.1.2.3:40000"),
            ("[2001:db8::1]:80", "[2001:db8:c::1:203]:40000"),
        ] {
            let request = Sample::request(Transport::ack(), address(service));
            let reply = Sample::reply(Transport::ack(), address(service));
            for sample in [request.clone(), reply.clone()] {
                let mut frame = sample.frame().to_vec();
                let number = u64::from(0x0001_0203_u32.to_be());
                let bits = sample.number_bits();
                for ((word, bits), offset) in sample.words().iter().zip(bits).zip(OFFSETS) {
                    frame[offset..][..8].copy_from_slice(&(word | (number << 32 | number) & bits).to_ne_bytes());
                }
                let read = read(&frame);
                assert!([read.source, read.destination].contains(&address(client)), "{read:?}");
                assert_eq!(frame.len(), FRAME);
            }
        }
    }
}
