//! Words for messages.

/// The candidate that `text` is most likely a misspelling of.
pub(super) fn nearest<'a>(text: &str, candidates: &[&'a str]) -> Option<&'a str> {
    // One slip in three characters still looks like the same word.
    let distance = |candidate: &&str| strsim::damerau_levenshtein(&text.to_lowercase(), candidate);
    let nearest = candidates.iter().copied().min_by_key(distance)?;
    (distance(&nearest) <= nearest.len().div_ceil(3)).then_some(nearest)
}

/// `a, b or c`.
pub(super) fn alternatives(names: &[String]) -> String {
    match names {
        [first @ .., before, last] => [first, &[format!("{before} or {last}")]].concat().join(", "),
        [..] => names.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_close_is_suggested() {
        let candidates = ["name", "address", "ports"];
        for (text, expected) in [
            ("adress", Some("address")),
            ("ADDRESS", Some("address")),
            ("port", Some("ports")),
            ("protocol", None),
            ("", None),
        ] {
            assert_eq!(nearest(text, &candidates), expected, "{text}");
        }
        assert_eq!(nearest("name", &[]), None);
    }

    #[test]
    fn alternatives_read_as_a_sentence() {
        for (names, expected) in [("", ""), ("a", "a"), ("a b", "a or b"), ("a b c", "a, b or c")] {
            let names: Vec<String> = names.split_whitespace().map(str::to_owned).collect();
            assert_eq!(alternatives(&names), expected);
        }
    }
}
