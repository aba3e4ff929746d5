//! The text format that Prometheus scrapes (version 0.0.4).
//!
//! A client library would keep each sample in maps and messages of its own before it writes it. With a hundred thousand
//! backends that takes half a minute where writing takes a fraction of a second.

use std::{fmt::Write as _, mem};

use tokio::sync::mpsc;

/// The content type of the format.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A text that is being written, and handed on piece by piece: of a hundred thousand backends it is 200 MB long.
pub(super) struct Exposition {
    piece: String,
    pieces: mpsc::Sender<String>,
}

/// Bytes of a piece, but for its last line.
const PIECE: usize = 1 << 18;

/// Pieces that may wait for whoever reads them.
const WAITING: usize = 4;

/// What a family's samples are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// They only rise.
    Counter,
    /// They rise and fall.
    Gauge,
    /// They are counts by upper bound.
    Histogram,
}

/// Labels with their values as samples have them: written once, for all samples that have the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Labels(String);

impl Labels {
    /// No labels.
    pub(super) const NONE: Self = Self(String::new());

    /// These, by name, ascending.
    pub(super) fn new<const N: usize>(labels: [(&'static str, &str); N]) -> Self {
        let mut text = String::new();
        for (name, value) in labels {
            if !text.is_empty() {
                text.push(',');
            }
            text.push_str(name);
            text.push_str("=\"");
            push_escaped(&mut text, value);
            text.push('"');
        }
        Self(text)
    }
}

/// The value of a sample.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value {
    Count(u64),
    Real(f64),
}

impl From<u64> for Value {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Real(number)
    }
}

/// A family that samples are being written of.
pub(super) struct Family<'a> {
    exposition: &'a mut Exposition,
    name: &'static str,
}

impl Exposition {
    /// A text, and where its pieces come out. Writing waits for whoever reads them.
    pub(super) fn new() -> (Self, mpsc::Receiver<String>) {
        let (pieces, receiver) = mpsc::channel(WAITING);
        let piece = String::with_capacity(PIECE + PIECE / 8);
        (Self { piece, pieces }, receiver)
    }

    /// Begins a family.
    pub(super) fn family(&mut self, kind: Kind, name: &'static str, help: &str) -> Family<'_> {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        self.piece
            .extend(["# HELP ", name, " ", help, "\n# TYPE ", name, " ", kind, "\n"]);
        Family { exposition: self, name }
    }

    /// Hands on what has been written last.
    pub(super) fn finish(mut self) {
        self.hand_on();
    }

    fn hand_on(&mut self) {
        let next = String::with_capacity(self.piece.capacity());
        let piece = mem::replace(&mut self.piece, next);
        // Whoever has gone away reads no more.
        let _gone: Result<(), mpsc::error::SendError<String>> = self.pieces.blocking_send(piece);
    }

    /// What comes to be written, as a whole.
    #[cfg(test)]
    pub(super) fn text_of(write: impl FnOnce(&mut Self)) -> String {
        let (mut exposition, mut pieces) = Self::new();
        write(&mut exposition);
        exposition.finish();
        std::iter::from_fn(|| pieces.try_recv().ok()).collect()
    }
}

impl Family<'_> {
    /// Writes a sample.
    pub(super) fn sample(&mut self, labels: &Labels, value: impl Into<Value>) {
        self.part("", labels, None, value);
    }

    /// Writes a sample of a part of the family: the suffix of its name, its labels, the bound if it is a bucket, its value.
    pub(super) fn part(&mut self, suffix: &str, labels: &Labels, bound: Option<&str>, value: impl Into<Value>) {
        let text = &mut self.exposition.piece;
        text.extend([self.name, suffix]);
        match (labels.0.as_str(), bound) {
            ("", None) => {}
            ("", Some(bound)) => text.extend(["{le=\"", bound, "\"}"]),
            (labels, None) => text.extend(["{", labels, "}"]),
            (labels, Some(bound)) => text.extend(["{", labels, ",le=\"", bound, "\"}"]),
        }
        text.push(' ');
        match value.into() {
            Value::Count(count) => text.push_str(itoa::Buffer::new().format(count)),
            Value::Real(number) => {
                // Writing to a string cannot fail.
                let _never: Result<(), std::fmt::Error> = write!(text, "{number}");
            }
        }
        text.push('\n');
        if text.len() >= PIECE {
            self.exposition.hand_on();
        }
    }
}

fn push_escaped(text: &mut String, value: &str) {
    if !value.contains(['\\', '"', '\n']) {
        return text.push_str(value);
    }
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_have_help_type_and_samples() {
        let text = Exposition::text_of(|exposition| {
            let mut drops = exposition.family(Kind::Counter, "drops_total", "Dropped packets.");
            drops.sample(&Labels::new([("reason", "malformed")]), 3_u64);
            drops.sample(&Labels::new([("a", "1"), ("reason", "say \"no\\yes\"\n")]), u64::MAX);
            exposition
                .family(Kind::Gauge, "share", "A share.")
                .sample(&Labels::NONE, 0.25);
            let mut durations = exposition.family(Kind::Histogram, "duration_seconds", "Durations.");
            durations.part("_bucket", &Labels::NONE, Some("0.5"), 1_u64);
            durations.part("_bucket", &Labels::new([("of", "x")]), Some("+Inf"), 2_u64);
        });
        let expected = r#"# HELP drops_total Dropped packets.
# TYPE drops_total counter
drops_total{reason="malformed"} 3
drops_total{a="1",reason="say \"no\\yes\"\n"} 18446744073709551615
# HELP share A share.
# TYPE share gauge
share 0.25
# HELP duration_seconds Durations.
# TYPE duration_seconds histogram
duration_seconds_bucket{le="0.5"} 1
duration_seconds_bucket{of="x",le="+Inf"} 2
"#;
        assert_eq!(text, expected);
    }

    #[test]
    fn pieces_are_cut_between_lines_and_come_while_the_text_is_written() {
        let (mut exposition, mut pieces) = Exposition::new();
        let writer = std::thread::spawn(move || {
            let mut family = exposition.family(Kind::Counter, "lines_total", "Lines.");
            for line in 0..100_000_u64 {
                family.sample(&Labels::NONE, line);
            }
            exposition.finish();
        });
        let pieces: Vec<_> = std::iter::from_fn(|| pieces.blocking_recv()).collect();
        writer.join().unwrap();
        assert!(pieces.len() > WAITING + 1);
        assert!(
            pieces
                .iter()
                .all(|piece| piece.ends_with('\n') && piece.len() < PIECE + 100)
        );
        let text = pieces.concat();
        let lines: Vec<_> = text
            .lines()
            .filter_map(|line| line.strip_prefix("lines_total "))
            .collect();
        assert!(lines.iter().map(|line| line.parse::<u64>().unwrap()).eq(0..100_000));
    }
}
