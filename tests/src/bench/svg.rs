//! Drawings, as SVG that needs nothing else to be shown, on a background of its own.

use std::fmt::Write as _;

/// Width of every drawing.
pub(super) const WIDTH: f64 = 860.0;
/// Where the heading ends.
pub(super) const TOP: f64 = 84.0;
/// Colours that people tell apart however they see colours (Okabe and Ito).
const COLOURS: [&str; 6] = ["#0072b2", "#56b4e9", "#009e73", "#e69f00", "#d55e00", "#999999"];

/// What a drawing says about itself.
#[derive(Clone, Debug)]
pub(super) struct Heading {
    /// What it shows.
    pub(super) title: String,
    /// What it was measured on, and in which unit.
    pub(super) subtitle: String,
    /// What the colours mean, in their order.
    pub(super) series: Vec<String>,
}

/// A drawing that is being made.
#[derive(Clone, Debug, Default)]
pub(super) struct Drawing(String);

impl Drawing {
    /// Adds an element.
    pub(super) fn element(&mut self, element: &str) {
        self.0.push_str(element);
        self.0.push('\n');
    }

    /// Adds words, of which the point is the `start`, `middle` or `end`.
    pub(super) fn text(&mut self, (x, y): (f64, f64), anchor: &str, content: &str) {
        let content = escape(content);
        self.element(&format!(
            r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{content}</text>"#
        ));
    }

    /// Adds a dashed line.
    pub(super) fn mark(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        self.element(&format!(
            r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" stroke="black" stroke-dasharray="3 3"/>"#
        ));
    }

    /// The whole of it, so high, with its heading.
    pub(super) fn page(self, height: f64, heading: &Heading) -> String {
        let mut page = Self::default();
        page.element(&format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0}" font-family="sans-serif" font-size="11">"#
        ));
        page.element(r#"<rect width="100%" height="100%" fill="white"/>"#);
        page.element(&format!(
            r#"<text x="12" y="24" font-size="16" font-weight="bold">{}</text>"#,
            escape(&heading.title)
        ));
        page.text((12.0, 42.0), "start", &heading.subtitle);
        let mut x = 12.0;
        for (number, label) in heading.series.iter().enumerate() {
            page.element(&format!(
                r#"<rect x="{x:.0}" y="54" width="11" height="11" fill="{}"/>"#,
                colour(number)
            ));
            page.text((x + 16.0, 63.0), "start", label);
            x += 34.0 + 6.2 * count(label.chars().count());
        }
        let Self(mut text) = page;
        writeln!(text, "{}</svg>", self.0).expect("a string takes whatever is written to it");
        text
    }
}

/// The colour of a series, counted from 0.
pub(super) fn colour(series: usize) -> &'static str {
    COLOURS[series % COLOURS.len()]
}

/// Three digits are enough to read.
pub(super) fn number(value: f64) -> String {
    match value.abs() {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// How many parts there are.
#[expect(clippy::cast_precision_loss, reason = "a drawing has few parts")]
pub(super) const fn count(number: usize) -> f64 {
    number as f64
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
