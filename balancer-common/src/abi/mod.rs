//! The records that the XDP program and the daemon exchange through BPF maps.
//!
//! Every record is `repr(C)` without implicit padding, so that all its bytes are defined and may be compared and
//! hashed as bytes by the kernel. Ports and addresses are in network order as they stand in packets; counts,
//! indices and sizes are in the host's order.
//!
//! Whoever changes the layout or the meaning of a record raises [`VERSION`]: the maps are pinned under a path that
//! carries it, so a new program never reads an old map by mistake.

mod access;
mod address;
pub mod arena;
mod backend;
mod counters;
mod endpoint;
mod explanation;
mod failures;
mod flow;
mod fragment;
mod load;
mod mapping;
mod pin;
mod prefix;
mod probe;
mod route;
mod service;
mod slot;
mod table;
mod tick;
mod trace;
mod wake;

pub use access::{Access, Generation};
pub use address::Address;
pub use backend::{Backend, BackendFlags, NextHop};
pub use counters::{CounterLayout, CpuTraffic, Traffic};
pub use endpoint::{Endpoint, EndpointKey, Role};
pub use explanation::{Explanation, Reason};
pub use failures::Failures;
pub use flow::{Client, ClientKey, Flow, FlowBucket, FlowEntry, FlowKey, Owner, ReverseFlow, ReverseKey};
pub use fragment::{FirstFragment, FragmentKey};
pub use load::Load;
pub use mapping::{MAX_SOURCES, Mapping, MappingKey, Side, Source, SourceAddresses, SourcePool, begins_connection};
pub use pin::Pin;
pub use prefix::ClientPrefix;
pub use probe::{Probed, probe_mark, probed_backend};
pub use route::{NeighborRequest, ROUTE_CACHE, Route};
pub use service::{AffinityKind, Forwarding, Limits, Selection, Service, ServiceParts, Tracking, WhenDown};
pub use slot::Slot;
pub use table::TablePlace;
pub use tick::Tick;
pub use trace::{CAPTURED, Capture, Decision, TraceFilter};
pub use wake::WakeRequest;

/// The version of every record here and of the maps that hold them.
pub const VERSION: u32 = 13;

/// A port as it stands in a packet: two bytes in network order.
pub type Port = [u8; 2];

/// The port that stands for every port, or for the port that the other side used.
pub const ANY_PORT: Port = [0, 0];

/// A link-layer address (IEEE 802 MAC-48).
pub type Mac = [u8; 6];

/// IP protocol numbers (IANA) that the balancer tells apart.
pub mod protocol {
    /// Internet Control Message Protocol.
    pub const ICMP: u8 = 1;
    /// An IPv4 packet inside another packet (RFC 2003).
    pub const IPV4: u8 = 4;
    /// Transmission Control Protocol.
    pub const TCP: u8 = 6;
    /// User Datagram Protocol.
    pub const UDP: u8 = 17;
    /// An IPv6 packet inside another packet (RFC 2473).
    pub const IPV6: u8 = 41;
    /// Fragment header of IPv6. Here also what stands for the transport of a fragment that does not show it.
    pub const FRAGMENT: u8 = 44;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
}

/// Declares that a record may cross the map boundary, after the compiler has checked its size and that its fields fill
/// it.
macro_rules! record {
    ($type:ident { $($field:ident),+ }, $size:literal) => {
        const _: () = {
            assert!(
                size_of::<$type>() == $size,
                "the record has changed its size: raise abi::VERSION"
            );
            assert!(
                0 $(+ crate::abi::size_of_field(|$type { $field: field, .. }| field))+ == $size,
                "the record has bytes that belong to no field: declare them as padding"
            );
        };

        // SAFETY: the record is `repr(C)`, holds integers and arrays of them only, and the assertions above leave no
        // byte of it undefined.
        #[cfg(feature = "user")]
        unsafe impl aya::Pod for $type {}
    };
}
pub(crate) use record;

/// A word of memory from its halves. Byte by byte, the compiler for BPF would not find them again.
#[inline(always)]
pub(crate) const fn halves(first: [u8; 2], second: [u8; 2]) -> u32 {
    let (first, second) = (u16::from_ne_bytes(first) as u32, u16::from_ne_bytes(second) as u32);
    if cfg!(target_endian = "little") {
        second << 16 | first
    } else {
        first << 16 | second
    }
}

/// Bytes of the field that the function picks.
pub(crate) const fn size_of_field<Record, Field>(_pick: fn(&Record) -> &Field) -> usize {
    size_of::<Field>()
}
