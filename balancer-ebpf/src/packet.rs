//! The frame in the driver's memory.

use core::{arch::asm, hint};

use aya_ebpf::{
    bindings::xdp_md,
    helpers::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail, bpf_xdp_get_buff_len},
    programs::XdpContext,
};
use balancer_common::{
    packet::{Packet, Wire},
    translate::Resize,
};

use crate::linear::Linear;

/// A frame that an XDP program was called for.
pub struct XdpPacket<'a> {
    context: &'a XdpContext,
    linear: Linear,
}

impl<'a> XdpPacket<'a> {
    /// The frame of this context.
    #[inline(always)]
    pub fn new(context: &'a XdpContext) -> Self {
        Self {
            context,
            linear: linear(context),
        }
    }

    /// The frame of this context, for who looks at it as at a [plain](balancer_common::packet::parse_plain) one: nowhere but at
    /// offsets that are known beforehand.
    #[inline(always)]
    pub fn plain(context: &'a XdpContext) -> Self {
        let packet = Self::new(context);
        // SAFETY: the kernel's own memory is in the upper half of all addresses, and its end is nobody's. Said like this, the compiler
        // knows that a header is there if one behind it is; what it makes of that for other offsets the verifier does not follow.
        unsafe { hint::assert_unchecked(packet.linear.begin <= usize::MAX - 4_096) };
        packet
    }

    /// Notes where the frame begins and ends after it was resized through its context.
    #[inline(always)]
    pub fn refresh(&mut self) {
        self.linear = linear(self.context);
    }

    /// The context, for helpers that take it.
    #[inline(always)]
    pub fn context(&self) -> *mut xdp_md {
        self.context.ctx
    }

    /// Index of the interface that the frame came in by.
    #[inline(always)]
    pub fn ingress(&self) -> u32 {
        self.context.ingress_ifindex() as u32
    }

    /// Leaves nothing of the frame but its first `length` bytes.
    #[inline(always)]
    pub fn cut(&mut self, length: u32) -> Option<()> {
        // SAFETY: the context is the one that the kernel called the program with.
        let present = unsafe { bpf_xdp_get_buff_len(self.context.ctx) } as u32;
        let excess = present.checked_sub(length)?;
        // SAFETY: as above; `self`, which is borrowed exclusively, hands out no view that would outlive this.
        let answer = unsafe { bpf_xdp_adjust_tail(self.context.ctx, -excess.cast_signed()) };
        (answer == 0).then_some(())
    }
}

/// Where the frame begins and ends. The context has both in 32 bits, which the verifier reads as pointers of 64. If the
/// compiler knew that, it could keep the 32 bits and widen them later, and what comes of that is no pointer to the verifier.
#[inline(always)]
fn linear(context: &XdpContext) -> Linear {
    let (begin, end);
    // SAFETY: reads `data` and `data_end` of a context that the kernel called the program with.
    unsafe {
        asm!(
            "{begin} = *(u32 *)({context} + 0)",
            "{end} = *(u32 *)({context} + 4)",
            context = in(reg) context.ctx,
            begin = out(reg) begin,
            end = lateout(reg) end,
            options(readonly, nostack, preserves_flags),
        );
    }
    Linear { begin, end }
}

impl Packet for XdpPacket<'_> {
    #[inline(always)]
    fn has(&self, length: usize) -> bool {
        self.surely_has(length)
            // SAFETY: the context is the one that the kernel called the program with.
            || length as u64 <= unsafe { bpf_xdp_get_buff_len(self.context.ctx) }
    }

    #[inline(always)]
    fn surely_has(&self, length: usize) -> bool {
        self.linear.begin + length <= self.linear.end
    }

    #[inline(always)]
    fn view<T: Wire>(&self, offset: usize) -> Option<&T> {
        let view = self.linear.at(offset)?;
        // SAFETY: the bytes are inside the frame, which the verifier checks once more, and any bytes at any alignment
        // are a `T`, since it is a `Wire` type.
        Some(unsafe { view.as_ref() })
    }

    #[inline(always)]
    fn view_mut<T: Wire>(&mut self, offset: usize) -> Option<&mut T> {
        let mut view = self.linear.at(offset)?;
        // SAFETY: as in `view`; `self` is borrowed exclusively, and it is the only handle on this frame.
        Some(unsafe { view.as_mut() })
    }
}

impl Resize for XdpPacket<'_> {
    #[inline(always)]
    fn grow_front(&mut self, bytes: i32) -> Option<()> {
        // SAFETY: the context is the one that the kernel called the program with, and `self`, which is borrowed
        // exclusively, hands out no view that would outlive this.
        let answer = unsafe { bpf_xdp_adjust_head(self.context.ctx, -bytes) };
        // Whatever came of it, the verifier takes the old bounds for void.
        self.refresh();
        (answer == 0).then_some(())
    }
}
