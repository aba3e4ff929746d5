//! Frames that others have made, whole and spoiled in every way that takes one step.

use super::properties::check;

/// A name and the bytes in hexadecimal per line; `tests/vectors/frames.py` makes them.
const FRAMES: &str = include_str!("../../../../../tests/vectors/frames.txt");

fn frames() -> impl Iterator<Item = (&'static str, Vec<u8>)> {
    FRAMES.lines().map(|line| {
        let (name, digits) = line.split_once(' ').unwrap();
        let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
        assert!(rest.is_empty(), "{name}");
        let byte = |pair: &[u8; 2]| u8::from_str_radix(core::str::from_utf8(pair).unwrap(), 16).unwrap();
        (name, pairs.iter().map(byte).collect())
    })
}

#[track_caller]
fn assert_safe(name: &str, frame: &[u8]) {
    if let Err(error) = check(frame) {
        panic!("{name}: {error}: {frame:02x?}");
    }
}

#[test]
fn frames_of_the_corpus_are_parsed_as_they_are_meant() {
    assert!(frames().count() > 50);
    for (name, frame) in frames() {
        assert_safe(name, &frame);
    }
}

#[test]
fn frames_of_the_corpus_may_end_anywhere() {
    for (name, frame) in frames() {
        for length in 0..frame.len() {
            assert_safe(name, &frame[..length]);
        }
    }
}

#[test]
fn frames_of_the_corpus_may_have_any_bit_wrong() {
    for (name, mut frame) in frames() {
        for bit in 0..8 * frame.len() {
            frame[bit / 8] ^= 1 << (bit % 8);
            assert_safe(name, &frame);
            frame[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
