//! What the programs of both objects share.

#![no_std]
#![feature(asm_experimental_arch)]
#![expect(
    clippy::cast_possible_truncation,
    reason = "the helper gives the width of a C long to an index of 32 bits"
)]

pub mod linear;
pub mod packet;
