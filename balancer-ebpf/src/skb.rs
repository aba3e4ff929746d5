//! A packet of the host's own on its way out or in.

use core::{arch::asm, marker::PhantomData};

use aya_ebpf::{bindings::__sk_buff, programs::TcContext};
use balancer_common::packet::{Packet, Wire};

use balancer_ebpf::linear::Linear;

/// A frame that a program of the traffic control hooks was called for. Helpers that change it end its life.
pub(crate) struct Skb<'a> {
    linear: Linear,
    length: usize,
    _frame: PhantomData<&'a TcContext>,
}

impl<'a> Skb<'a> {
    /// The frame of this context.
    #[inline(always)]
    pub(crate) fn new(context: &'a TcContext) -> Self {
        Self {
            linear: linear(context.skb.skb),
            length: context.len() as usize,
            _frame: PhantomData,
        }
    }
}

/// Where the frame begins and ends: `data` and `data_end` of the context, which the verifier reads as pointers of 64 bits.
#[inline(always)]
fn linear(context: *mut __sk_buff) -> Linear {
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
    Linear { begin, end }
}

impl Packet for Skb<'_> {
    #[inline(always)]
    fn has(&self, length: usize) -> bool {
        length <= self.length
    }

    #[inline(always)]
    fn surely_has(&self, length: usize) -> bool {
        self.has(length)
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
