//! Looks for what an answer must have.

use std::fmt::Write as _;

use regex::bytes::Regex;

use super::Failure;
use crate::config;

/// A pattern that is ready to be looked for.
pub(super) struct Pattern(Regex);

impl Pattern {
    pub(super) fn new(pattern: &config::Pattern) -> Self {
        let regex = match pattern {
            config::Pattern::Regex(regex) => Regex::new(regex),
            config::Pattern::Bytes(bytes) => Regex::new(&literal(bytes)),
        };
        Self(regex.expect("the configuration has only patterns that compile"))
    }

    /// Whether `answer` has the pattern anywhere.
    pub(super) fn is_in(&self, answer: &[u8]) -> bool {
        self.0.is_match(answer)
    }

    /// Fails unless `answer`, all of it, has the pattern.
    pub(super) fn demand(&self, answer: &[u8]) -> Result<(), Failure> {
        if self.is_in(answer) {
            Ok(())
        } else {
            Err(Failure::unexpected(answer))
        }
    }
}

/// The regular expression that matches just these bytes.
fn literal(bytes: &[u8]) -> String {
    bytes.iter().fold("(?-u)".to_owned(), |mut literal, byte| {
        write!(literal, "\\x{byte:02x}").expect("a string can be written to");
        literal
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bytes_match_themselves_wherever_they_are_and_nothing_else(
            before: Vec<u8>,
            sought in prop::collection::vec(any::<u8>(), 1..6),
            after: Vec<u8>,
        ) {
            let pattern = Pattern::new(&config::Pattern::Bytes(sought.clone()));
            prop_assert!(pattern.is_in(&[&before[..], &sought, &after].concat()));
            let contains = |answer: &[u8]| answer.windows(sought.len()).any(|window| window == sought);
            for answer in [&before, &after] {
                prop_assert_eq!(pattern.is_in(answer), contains(answer));
            }
        }
    }

    #[test]
    fn a_regular_expression_is_looked_for_in_any_bytes() {
        let pattern = Pattern::new(&config::Pattern::Regex(r"^220 \w+".to_owned()));
        for (answer, found) in [
            (&b"220 mail\r\n\xff"[..], true),
            ("220 größe".as_bytes(), true),
            (b"421 busy 220 x", false),
            (b"\xff220 mail", false),
            (b"", false),
        ] {
            assert_eq!(pattern.is_in(answer), found, "{answer:?}");
        }
    }

    #[test]
    fn an_answer_without_the_pattern_is_shown() {
        let failure = Pattern::new(&config::Pattern::Bytes(b"+PONG".to_vec())).demand(b"-LOADING\r\n");
        assert_eq!(failure.unwrap_err().to_string(), r#"unexpected answer "-LOADING\r\n""#);
    }
}
