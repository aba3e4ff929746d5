//! The text format that Prometheus scrapes (version 0.0.4).
//!
//! A client library would keep each sample in maps and messages of its own before it writes it. With a hundred thousand
//! backends that takes half a minute where writing takes a fraction of a second.

use std::fmt::{Display, Write as _};

/// The content type of the format.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A text that is being written.
#[derive(Default)]
pub(super) struct Exposition(String);

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

/// Labels with their values, by name, ascending.
pub(super) type Labels<'a> = &'a [(&'static str, &'a str)];

/// A family that samples are being written of.
pub(super) struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
}

impl Exposition {
    /// Begins a family.
    pub(super) fn family(&mut self, kind: Kind, name: &'static str, help: &str) -> Family<'_> {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        self.0
            .extend(["# HELP ", name, " ", help, "\n# TYPE ", name, " ", kind, "\n"]);
        Family {
            text: &mut self.0,
            name,
        }
    }

    /// What has been written.
    pub(super) fn into_text(self) -> String {
        self.0
    }
}

impl Family<'_> {
    /// Writes a sample.
    pub(super) fn sample(&mut self, labels: Labels<'_>, value: impl Display) {
        self.part("", labels, None, value);
    }

    /// Writes a sample of a part of the family: the suffix of its name, its labels, the bound if it is a bucket, its value.
    pub(super) fn part(&mut self, suffix: &str, labels: Labels<'_>, bound: Option<&dyn Display>, value: impl Display) {
        self.text.push_str(self.name);
        self.text.push_str(suffix);
        let mut before = '{';
        for (name, value) in labels {
            self.text.push(before);
            self.text.push_str(name);
            self.text.push_str("=\"");
            push_escaped(self.text, value);
            self.text.push('"');
            before = ',';
        }
        if let Some(bound) = bound {
            // Writing to a string cannot fail.
            let _never: Result<(), std::fmt::Error> = write!(self.text, "{before}le=\"{bound}\"");
            before = ',';
        }
        if before == ',' {
            self.text.push('}');
        }
        let _never: Result<(), std::fmt::Error> = writeln!(self.text, " {value}");
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
        let mut exposition = Exposition::default();
        let mut drops = exposition.family(Kind::Counter, "drops_total", "Dropped packets.");
        drops.sample(&[("reason", "malformed")], 3);
        drops.sample(&[("a", "1"), ("reason", "say \"no\\yes\"\n")], u64::MAX);
        exposition.family(Kind::Gauge, "share", "A share.").sample(&[], 0.25);
        let mut durations = exposition.family(Kind::Histogram, "duration_seconds", "Durations.");
        durations.part("_bucket", &[], Some(&0.5), 1);
        durations.part("_bucket", &[("of", "x")], Some(&"+Inf"), 2);
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
        assert_eq!(exposition.into_text(), expected);
    }
}
