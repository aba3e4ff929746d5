//! A packet of the host's own on its way out or in.

use core::{arch::asm, marker::PhantomData};

use aya_ebpf::{bindings::__sk_buff, programs::TcContext};
use balancer_common::packet::{Packet, Wire};

/// Furthest offset at which a header is looked for, as in XDP frames.
const MAX_OFFSET: usize = 2_047;

/// A frame that a program of the traffic control hooks was called for. Helpers that change it end its life.
pub(crate) struct Skb<'a> {
    /// Address of the frame's first byte.
    begin: usize,
    /// Address behind the last byte of the frame's linear part.
    end: usize,
    length: usize,
    _frame: PhantomData<&'a TcContext>,
}

impl<'a> Skb<'a> {
    /// The frame of this context.
    #[inline(always)]
    pub(crate) fn new(context: &'a TcContext) -> Self {
        let (begin, end) = bounds(context.skb.skb);
        Self {
            begin,
            end,
            length: context.len() as usize,
            _frame: PhantomData,
        }
    }

    /// Address of the first of `length` bytes at `offset`, if the linear part of the frame holds them.
    #[inline(always)]
    fn address(&self, offset: usize, length: usize) -> Option<usize> {
        if offset > MAX_OFFSET {
            return None;
        }
        let start = self.begin + offset;
        (start + length <= self.end).then_some(start)
    }
}

/// Where the frame begins and ends: `data` and `data_end` of the context, which the verifier reads as pointers of 64 bits.
#[inline(always)]
fn bounds(context: *mut __sk_buff) -> (usize, usize) {
    let (begin, end);
    // SAFETY: reads two fields of a context that the kernel called the program with.
    unsafe {
        asm!(
            "{begin} = *(u32 *)({context} + 76)",
            "{end} = *(u32 *)({context} + 80)",
            context = in(reg) context,
            begin = out(reg) begin,
            end = lateout(reg) end,
            options(readonly, nostack, preserves_flags),
        );
    }
    (begin, end)
}

impl Packet for Skb<'_> {
    #[inline(always)]
    fn has(&self, length: usize) -> bool {
        length <= self.length
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
