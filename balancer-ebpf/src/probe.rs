//! Health probes that take the way of clients' packets: programs for the host's own packets, which XDP does not see on their
//! way out. `probe_out` is called for those that leave by an interface, `probe_in` for those that have come in.

use aya_ebpf::{
    bindings::{
        BPF_F_ADJ_ROOM_ENCAP_L3_IPV4, BPF_F_ADJ_ROOM_ENCAP_L3_IPV6, BPF_F_ADJ_ROOM_ENCAP_L4_UDP, BPF_F_MARK_MANGLED_0,
        BPF_F_PSEUDO_HDR, TC_ACT_SHOT, TC_ACT_UNSPEC, bpf_adj_room_mode::BPF_ADJ_ROOM_MAC,
    },
    helpers::bpf_csum_diff,
    macros::classifier,
    programs::TcContext,
};
use balancer_common::{
    abi::{Address, Backend, Forwarding, MappingKey, Probed, Service, probed_backend, protocol},
    affinity::is_remembered,
    encapsulation::{Encapsulation, Ends, wrap},
    packet::{Family, Headers, parse_plain},
    rewrite,
};

use crate::{maps, skb::Skb};

/// Sends a probe to its backend as a client's packet would get there. One that cannot is dropped: that it fails is what it is
/// for.
#[classifier]
fn probe_out(context: TcContext) -> i32 {
    maps::has_arena();
    // SAFETY: the context is the one that the kernel called the program with.
    let mark = unsafe { (*context.skb.skb).mark };
    match probed_backend(mark) {
        Some(index) if send(&context, index).is_none() => TC_ACT_SHOT,
        _ => TC_ACT_UNSPEC,
    }
}

/// Makes what a VIP has answered to a probe an answer of the backend, whom the probe's socket is connected to.
#[classifier]
fn probe_in(context: TcContext) -> i32 {
    maps::has_arena();
    let _no_answer_to_a_probe = receive(&context);
    TC_ACT_UNSPEC
}

#[inline(always)]
fn send(context: &TcContext, index: u32) -> Option<()> {
    let backend = maps::backend(index);
    let service = maps::service(backend.service);
    let mut headers = parse_plain(&Skb::new(context))?;
    // The socket may be older than what has the index now.
    if headers.destination != backend.address || service.vip.is_v4() != headers.destination.is_v4() {
        return None;
    }
    let now = maps::now();
    let probed = Probed {
        backend: backend.address,
        seen: now,
        _padding: 0,
    };
    let answer = MappingKey {
        source: headers.source,
        backend: service.vip,
        source_port: headers.ports.source,
        backend_port: headers.ports.destination,
        protocol: headers.protocol as u32,
    };
    maps::remember_probed(&answer, &probed);
    replace(context, &headers, Place::Destination, maps::copied(&service.vip))?;
    headers.destination = service.vip;
    deliver(context, &headers, service, backend)
}

#[inline(always)]
fn receive(context: &TcContext) -> Option<()> {
    let headers = parse_plain(&Skb::new(context))?;
    let answer = MappingKey {
        source: headers.destination,
        backend: headers.source,
        source_port: headers.ports.destination,
        backend_port: headers.ports.source,
        protocol: headers.protocol as u32,
    };
    let probed = maps::probed(&answer)?;
    // The host may since have begun something else with the VIP from the same port.
    if !is_remembered(maps::now(), probed.seen, maps::lifetimes().closed) {
        return None;
    }
    replace(context, &headers, Place::Source, probed.backend)
}

/// The way of forwarding, but that the host is where the packet begins, and so counts down no TTL.
#[inline(always)]
fn deliver(context: &TcContext, headers: &Headers, service: &Service, backend: &Backend) -> Option<()> {
    if !backend.next_hop.is_known() {
        return None;
    }
    let encapsulation = match service.forwarding() {
        Forwarding::Ipip => Encapsulation::Ipip,
        Forwarding::Gue => Encapsulation::Gue,
        Forwarding::Dsr => return rewrite::address_frame(&mut Skb::new(context), &backend.next_hop),
        Forwarding::Nat | Forwarding::FullNat => return None,
    };
    let ends = Ends {
        source: backend.tunnel_source,
        destination: backend.address,
    };
    let outer = match ends.family() {
        Family::V4 => BPF_F_ADJ_ROOM_ENCAP_L3_IPV4,
        Family::V6 => BPF_F_ADJ_ROOM_ENCAP_L3_IPV6,
    };
    let transport = match encapsulation {
        Encapsulation::Ipip => 0,
        Encapsulation::Gue => BPF_F_ADJ_ROOM_ENCAP_L4_UDP,
    };
    let overhead = encapsulation.overhead(ends.family());
    context
        .adjust_room(overhead as i32, BPF_ADJ_ROOM_MAC, u64::from(outer | transport))
        .ok()?;
    wrap(&mut Skb::new(context), headers, encapsulation, ends, &backend.next_hop)
}

/// Which of a packet's addresses is meant.
#[derive(Clone, Copy)]
enum Place {
    Source,
    Destination,
}

/// Replaces an address. The kernel does it, which knows whether the checksum has been worked out already.
#[inline(always)]
fn replace(context: &TcContext, headers: &Headers, place: Place, new: Address) -> Option<()> {
    let old = match place {
        Place::Source => headers.source,
        Place::Destination => headers.destination,
    };
    let network = usize::from(headers.network);
    let (checksum, zero_is_none) = match headers.protocol {
        protocol::TCP => (16, 0),
        _ => (6, BPF_F_MARK_MANGLED_0),
    };
    let checksum = usize::from(headers.transport) + checksum;
    let flags = u64::from(BPF_F_PSEUDO_HDR | zero_is_none);
    match headers.family {
        Family::V4 => {
            /// Offset of the header's own checksum.
            const HEADER_CHECKSUM: usize = 10;
            const WORD: u64 = 4;
            let offset = match place {
                Place::Source => 12,
                Place::Destination => 16,
            };
            let (from, to) = (old.v4_octets(), new.v4_octets());
            let words = [from, to].map(|octets| u64::from(u32::from_ne_bytes(octets)));
            context
                .l4_csum_replace(checksum, words[0], words[1], flags | WORD)
                .ok()?;
            context
                .l3_csum_replace(network + HEADER_CHECKSUM, words[0], words[1], WORD)
                .ok()?;
            context.store(network + offset, &to, 0).ok()
        }
        Family::V6 => {
            let offset = match place {
                Place::Source => 8,
                Place::Destination => 24,
            };
            let (mut from, mut to) = (old.octets(), new.octets());
            // SAFETY: both have so many bytes, which the helper only reads.
            let difference = unsafe { bpf_csum_diff(from.as_mut_ptr().cast(), 16, to.as_mut_ptr().cast(), 16, 0) };
            let difference = u64::try_from(difference).ok()?;
            context.l4_csum_replace(checksum, 0, difference, flags).ok()?;
            context.store(network + offset, &to, 0).ok()
        }
    }
}
