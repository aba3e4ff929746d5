use super::*;

/// A message of this type and code whose last four bytes are a number.
fn message(kind: u8, code: u8, number: u32) -> [u8; HEADER_LEN] {
    let [a, b, c, d] = number.to_be_bytes();
    [kind, code, 0xaa, 0xbb, a, b, c, d]
}

/// Type, code and number of a message in the other IP version.
fn told(from: Family, kind: u8, code: u8, number: u32) -> Option<(u8, u8, u32)> {
    let [kind, code, 0, 0, a, b, c, d] = across(message(kind, code, number), from)? else {
        panic!("the checksum is not filled in yet");
    };
    Some((kind, code, u32::from_be_bytes([a, b, c, d])))
}

#[test]
fn messages_of_ipv4_are_told_in_ipv6_as_the_rfc_has_it() {
    let cases = [
        ((3, 0, 0), Some((1, 0, 0))),
        ((3, 1, 0), Some((1, 0, 0))),
        ((3, 2, 0), Some((4, 1, 6))),
        ((3, 3, 0), Some((1, 4, 0))),
        ((3, 5, 0), Some((1, 0, 0))),
        ((3, 9, 0), Some((1, 1, 0))),
        ((3, 10, 0), Some((1, 1, 0))),
        ((3, 12, 0), Some((1, 0, 0))),
        ((3, 13, 0), Some((1, 1, 0))),
        ((3, 14, 0), None),
        ((3, 15, 0), Some((1, 1, 0))),
        ((11, 0, 0), Some((3, 0, 0))),
        ((11, 1, 0), Some((3, 1, 0))),
        ((12, 0, 0), None),
        ((4, 0, 0), None),
    ];
    for ((kind, code, number), expected) in cases {
        assert_eq!(told(Family::V4, kind, code, number), expected, "{kind} {code}");
    }
}

#[test]
fn messages_of_ipv6_are_told_in_ipv4_as_the_rfc_has_it() {
    let cases = [
        ((1, 0, 0), Some((3, 1, 0))),
        ((1, 1, 0), Some((3, 10, 0))),
        ((1, 2, 0), Some((3, 1, 0))),
        ((1, 3, 0), Some((3, 1, 0))),
        ((1, 4, 0), Some((3, 3, 0))),
        ((1, 5, 0), None),
        ((3, 0, 0), Some((11, 0, 0))),
        ((3, 1, 0), Some((11, 1, 0))),
        ((4, 0, 7), None),
        ((4, 1, 40), Some((3, 2, 0))),
    ];
    for ((kind, code, number), expected) in cases {
        assert_eq!(told(Family::V6, kind, code, number), expected, "{kind} {code}");
    }
}

#[test]
fn a_limit_is_told_for_the_headers_of_the_other_version() {
    for (limit, expected) in [(1_400, 1_420), (1_260, 1_280), (576, 1_280), (0, 1_280)] {
        assert_eq!(told(Family::V4, 3, 4, limit), Some((2, 0, expected)), "{limit}");
    }
    for (limit, expected) in [(1_400, 1_380), (1_280, 1_260), (u32::MAX, 65_535)] {
        assert_eq!(told(Family::V6, 2, 0, limit), Some((3, 4, expected)), "{limit}");
    }
}
