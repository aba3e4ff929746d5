//! Explicit congestion notification (RFC 3168): the two lowest bits of the traffic class, by which routers tell a
//! connection of congestion without dropping its packets.

/// The sender does not take part: congestion can only be told by a drop.
pub const NOT_CAPABLE: u8 = 0b00;
/// The sender takes part (ECT(1)).
pub const CAPABLE_1: u8 = 0b01;
/// The sender takes part (ECT(0)).
pub const CAPABLE_0: u8 = 0b10;
/// There was congestion on the way.
pub const CONGESTION: u8 = 0b11;

/// The field's bits in a traffic class.
pub const MASK: u8 = 0b11;

/// What a packet that is taken out of a tunnel carries on, from what its own header and the outer one say (RFC 6040, 4.2,
/// figure 4). `None` means that it has to be dropped: there was congestion, and nothing else would tell the sender.
#[inline(always)]
pub const fn out_of_tunnel(inner: u8, outer: u8) -> Option<u8> {
    match (inner & MASK, outer & MASK) {
        (NOT_CAPABLE, CONGESTION) => None,
        (NOT_CAPABLE, _) => Some(NOT_CAPABLE),
        (CONGESTION, _) | (_, CONGESTION) => Some(CONGESTION),
        // A mark of mild congestion (RFC 6660) goes before none.
        (CAPABLE_0, CAPABLE_1) => Some(CAPABLE_1),
        (inner, _) => Some(inner),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_6040_figure_4() {
        let columns = [NOT_CAPABLE, CAPABLE_0, CAPABLE_1, CONGESTION];
        let rows = [
            (
                NOT_CAPABLE,
                [Some(NOT_CAPABLE), Some(NOT_CAPABLE), Some(NOT_CAPABLE), None],
            ),
            (
                CAPABLE_0,
                [Some(CAPABLE_0), Some(CAPABLE_0), Some(CAPABLE_1), Some(CONGESTION)],
            ),
            (
                CAPABLE_1,
                [Some(CAPABLE_1), Some(CAPABLE_1), Some(CAPABLE_1), Some(CONGESTION)],
            ),
            (CONGESTION, [Some(CONGESTION); 4]),
        ];
        for (inner, expected) in rows {
            assert_eq!(columns.map(|outer| out_of_tunnel(inner, outer)), expected, "{inner:#b}");
        }
    }

    #[test]
    fn only_the_two_bits_count() {
        assert_eq!(out_of_tunnel(0xfc | CAPABLE_0, 0xb8 | CONGESTION), Some(CONGESTION));
    }
}
