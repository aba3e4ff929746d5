//! What stands in front of the IP header: an Ethernet header and VLAN tags.

use super::{EtherType, Ethernet, Packet, Vlan};
use crate::abi::{Mac, NextHop};

/// VLAN tags that are looked through: customer and service tag (IEEE 802.1ad).
pub(super) const MAX_VLAN_TAGS: usize = 2;

/// A VLAN tag with the Ethernet type that announces it.
type Tag = [u8; Vlan::LEN];

/// Offset of the first tag, or of the Ethernet type where there is none.
const TAGS: usize = Ethernet::LEN - size_of::<EtherType>();

/// A copy of what stands in front of the IP header, for moving it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Link {
    destination: Mac,
    source: Mac,
    tags: [Tag; MAX_VLAN_TAGS],
    length: usize,
}

impl Link {
    /// Copies what stands in front of the IP header, which is at offset `network`, of a packet that has been parsed.
    #[inline(always)]
    pub fn read<P: Packet + ?Sized>(packet: &P, network: usize) -> Option<Self> {
        let ethernet = packet.view::<Ethernet>(0)?;
        let mut link = Self {
            destination: ethernet.destination,
            source: ethernet.source,
            tags: [[0; Vlan::LEN]; MAX_VLAN_TAGS],
            length: network,
        };
        let mut offset = TAGS;
        for tag in &mut link.tags {
            if offset + size_of::<EtherType>() < network {
                *tag = *packet.view::<Tag>(offset)?;
            }
            offset += Vlan::LEN;
        }
        Some(link)
    }

    /// The same for a frame that leaves for `next_hop`.
    #[inline(always)]
    #[must_use]
    pub const fn toward(self, next_hop: &NextHop) -> Self {
        Self {
            destination: next_hop.destination,
            source: next_hop.source,
            ..self
        }
    }

    /// Offset of what follows.
    #[inline(always)]
    pub const fn length(&self) -> usize {
        self.length
    }

    /// Writes it to the front of a packet. What follows is of the type `ether_type`.
    #[inline(always)]
    pub fn write<P: Packet + ?Sized>(&self, packet: &mut P, ether_type: EtherType) -> Option<()> {
        let ethernet = packet.view_mut::<Ethernet>(0)?;
        ethernet.destination = self.destination;
        ethernet.source = self.source;
        let mut offset = TAGS;
        for tag in &self.tags {
            if offset + size_of::<EtherType>() < self.length {
                *packet.view_mut::<Tag>(offset)? = *tag;
                offset += Vlan::LEN;
            }
        }
        *packet.view_mut::<EtherType>(offset)? = ether_type;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::packet::samples::samples;

    proptest! {
        #[test]
        fn only_the_macs_are_those_of_the_next_hop(sample in samples(), destination: Mac, source: Mac) {
            let mut frame = sample.frame();
            let link = Link::read(frame.as_slice(), sample.network()).unwrap();
            let next_hop = NextHop { interface: 1, destination, source };
            let ether_type = [frame[sample.network() - 2], frame[sample.network() - 1]];
            let expected = [destination.as_slice(), &source, &frame[12..]].concat();
            prop_assert_eq!(link.toward(&next_hop).write(frame.as_mut_slice(), ether_type), Some(()));
            prop_assert_eq!(frame, expected);
        }

        #[test]
        fn what_was_read_is_written_in_front_of_something_else(sample in samples()) {
            let frame = sample.frame();
            let network = sample.network();
            let link = Link::read(frame.as_slice(), network).unwrap();
            prop_assert_eq!(link.length(), network);

            let mut other = vec![0xa5; network + 4];
            prop_assert_eq!(link.write(other.as_mut_slice(), [0x12, 0x34]), Some(()));
            let expected = [&frame[..network - 2], &[0x12, 0x34, 0xa5, 0xa5, 0xa5, 0xa5]].concat();
            prop_assert_eq!(other, expected);
        }

        #[test]
        fn there_must_be_room(sample in samples()) {
            let frame = sample.frame();
            let network = sample.network();
            let link = Link::read(frame.as_slice(), network).unwrap();
            for length in 0..network {
                let mut short = vec![0; length];
                prop_assert_eq!(Link::read(&frame[..length.min(network - 3)], network), None);
                prop_assert_eq!(link.write(short.as_mut_slice(), [0x12, 0x34]), None);
            }
        }
    }
}
