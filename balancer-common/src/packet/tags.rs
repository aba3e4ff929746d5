//! The VLAN tags of a frame.

use super::{EtherType, Ethernet, Packet, Vlan};

/// VLAN tags that are looked through: customer and service tag (IEEE 802.1ad).
pub(super) const MAX_VLAN_TAGS: usize = 2;

/// Room for the tags, each with the Ethernet type that announces it. It is read and written whole, whatever part of it is
/// tags, since each part treated apart is a way through the program for the verifier to follow.
type Room = [u8; MAX_VLAN_TAGS * Vlan::LEN];

/// Offset of the tags, or of the Ethernet type where there are none.
const OFFSET: usize = Ethernet::LEN - size_of::<EtherType>();

/// A copy of the VLAN tags of a frame, for moving them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tags {
    room: u64,
    count: usize,
}

impl Tags {
    /// Copies the tags of the frame that begins at `start` and whose IP header is `network` bytes behind that.
    #[inline(always)]
    pub fn read<P: Packet + ?Sized>(packet: &P, start: usize, network: usize) -> Option<Self> {
        Some(Self {
            room: u64::from_le_bytes(*packet.view::<Room>(start + OFFSET)?),
            // The parser has seen to it that it is two at most: the mask is for the verifier, which wants a bound.
            count: (network.wrapping_sub(Ethernet::LEN) / Vlan::LEN) & 3,
        })
    }

    /// Offset of what follows on them in a frame.
    #[inline(always)]
    pub const fn end(&self) -> usize {
        Ethernet::LEN + self.count * Vlan::LEN
    }

    /// Writes them into the frame that begins where the packet does. What follows is of the type `ether_type`.
    #[inline(always)]
    pub fn write<P: Packet + ?Sized>(&self, packet: &mut P, ether_type: EtherType) -> Option<()> {
        let room = packet.view_mut::<Room>(OFFSET)?;
        let kept = self.behind();
        *room = (self.room & !kept | u64::from_le_bytes(*room) & kept).to_le_bytes();
        *packet.view_mut::<EtherType>(OFFSET + self.count * Vlan::LEN)? = ether_type;
        Some(())
    }

    /// The bits of the room that are not tags.
    #[inline(always)]
    const fn behind(&self) -> u64 {
        // In two steps, since a word cannot be shifted by all of its bits.
        let half = self.count * Vlan::LEN * 4;
        (u64::MAX << half) << half
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::packet::samples::samples;

    proptest! {
        #[test]
        fn what_was_read_is_written_in_front_of_something_else(sample in samples(), start in 0_usize..64) {
            let frame = sample.frame();
            let network = sample.network();
            let moved = [vec![0x5a; start], frame.clone()].concat();
            let tags = Tags::read(moved.as_slice(), start, network).unwrap();
            prop_assert_eq!(tags.end(), network);

            let mut other = vec![0xa5; network + 8];
            prop_assert_eq!(tags.write(other.as_mut_slice(), [0x12, 0x34]), Some(()));
            let expected = [&[0xa5; 12], &frame[12..network - 2], &[0x12, 0x34], &[0xa5; 8]].concat();
            prop_assert_eq!(other, expected);
        }

        #[test]
        fn there_must_be_room(sample in samples()) {
            let frame = sample.frame();
            let network = sample.network();
            let tags = Tags::read(frame.as_slice(), 0, network).unwrap();
            for length in 0..20 {
                let mut short = vec![0; length];
                prop_assert_eq!(Tags::read(&frame[..length], 0, network), None);
                prop_assert_eq!(tags.write(short.as_mut_slice(), [0x12, 0x34]), None);
            }
        }
    }
}
