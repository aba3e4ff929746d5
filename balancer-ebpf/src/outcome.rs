//! What becomes of a packet as a number, which is what functions with external linkage return: zero for a packet that is
//! ready, else the reason for its drop, counted from one.

use balancer_common::DropReason;

/// The number for `result`.
#[inline(always)]
pub(crate) fn number(result: Result<(), DropReason>) -> u32 {
    match result {
        Ok(()) => 0,
        Err(reason) => reason as u32 + 1,
    }
}

/// What `number` stands for.
#[inline(always)]
pub(crate) fn result(number: u32) -> Result<(), DropReason> {
    match number.checked_sub(1) {
        None => Ok(()),
        Some(reason) => Err(DropReason::from_number(reason).unwrap_or(DropReason::Internal)),
    }
}
