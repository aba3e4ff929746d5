//! Bar charts.

use super::svg::{Drawing, Heading, TOP, WIDTH, colour, count, number};

/// Groups of bars, one under the other.
#[derive(Clone, Debug)]
pub(super) struct Chart {
    /// What it shows. The series are the bars of a group, in their order.
    pub(super) heading: Heading,
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

/// Where bars begin.
const LEFT: f64 = 190.0;
/// Room for the value behind the longest bar.
const RIGHT: f64 = 70.0;
const BAR: f64 = 13.0;
const GAP: f64 = 12.0;

impl Chart {
    /// The drawing.
    pub(super) fn svg(&self) -> String {
        let values = || self.groups.iter().flat_map(|group| group.values.iter().flatten());
        let largest = values().copied().fold(f64::MIN_POSITIVE, f64::max);
        let scale = (WIDTH - LEFT - RIGHT) / largest;
        let mut drawing = Drawing::default();
        let mut y = TOP;
        for group in &self.groups {
            let bars: Vec<_> = group
                .values
                .iter()
                .enumerate()
                .filter_map(|(series, value)| Some((series, (*value)?)))
                .collect();
            let height = BAR * count(bars.len());
            drawing.text((LEFT - 8.0, y + height / 2.0 + 4.0), "end", &group.label);
            for (series, value) in bars {
                let width = value.max(0.0) * scale;
                drawing.element(&format!(
                    r#"<rect x="{LEFT}" y="{y:.1}" width="{width:.1}" height="{:.1}" fill="{}"/>"#,
                    BAR - 1.0,
                    colour(series)
                ));
                drawing.text((LEFT + width + 5.0, y + BAR - 3.0), "start", &number(value));
                y += BAR;
            }
            y += GAP;
        }
        if let Some((value, label)) = &self.mark {
            let x = LEFT + value * scale;
            drawing.mark((x, TOP - 6.0), (x, y));
            drawing.text((x + 4.0, y + 8.0), "start", label);
        }
        drawing.page(y + 20.0, &self.heading)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_and_every_word_is_in_the_drawing() {
        let chart = Chart {
            heading: Heading {
                title: "Packets & <bytes>".to_owned(),
                subtitle: "here".to_owned(),
                series: vec!["first".to_owned(), "second".to_owned()],
            },
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
