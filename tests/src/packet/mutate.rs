//! Packets that are not what they should be.

use std::{net::SocketAddr, ops::Range};

use fastrand::Rng;

use super::Packet;

/// Bytes of an Ethernet header; the kernel takes no shorter frame.
const SHORTEST: usize = 14;

/// Most bytes that are appended, inserted or cut out at once.
const CHUNK: usize = 48;

/// A frame to make mutants of.
#[derive(Clone, Debug)]
pub struct Specimen {
    frame: Vec<u8>,
    /// Where the numbers are that decide how the frame is read.
    fields: Vec<Range<usize>>,
}

impl Specimen {
    /// The frame of a packet.
    pub fn of(packet: &Packet) -> Self {
        let (network, transport) = (packet.network(), packet.transport());
        let of_network: &[(usize, usize)] = match packet.destination {
            // Version and header length, total length, fragment, TTL, protocol, addresses.
            SocketAddr::V4(_) => &[(0, 1), (2, 4), (6, 8), (8, 9), (9, 10), (12, 16), (16, 20)],
            // Version, payload length, next header, hop limit, addresses.
            SocketAddr::V6(_) => &[(0, 1), (4, 6), (6, 7), (7, 8), (8, 24), (24, 40)],
        };
        // Ports, UDP length, TCP data offset.
        let of_transport = [(0, 2), (2, 4), (4, 6), (12, 13)];
        let at = |offset: usize| move |&(start, end): &(usize, usize)| offset + start..offset + end;
        let ether_types = (SHORTEST..=network).step_by(4).map(|end| end - 2..end);
        // Each byte of options and extension headers may be a length or a type.
        let extensions = (network + 40..transport).map(|byte| byte..byte + 1);
        Self {
            frame: packet.frame(),
            fields: ether_types
                .chain(of_network.iter().map(at(network)))
                .chain(extensions)
                .chain(of_transport.iter().map(at(transport)))
                .collect(),
        }
    }

    /// The frame with one or two changes.
    pub fn mutant(&self, rng: &mut Rng) -> Vec<u8> {
        let mut frame = self.frame.clone();
        for _ in 0..rng.usize(1..=2) {
            // Mostly such as leave the rest of the packet what it is.
            match rng.u8(..16) {
                0..=9 => self.edit_field(&mut frame, rng),
                10..=12 => flip_a_bit(&mut frame, rng),
                13 => frame.truncate(rng.usize(SHORTEST..=frame.len())),
                14 => insert(&mut frame, rng),
                _ => cut_out(&mut frame, rng),
            }
        }
        frame
    }

    /// Changes a field, if the frame still reaches that far.
    fn edit_field(&self, frame: &mut [u8], rng: &mut Rng) {
        let Some(field) = rng.choice(&self.fields).and_then(|range| frame.get_mut(range.clone())) else {
            return;
        };
        match rng.u8(..4) {
            0 => field.fill(*rng.choice(&[0, 0xff]).expect("there are two")),
            1 => rng.fill(field),
            2 => flip_a_bit(field, rng),
            // Numbers just beside the right one.
            _ => {
                let last = field.last_mut().expect("no field is empty");
                *last = last.wrapping_add_signed(rng.i8(-8..=8));
            }
        }
    }
}

fn flip_a_bit(bytes: &mut [u8], rng: &mut Rng) {
    let byte = rng.usize(..bytes.len());
    bytes[byte] ^= 1 << rng.u8(..8);
}

fn insert(frame: &mut Vec<u8>, rng: &mut Rng) {
    let mut chunk = vec![0; rng.usize(1..=CHUNK)];
    rng.fill(&mut chunk);
    let at = rng.usize(SHORTEST..=frame.len());
    frame.splice(at..at, chunk);
}

fn cut_out(frame: &mut Vec<u8>, rng: &mut Rng) {
    let start = rng.usize(SHORTEST..=frame.len());
    let end = frame.len().min(start + rng.usize(1..=CHUNK));
    frame.drain(start..end);
}
