//! What `cargo xtask bench packet` measures with.
//!
//! `restore` runs a program over and over on what each time is a fresh packet of another flow; `swap` and `encapsulate` are
//! the least that a program can do to send a packet back and to tunnel it: the floors that the balancer is compared with.

#![no_std]
#![no_main]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "lengths of frames are small, and checksums have 16 bits"
)]
#![expect(
    clippy::needless_pass_by_value,
    reason = "the entry points' signature is that of the macro"
)]

use aya_ebpf::{
    bindings::xdp_action::{XDP_ABORTED, XDP_TX},
    btf_maps::{Array, ProgramArray},
    helpers::{bpf_xdp_adjust_head, bpf_xdp_get_buff_len},
    macros::{btf_map, xdp},
    programs::XdpContext,
};

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// Bytes of every frame.
const FRAME: i32 = 128;

/// Words of eight bytes in which the front of the frame is written.
const WORDS: usize = 10;

/// Where they are. No header's field lies across two of them: the CPU could then not hand what it has just stored to the
/// program that reads it, and the program would wait as it never does for a packet from the network.
const OFFSETS: [usize; WORDS] = [0, 6, 14, 22, 30, 38, 46, 54, 62, 70];

/// Bytes of the frame that are restored.
const FRONT: usize = OFFSETS[WORDS - 1] + size_of::<u64>();

/// An odd number, by which counting becomes hopping about: what is next in memory is not what is needed next.
const HOP: u64 = 0x9e37_79b1;

/// The front of the frame.
#[btf_map]
static WORD: Array<[u64; WORDS], 1> = Array::new();
/// The bits of it that carry the number of the flow.
#[btf_map]
static NUMBER_BITS: Array<[u64; WORDS], 1> = Array::new();
/// How many flows there are, less one. They are a power of two.
#[btf_map]
static FLOWS_MASK: Array<u64, 1> = Array::new();
/// How many packets there have been.
#[btf_map]
static PACKETS: Array<u64, 1> = Array::new();
/// The program that is measured.
#[btf_map]
static MEASURED: ProgramArray<1> = ProgramArray::new();

/// Makes the frame what it was, but for the number of its flow, and calls the program that is measured.
#[xdp(frags)]
fn restore(context: XdpContext) -> u32 {
    // SAFETY: the context is the one that the kernel called the program with.
    let length = unsafe { bpf_xdp_get_buff_len(context.ctx) };
    // SAFETY: as above, and no pointer to the packet has been taken yet.
    let moved = unsafe { bpf_xdp_adjust_head(context.ctx, length as i32 - FRAME) };
    if moved == 0 && write(&context).is_some() {
        // SAFETY: nothing here has to be dropped.
        unsafe { MEASURED.tail_call(&context, 0) };
    }
    XDP_ABORTED
}

#[inline(always)]
fn write(context: &XdpContext) -> Option<()> {
    let (words, bits) = (WORD.get(0)?, NUMBER_BITS.get(0)?);
    let number = hop()?;
    let front = view::<FRONT>(context, 0)?;
    for ((word, bits), offset) in words.iter().zip(bits).zip(OFFSETS) {
        // SAFETY: `OFFSETS` and `FRONT` agree.
        let place = unsafe { front.cast::<u8>().add(offset) };
        // SAFETY: `view` has checked that the frame has these bytes.
        unsafe { place.cast::<u64>().write_unaligned(word | number & bits) };
    }
    Some(())
}

/// The number of the next flow, in network order, in each half of the word.
#[inline(always)]
fn hop() -> Option<u64> {
    let packets = PACKETS.get_ptr_mut(0)?;
    // SAFETY: one program at a time is measured.
    let count = unsafe { *packets };
    // SAFETY: as above.
    unsafe { *packets = count.wrapping_add(1) };
    let number = count.wrapping_mul(HOP) & *FLOWS_MASK.get(0)?;
    let number = u64::from((number as u32).to_be());
    Some(number << 32 | number)
}

/// Sends the frame back to whom it came from.
#[xdp(frags)]
fn swap(context: XdpContext) -> u32 {
    let Some(addresses) = view::<12>(&context, 0) else {
        return XDP_ABORTED;
    };
    let addresses = addresses.cast::<[[u8; 6]; 2]>();
    // SAFETY: `view` has checked that the frame has these bytes.
    let [destination, source] = unsafe { *addresses };
    // SAFETY: as above.
    unsafe { *addresses = [source, destination] };
    XDP_TX
}

/// Puts an IPv4 packet into another one (RFC 2003), of which all but the length is fixed.
#[xdp(frags)]
fn encapsulate(context: XdpContext) -> u32 {
    match tunnel(&context) {
        Some(()) => XDP_TX,
        None => XDP_ABORTED,
    }
}

const ETHERNET: usize = 14;
const IPV4: usize = 20;

#[inline(always)]
fn tunnel(context: &XdpContext) -> Option<()> {
    /// From 10.2.0.1 to 10.2.0.2, TTL 64, without length and checksum.
    const OUTER: [u8; IPV4] = [0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 4, 0, 0, 10, 2, 0, 1, 10, 2, 0, 2];
    const SUM: u32 = 0x4500 + 0x4000 + 0x4004 + 0x0a02 + 0x0001 + 0x0a02 + 0x0002;

    let inner = view::<{ ETHERNET + IPV4 }>(context, 0)?;
    // SAFETY: `view` has checked that the frame has these bytes.
    let inner = unsafe { *inner };
    let length = u32::from(u16::from_be_bytes([inner[16], inner[17]])) + IPV4 as u32;
    // SAFETY: the context is the one that the kernel called the program with, and no pointer to the packet is used any
    // more.
    if unsafe { bpf_xdp_adjust_head(context.ctx, -(IPV4 as i32)) } != 0 {
        return None;
    }
    let sum = SUM + length;
    let checksum = !((sum >> 16) + sum) as u16;
    let mut outer = OUTER;
    [outer[2], outer[3]] = (length as u16).to_be_bytes();
    [outer[10], outer[11]] = checksum.to_be_bytes();
    // SAFETY: `view` has checked that the frame has these bytes.
    unsafe { *view(context, 0)? = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0_u8] };
    // SAFETY: as above.
    unsafe { *view(context, ETHERNET)? = outer };
    Some(())
}

/// The bytes at `offset`, if the frame has them.
#[inline(always)]
fn view<const LENGTH: usize>(context: &XdpContext, offset: usize) -> Option<*mut [u8; LENGTH]> {
    let start = context.data() + offset;
    (start + LENGTH <= context.data_end()).then_some(start as *mut [u8; LENGTH])
}

/// Never reached: a reachable panic would be a loop without end, which the verifier refuses.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
