//! Header layouts.
//!
//! IP and UDP headers come from `network-types`. Its Ethernet and VLAN headers hold a `u16`, so a reference to one at an
//! odd address would be undefined behaviour, and its TCP header reads a flag by a loop over bits; those three are
//! declared here in bytes.

use network_types::{
    ip::{Ipv4Hdr, Ipv6Hdr},
    udp::UdpHdr,
};

use super::Ports;
use crate::abi::{Mac, Port};

/// A header that can be viewed anywhere in a packet.
///
/// # Safety
///
/// The type must have alignment 1 and be valid for any bytes.
pub unsafe trait Wire: Copy {}

macro_rules! wire {
    ($($type:ty),+ $(,)?) => {
        $(
            const _: () = assert!(align_of::<$type>() == 1);
            // SAFETY: the assertion checks the alignment, and the type consists of bytes only.
            unsafe impl Wire for $type {}
        )+
    };
}

wire!(Ethernet, Vlan, Ipv4Hdr, Ipv6Hdr, Ipv6Extension, Ports, Tcp, UdpHdr);

// SAFETY: bytes have alignment 1 and take any value.
unsafe impl<const N: usize> Wire for [u8; N] {}

// SAFETY: as above.
unsafe impl<const N: usize, const M: usize> Wire for [[u8; N]; M] {}

/// An Ethernet type as it stands in a frame (IEEE 802.3, network order).
pub type EtherType = [u8; 2];

/// An Ethernet header (IEEE 802.3).
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ethernet {
    /// MAC of the receiver.
    pub destination: Mac,
    /// MAC of the sender.
    pub source: Mac,
    /// What follows.
    pub ether_type: EtherType,
}

impl Ethernet {
    /// Bytes of the header.
    pub const LEN: usize = size_of::<Self>();
    /// IPv4 follows.
    pub const IPV4: EtherType = [0x08, 0x00];
    /// IPv6 follows.
    pub const IPV6: EtherType = [0x86, 0xdd];
    /// A VLAN tag follows (IEEE 802.1Q).
    pub const VLAN: EtherType = [0x81, 0x00];
    /// A service VLAN tag follows (IEEE 802.1ad).
    pub const SERVICE_VLAN: EtherType = [0x88, 0xa8];

    /// Not zero if the frame is for a group of hosts.
    #[inline(always)]
    pub const fn group_bit(&self) -> u8 {
        self.destination[0] & 1
    }
}

/// What stands between a VLAN's Ethernet type and the payload (IEEE 802.1Q).
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Vlan {
    /// Priority (3 bits), drop eligibility (1), VLAN identifier (12), in network order.
    pub control: [u8; 2],
    /// What follows.
    pub ether_type: EtherType,
}

impl Vlan {
    /// Bytes of the tag behind its own Ethernet type.
    pub const LEN: usize = size_of::<Self>();
}

/// The first eight bytes of an IPv6 extension header (RFC 8200, 4). In a fragment header the last six are offset and
/// identification (RFC 8200, 4.5).
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ipv6Extension {
    /// Protocol number of what follows.
    pub next_header: u8,
    /// Length in units that depend on the header.
    pub length: u8,
    /// The beginning of the content.
    pub content: [u8; 6],
}

impl Ipv6Extension {
    /// Bytes of the smallest extension header.
    pub const LEN: usize = size_of::<Self>();
}

/// A TCP header without options (RFC 9293, 3.1), in network order.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tcp {
    /// Port of the sender.
    pub source: Port,
    /// Port of the receiver.
    pub destination: Port,
    /// Sequence number.
    pub sequence: [u8; 4],
    /// Acknowledgement number.
    pub acknowledgement: [u8; 4],
    /// Length of the header in units of four bytes (upper 4 bits), reserved (4).
    pub data_offset: u8,
    /// Control bits.
    pub flags: u8,
    /// Receive window.
    pub window: [u8; 2],
    /// Checksum.
    pub checksum: [u8; 2],
    /// Urgent pointer.
    pub urgent: [u8; 2],
}

impl Tcp {
    /// Bytes of the header without options.
    pub const LEN: usize = size_of::<Self>();
}
