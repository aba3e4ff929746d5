//! The XDP program of backends behind a tunnel: takes packets out of it and passes them to the host.
//!
//! It stands in an object of its own, since backends have no use for the balancer's maps.

#![no_std]
#![no_main]
#![expect(clippy::cast_possible_wrap, reason = "a packet's length fits into 31 bits")]
#![expect(
    clippy::needless_pass_by_value,
    reason = "the entry point's signature is that of the macro"
)]

use core::mem::offset_of;

use aya_ebpf::{
    Global,
    bindings::xdp_action,
    btf_maps::{LpmTrie, PerCpuArray, lpm_trie::Key},
    macros::{btf_map, xdp},
    programs::XdpContext,
};
use balancer_common::{
    abi::Address,
    decapsulation::{Fate, find},
    translate::Resize as _,
};
use balancer_ebpf::packet::XdpPacket;

/// The object is licensed as the rest of the project; the kernel needs a GPL-compatible word for it.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[btf_map]
static FATES: PerCpuArray<u64, { Fate::ALL.len() }> = PerCpuArray::new();

/// Where packets may come from. IPv4 prefixes are in their mapped form. The loader sets the size.
#[btf_map]
static SOURCES: LpmTrie<[u8; 16], u8, 1> = LpmTrie::new();

/// Zero if it does not matter where packets come from. It begins as what no other constant is, with which the linker would
/// merge it.
#[unsafe(no_mangle)]
static RESTRICTED: Global<u32> = Global::new(0x5e57_0001);

/// Takes packets of the interface that it is attached to out of tunnels. What is in no tunnel passes as it is.
#[xdp(frags)]
fn balancer_decap(context: XdpContext) -> u32 {
    match take_out(&mut XdpPacket::new(&context)) {
        Ok(None) => xdp_action::XDP_PASS,
        Ok(Some(fate)) => {
            count(fate);
            xdp_action::XDP_PASS
        }
        Err(fate) => {
            count(fate);
            xdp_action::XDP_DROP
        }
    }
}

#[inline(always)]
fn take_out(packet: &mut XdpPacket<'_>) -> Result<Option<Fate>, Fate> {
    let Some(tunnelled) = find(packet)? else {
        return Ok(None);
    };
    if !is_allowed(tunnelled.source()) {
        return Err(Fate::SourceNotAllowed);
    }
    let opened = tunnelled.open(packet)?;
    packet
        .grow_front(-(opened.excess() as i32))
        .ok_or(Fate::MalformedOuter)?;
    opened.address(packet).ok_or(Fate::MalformedOuter).map(Some)
}

#[inline(always)]
fn is_allowed(source: Address) -> bool {
    RESTRICTED.load() == 0 || SOURCES.get(WholeAddress::new(source).key()).is_some()
}

/// A [`Key`] at such an address that its content can be written in whole words: the verifier wants those aligned on the
/// stack.
#[repr(C, align(8))]
struct WholeAddress {
    _padding: u32,
    prefix_length: u32,
    address: [u64; 2],
}

impl WholeAddress {
    #[inline(always)]
    const fn new(address: Address) -> Self {
        Self {
            _padding: 0,
            prefix_length: 128,
            address: address.words(),
        }
    }

    #[inline(always)]
    const fn key(&self) -> &Key<[u8; 16]> {
        let begin = (&raw const *self).cast::<u8>();
        // SAFETY: the offset is that of a field.
        let key = unsafe { begin.add(offset_of!(Self, prefix_length)) };
        // SAFETY: a key is packed and consists of a length and, directly behind it, of bytes, as does what is there.
        unsafe { &*key.cast() }
    }
}

#[inline(always)]
fn count(fate: Fate) {
    if let Some(count) = FATES.get_ptr_mut(fate as u32) {
        // SAFETY: a program is not preempted by another on its CPU.
        unsafe { *count += 1 };
    }
}

/// Never reached: a reachable panic would be a loop without end, which the verifier refuses.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
