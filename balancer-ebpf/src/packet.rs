//! The frame in the driver's memory.

use core::ptr;

use aya_ebpf::{
    bindings::xdp_md,
    helpers::{bpf_xdp_adjust_head, bpf_xdp_get_buff_len},
    programs::XdpContext,
};
use balancer_common::{
    packet::{Packet, Wire},
    translate::Resize,
};

/// Furthest offset at which a header is looked for. Two VLAN tags, the longest IPv4 header and the options of a TCP header
/// end far below; the verifier wants a bound for offsets that come from the packet.
const MAX_OFFSET: usize = 2_047;

/// A frame that an XDP program was called for.
pub struct XdpPacket<'a> {
    context: &'a XdpContext,
}

impl<'a> XdpPacket<'a> {
    /// The frame of this context.
    #[inline(always)]
    pub const fn new(context: &'a XdpContext) -> Self {
        Self { context }
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

    /// Address of the first of `length` bytes at `offset`, if the linear part of the frame holds them.
    #[inline(always)]
    fn address(&self, offset: usize, length: usize) -> Option<usize> {
        if offset > MAX_OFFSET {
            return None;
        }
        let start = self.begin() + offset;
        (start + length <= self.end()).then_some(start)
    }

    /// Address of the frame's first byte.
    #[inline(always)]
    fn begin(&self) -> usize {
        load(&self.fields().data)
    }

    /// Address behind the last byte of the frame's linear part.
    #[inline(always)]
    fn end(&self) -> usize {
        load(&self.fields().data_end)
    }

    #[inline(always)]
    fn fields(&self) -> &xdp_md {
        // SAFETY: the context is the one that the kernel called the program with.
        unsafe { &*self.context.ctx }
    }
}

/// Loads an address from the context, each time anew: where the compiler merges what it has loaded on two ways, it widens
/// the result by an instruction that the verifier takes for arithmetic, after which it knows the address no more.
#[inline(always)]
fn load(field: &u32) -> usize {
    // SAFETY: the field is there to be read.
    unsafe { ptr::from_ref(field).read_volatile() as usize }
}

impl Packet for XdpPacket<'_> {
    #[inline(always)]
    fn has(&self, length: usize) -> bool {
        self.begin() + length <= self.end()
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

impl Resize for XdpPacket<'_> {
    #[inline(always)]
    fn grow_front(&mut self, bytes: i32) -> Option<()> {
        // SAFETY: the context is the one that the kernel called the program with, and `self`, which is borrowed
        // exclusively, hands out no view that would outlive this.
        let answer = unsafe { bpf_xdp_adjust_head(self.context.ctx, -bytes) };
        (answer == 0).then_some(())
    }
}
