//! Which addresses mean nothing here (`balancer_common::strangers`).

use core::cell::SyncUnsafeCell;

use balancer_common::{
    abi::Address,
    strangers::{NO_BACKEND, NO_VIP, PLACES, place},
};

/// A variable and no map of the program's: to read it takes neither a lookup nor a check. The daemon writes it.
#[unsafe(link_section = ".bss.strangers")]
static STRANGERS: SyncUnsafeCell<[u8; PLACES]> = SyncUnsafeCell::new([0; PLACES]);

/// Whether an address may be a VIP. If not, it is none.
#[inline(always)]
pub(crate) fn may_be_vip(address: Address) -> bool {
    said_of(address) & NO_VIP == 0
}

/// Whether an address may be a backend's. If not, it is none's.
#[inline(always)]
pub(crate) fn may_be_backend(address: Address) -> bool {
    said_of(address) & NO_BACKEND == 0
}

#[inline(always)]
fn said_of(address: Address) -> u8 {
    let bytes: *const u8 = STRANGERS.get().cast();
    // SAFETY: there are as many bytes as places.
    let byte = unsafe { bytes.add(place(address)) };
    // SAFETY: as above. The daemon may write the byte at any time, which changes it as a whole.
    unsafe { byte.read_volatile() }
}
