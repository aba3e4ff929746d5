//! Bar charts, as SVG that needs nothing else to be shown.

use std::fmt::Write as _;

/// Groups of bars, one under the other.
#[derive(Clone, Debug)]
pub(super) struct Chart {
    /// What it shows.
    pub(super) title: String,
    /// What it was measured on, and in which unit.
    pub(super) subtitle: String,
    /// What the colours mean, in the order of the bars of a group.
    pub(super) series: Vec<String>,
    /// The groups.
    pub(super) groups: Vec<Group>,
    /// A value to compare with, and what it is.
    pub(super) mark: Option<(f64, String)>,
}

/// Bars that belong together.
#[derive(Clone, Debug)]
pub(super) struct Group {
    /// What they are of.
    pub(super) label: String,
    /// A value for each series, or none.
    pub(super) values: Vec<Option<f64>>,
}

const WIDTH: f64 = 860.0;
/// Where bars begin.
const LEFT: f64 = 190.0;
/// Room for the value behind the longest bar.
const RIGHT: f64 = 70.0;
const TOP: f64 = 84.0;
const BAR: f64 = 13.0;
const GAP: f64 = 12.0;
/// Colours that people tell apart however they see colours (Okabe and Ito).
const COLOURS: [&str; 6] = ["#0072b2", "#56b4e9", "#009e73", "#e69f00", "#d55e00", "#999999"];

impl Chart {
    /// The drawing.
    pub(super) fn svg(&self) -> String {
        let values = || self.groups.iter().flat_map(|group| group.values.iter().flatten());
        let largest = values().copied().fold(f64::MIN_POSITIVE, f64::max);
        let scale = (WIDTH - LEFT - RIGHT) / largest;
        let mut body = String::new();
        let mut y = TOP;
        for group in &self.groups {
            let bars: Vec<_> = group
                .values
                .iter()
                .enumerate()
                .filter_map(|(series, value)| Some((series, (*value)?)))
                .collect();
            let height = BAR * count(bars.len());
            text(&mut body, (LEFT - 8.0, y + height / 2.0 + 4.0), "end", &group.label);
            for (series, value) in bars {
                let colour = COLOURS[series % COLOURS.len()];
                let width = value.max(0.0) * scale;
                element(
                    &mut body,
                    &format!(
                        r#"<rect x="{LEFT}" y="{y:.1}" width="{width:.1}" height="{:.1}" fill="{colour}"/>"#,
                        BAR - 1.0
                    ),
                );
                text(&mut body, (LEFT + width + 5.0, y + BAR - 3.0), "start", &number(value));
                y += BAR;
            }
            y += GAP;
        }
        if let Some((value, label)) = &self.mark {
            let x = LEFT + value * scale;
            element(
                &mut body,
                &format!(
                    r#"<line x1="{x:.1}" x2="{x:.1}" y1="{:.1}" y2="{y:.1}" stroke="black" stroke-dasharray="3 3"/>"#,
                    TOP - 6.0
                ),
            );
            text(&mut body, (x + 4.0, y + 8.0), "start", label);
        }
        self.page(y + 20.0, &body)
    }

    /// The drawing's frame: titles and the key.
    fn page(&self, height: f64, body: &str) -> String {
        let mut page = format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0}" font-family="sans-serif" font-size="11">"#
        );
        page.push('\n');
        element(&mut page, r#"<rect width="100%" height="100%" fill="white"/>"#);
        element(
            &mut page,
            &format!(
                r#"<text x="12" y="24" font-size="16" font-weight="bold">{}</text>"#,
                escape(&self.title)
            ),
        );
        text(&mut page, (12.0, 42.0), "start", &self.subtitle);
        let mut x = 12.0;
        for (label, colour) in self.series.iter().zip(COLOURS.iter().cycle()) {
            element(
                &mut page,
                &format!(r#"<rect x="{x:.0}" y="54" width="11" height="11" fill="{colour}"/>"#),
            );
            text(&mut page, (x + 16.0, 63.0), "start", label);
            x += 34.0 + 6.2 * count(label.chars().count());
        }
        page + body + "</svg>\n"
    }
}

fn element(body: &mut String, element: &str) {
    body.push_str(element);
    body.push('\n');
}

fn text(body: &mut String, (x, y): (f64, f64), anchor: &str, content: &str) {
    let content = escape(content);
    writeln!(
        body,
        r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{content}</text>"#
    )
    .expect("a string takes whatever is written to it");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Three digits are enough to read.
fn number(value: f64) -> String {
    match value.abs() {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a drawing has few parts")]
const fn count(number: usize) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_and_every_word_is_in_the_drawing() {
        let chart = Chart {
            title: "Packets & <bytes>".to_owned(),
            subtitle: "here".to_owned(),
            series: vec!["first".to_owned(), "second".to_owned()],
            groups: vec![
                Group {
                    label: "both".to_owned(),
                    values: vec![Some(123.4), Some(5.678)],
                },
                Group {
                    label: "one".to_owned(),
                    values: vec![None, Some(45.67)],
                },
            ],
            mark: Some((15.0, "the floor".to_owned())),
        };
        let svg = chart.svg();
        for part in [
            "Packets &amp; &lt;bytes&gt;",
            "here",
            "first",
            "second",
            "both",
            "one",
            ">123<",
            ">5.68<",
            ">45.7<",
            "the floor",
        ] {
            assert!(svg.contains(part), "{part} is not in {svg}");
        }
        // The background, two in the key and three values.
        assert_eq!(svg.matches("<rect").count(), 6);
    }
}
