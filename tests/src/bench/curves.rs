//! Curves over a logarithmic axis, in panels beside one another.

use super::svg::{Drawing, Heading, TOP, WIDTH, colour, count, number};

/// Panels with one curve for each series, as far as it has points there.
#[derive(Clone, Debug)]
pub(super) struct Curves {
    /// What they show.
    pub(super) heading: Heading,
    /// From left to right.
    pub(super) panels: Vec<Panel>,
}

/// Curves that share their axes.
#[derive(Clone, Debug)]
pub(super) struct Panel {
    /// What goes up, and its unit.
    pub(super) label: String,
    /// Points for each series: how many there are of something, and the value.
    pub(super) curves: Vec<Vec<(f64, f64)>>,
    /// A value to compare with.
    pub(super) mark: Option<f64>,
}

const HEIGHT: f64 = 260.0;
const LEFT: f64 = 60.0;
const GAP: f64 = 70.0;

impl Curves {
    /// The drawing.
    pub(super) fn svg(&self) -> String {
        let panels = count(self.panels.len());
        let width = (WIDTH - LEFT - GAP * panels) / panels;
        let mut drawing = Drawing::default();
        let mut left = LEFT;
        for panel in &self.panels {
            panel.draw(&mut drawing, left, width);
            left += width + GAP;
        }
        drawing.page(TOP + HEIGHT + 60.0, &self.heading)
    }
}

impl Panel {
    fn draw(&self, drawing: &mut Drawing, left: f64, width: f64) {
        let points = || self.curves.iter().flatten();
        let (first, last) = points().fold((f64::MAX, f64::MIN_POSITIVE), |(first, last), (x, _)| {
            (first.min(*x), last.max(*x))
        });
        let largest = points()
            .map(|(_, y)| *y)
            .chain(self.mark)
            .fold(f64::MIN_POSITIVE, f64::max);
        let (first, last) = (first.log10().floor(), last.log10().ceil());
        let bottom = TOP + 20.0 + HEIGHT;
        let place = |(x, y): (f64, f64)| {
            let x = (x.log10() - first) / (last - first).max(1.0);
            (left + x * width, bottom - y / largest * (HEIGHT - 20.0))
        };

        drawing.text((left, TOP + 8.0), "start", &self.label);
        let mut power = first;
        while power <= last {
            let (x, _) = place((10_f64.powf(power), 0.0));
            drawing.element(&format!(
                r##"<line x1="{x:.1}" y1="{:.1}" x2="{x:.1}" y2="{bottom:.1}" stroke="#ddd"/>"##,
                TOP + 20.0
            ));
            drawing.text((x, bottom + 16.0), "middle", &round(power));
            power += 1.0;
        }
        drawing.element(&format!(
            r#"<line x1="{left:.1}" y1="{bottom:.1}" x2="{:.1}" y2="{bottom:.1}" stroke="black"/>"#,
            left + width
        ));
        for value in [0.0, largest / 2.0, largest] {
            let (_, y) = place((1.0, value));
            drawing.text((left - 6.0, y + 4.0), "end", &number(value));
        }
        if let Some(value) = self.mark {
            let (_, y) = place((1.0, value));
            drawing.mark((left, y), (left + width, y));
            drawing.text((left + width, y - 4.0), "end", &number(value));
        }
        for (series, curve) in self.curves.iter().enumerate() {
            let points: Vec<(f64, f64)> = curve.iter().copied().map(place).collect();
            let line: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            drawing.element(&format!(
                r#"<polyline points="{}" fill="none" stroke="{}" stroke-width="2"/>"#,
                line.join(" "),
                colour(series)
            ));
            for ((x, y), (_, value)) in points.iter().zip(curve) {
                drawing.element(&format!(
                    r#"<circle cx="{x:.1}" cy="{y:.1}" r="3" fill="{}"><title>{}</title></circle>"#,
                    colour(series),
                    number(*value)
                ));
            }
        }
    }
}

/// A power of ten, as it is said.
fn round(power: f64) -> String {
    let (divisor, unit) = match power {
        6.0.. => (6.0, " M"),
        3.0.. => (3.0, ",000"),
        _ => (0.0, ""),
    };
    format!("{:.0}{unit}", 10_f64.powf(power - divisor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_of_the_same_is_drawn_further_to_the_right_and_higher() {
        let curves = Curves {
            heading: Heading {
                title: "Cost".to_owned(),
                subtitle: "here".to_owned(),
                series: vec!["services".to_owned()],
            },
            panels: vec![Panel {
                label: "ns".to_owned(),
                curves: vec![vec![(1.0, 50.0), (1_000.0, 100.0)]],
                mark: Some(130.0),
            }],
        };
        let svg = curves.svg();
        let points = svg.split("points=\"").nth(1).and_then(|rest| rest.split('"').next());
        let numbers: Vec<f64> = points
            .expect("there is a curve")
            .split([' ', ','])
            .map(|number| number.parse().expect("a point has two numbers"))
            .collect();
        let [x1, y1, x2, y2] = numbers[..] else {
            panic!("{numbers:?} are not two points");
        };
        assert!(x2 > x1 && y2 < y1, "{numbers:?}");
        for part in ["Cost", "here", "services", ">ns<", ">1,000<", ">130<"] {
            assert!(svg.contains(part), "{part} is not in {svg}");
        }
    }
}
