//! The frame in the driver's memory.

use aya_ebpf::{
    bindings::xdp_md,
    helpers::{bpf_xdp_adjust_head, bpf_xdp_get_buff_len},
    programs::XdpContext,
};
use balancer_common::packet::{Packet, Wire};

/// Furthest offset at which a header is looked for. Two VLAN tags, the longest IPv4 header and the options of a TCP header
/// end far below; the verifier wants a bound for offsets that come from the packet.
const MAX_OFFSET: usize = 2_047;

/// A frame that an XDP program was called for.
pub(crate) struct XdpPacket<'a> {
    context: &'a XdpContext,
}

impl<'a> XdpPacket<'a> {
    #[inline(always)]
    pub(crate) const fn new(context: &'a XdpContext) -> Self {
        Self { context }
    }

    /// The context, for helpers that take it.
    #[inline(always)]
    pub(crate) fn context(&self) -> *mut xdp_md {
        self.context.ctx
    }

    /// Index of the interface that the frame came in by.
    #[inline(always)]
    pub(crate) fn ingress(&self) -> u32 {
        self.context.ingress_ifindex() as u32
    }

    /// Makes room for so many bytes in front of the frame, whose content is not defined. `None` if there is none; the frame is
    /// then as it was.
    #[inline(always)]
    pub(crate) fn grow_front(&mut self, bytes: u32) -> Option<()> {
        // SAFETY: the context is the one that the kernel called the program with, and `self`, which is borrowed
        // exclusively, hands out no view that would outlive this.
        let answer = unsafe { bpf_xdp_adjust_head(self.context.ctx, -(bytes as i32)) };
        (answer == 0).then_some(())
    }

    /// Address of the first of `length` bytes at `offset`, if the linear part of the frame holds them.
    #[inline(always)]
    fn address(&self, offset: usize, length: usize) -> Option<usize> {
        if offset > MAX_OFFSET {
            return None;
        }
        let start = self.context.data() + offset;
        (start + length <= self.context.data_end()).then_some(start)
    }
}

impl Packet for XdpPacket<'_> {
    #[inline(always)]
    fn has(&self, length: usize) -> bool {
        self.context.data() + length <= self.context.data_end()
            // SAFETY: the context is the one that the kernel called the program with.
            || length as u64 <= unsafe { bpf_xdp_get_buff_len(self.context.ctx) }
    }

    #[inline(always)]
    fn view<T: Wire>(&self, offset: usize) -> Option<&T> {
        let address = self.address(offset, size_of::<T>())?;
        // SAFETY: the bytes are inside the frame, which the verifier checks once more, and any bytes at any alignment
        // are a `T`, since it is a `Wire` type.
        Some(unsafe { &*(address as *const T) })
    }

    #[inline(always)]
    fn view_mut<T: Wire>(&mut self, offset: usize) -> Option<&mut T> {
        let address = self.address(offset, size_of::<T>())?;
        // SAFETY: as in `view`; `self` is borrowed exclusively, and it is the only handle on this frame.
        Some(unsafe { &mut *(address as *mut T) })
    }
}
