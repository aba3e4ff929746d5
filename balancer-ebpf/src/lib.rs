//! What the programs of both objects share.

#![no_std]
#![expect(
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "helpers speak C's int and long where the values are of 32 bits"
)]

pub mod packet;
