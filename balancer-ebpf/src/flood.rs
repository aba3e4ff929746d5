//! What `cargo xtask bench flood` is made of: SYNs from everywhere, and the other end that they meet.
//!
//! `flood` makes frames, `answer` stands in for the driver of servers that answer such SYNs without remembering them, and
//! `swallow` is where frames end.

#![no_std]
#![no_main]
#![expect(clippy::cast_possible_truncation, reason = "checksums have 16 bits")]

use aya_ebpf::{
    bindings::xdp_action::{XDP_ABORTED, XDP_DROP, XDP_PASS, XDP_TX},
    btf_maps::Array,
    helpers::bpf_get_prandom_u32,
    macros::{btf_map, xdp},
    programs::XdpContext,
};

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// Bytes of a SYN with the options that hosts send, in IPv4.
const SYN: usize = 66;

/// Where things stand in it.
const ETHER_TYPE: usize = 12;
const IP_CHECKSUM: usize = 24;
const SOURCE: usize = 26;
const DESTINATION: usize = 30;
const SOURCE_PORT: usize = 34;
const DESTINATION_PORT: usize = 36;
const FLAGS: usize = 47;
const TCP_CHECKSUM: usize = 50;

/// The flag of a TCP segment that acknowledges another (RFC 9293, section 3.1).
const ACK: u8 = 0x10;

/// The first two bytes of the flood's sources, 198.18.0.0/15: what is set aside for benchmarks (RFC 2544).
const SOURCES: [u8; 2] = [198, 18];

/// The frame from the first of the sources, 198.18.0.0, and port 32768.
#[btf_map]
static FIRST: Array<[u8; SYN], 1> = Array::new();

/// Writes a SYN from any of 131,072 addresses and 32,768 ports, and sends it.
#[xdp(frags)]
fn flood(mut context: XdpContext) -> u32 {
    match write(&mut context) {
        Some(()) => XDP_TX,
        None => XDP_ABORTED,
    }
}

#[inline(always)]
fn write(context: &mut XdpContext) -> Option<()> {
    let frame = syn(context)?;
    *frame = *FIRST.get(0)?;
    // SAFETY: the helper takes nothing.
    let random = unsafe { bpf_get_prandom_u32() };
    let (high, low, port) = (random >> 31, random >> 15 & 0xffff, random & 0x7fff);
    frame[SOURCE + 1] |= high as u8;
    set(frame, SOURCE + 2, low as u16);
    set(frame, SOURCE_PORT, 0x8000 | port as u16);
    add(frame, IP_CHECKSUM, high + low);
    add(frame, TCP_CHECKSUM, high + low + port);
    Some(())
}

/// Answers the flood's SYNs as servers with SYN cookies do, and passes everything else.
#[xdp(frags)]
fn answer(mut context: XdpContext) -> u32 {
    match syn(&mut context) {
        Some(frame) if is_of_the_flood(frame) => {
            // Neither checksum depends on who of the two is the sender.
            swap::<6>(frame, 0, 6);
            swap::<4>(frame, SOURCE, DESTINATION);
            swap::<2>(frame, SOURCE_PORT, DESTINATION_PORT);
            frame[FLAGS] |= ACK;
            add(frame, TCP_CHECKSUM, u32::from(ACK));
            XDP_TX
        }
        _ => XDP_PASS,
    }
}

#[inline(always)]
fn is_of_the_flood(frame: &[u8; SYN]) -> bool {
    frame[ETHER_TYPE..ETHER_TYPE + 2] == [8, 0] && [frame[SOURCE], frame[SOURCE + 1] & 0xfe] == SOURCES
}

/// Drops every frame.
#[xdp(frags)]
fn swallow(_: XdpContext) -> u32 {
    XDP_DROP
}

/// The frame, if it is at least as long as a SYN.
#[inline(always)]
fn syn(context: &mut XdpContext) -> Option<&mut [u8; SYN]> {
    let start = context.data();
    if start + SYN > context.data_end() {
        return None;
    }
    // SAFETY: the frame has these bytes, and nothing else looks at it.
    Some(unsafe { &mut *(start as *mut [u8; SYN]) })
}

#[inline(always)]
fn swap<const LENGTH: usize>(frame: &mut [u8; SYN], one: usize, other: usize) {
    for byte in 0..LENGTH {
        frame.swap(one + byte, other + byte);
    }
}

/// Adds to a checksum's words (RFC 1624).
#[inline(always)]
fn add(frame: &mut [u8; SYN], checksum: usize, words: u32) {
    let old = u16::from_be_bytes([frame[checksum], frame[checksum + 1]]);
    let sum = u32::from(!old) + words;
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    set(frame, checksum, !sum as u16);
}

#[inline(always)]
fn set(frame: &mut [u8; SYN], offset: usize, word: u16) {
    [frame[offset], frame[offset + 1]] = word.to_be_bytes();
}

/// Never reached: a reachable panic would be a loop without end, which the verifier refuses.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
