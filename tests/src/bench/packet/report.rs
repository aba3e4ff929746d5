//! What comes of the benchmark: a table, JSON and a chart.

use balancer_common::abi::protocol::TCP;
use serde::Serialize;

use super::setting::{CASES, Setting};
use crate::bench::{
    chart::{Chart, Group},
    output::Output,
    report::Report,
    statistics::Summary,
    svg::Heading,
};

/// One kind of packet in one setting.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Figure {
    /// What was measured.
    pub(super) case: &'static str,
    /// Whether it is one of the floors, which do not depend on the setting.
    #[serde(skip)]
    pub(super) is_floor: bool,
    /// Per packet, without the cost of measuring.
    pub(super) nanoseconds: Summary,
}

/// What was measured in one setting.
#[derive(Debug, Serialize)]
pub(super) struct Measured {
    #[serde(flatten)]
    setting: Setting,
    /// The floors, measured beside it.
    swap: Summary,
    encapsulation: Summary,
    figures: Vec<Compared>,
}

#[derive(Debug, Serialize)]
struct Compared {
    #[serde(flatten)]
    figure: Figure,
    /// The median as a multiple of the median of the stateless encapsulation's in all settings.
    multiple: f64,
}

impl Measured {
    /// What was measured in each setting, the two floors first. The floors do not depend on it, so all of them together are what
    /// the figures are compared with: alone, one that was disturbed would distort its whole row.
    pub(super) fn compare(settings: Vec<(Setting, Vec<Figure>)>) -> Vec<Self> {
        let settings = settings.into_iter().map(|(setting, figures)| {
            let (floors, figures): (Vec<Figure>, Vec<Figure>) = figures.into_iter().partition(|figure| figure.is_floor);
            let [swap, encapsulation] = floors.as_slice() else {
                panic!("there are two floors, not {}", floors.len());
            };
            (setting, swap.nanoseconds, encapsulation.nanoseconds, figures)
        });
        let settings: Vec<_> = settings.collect();
        let floor = Summary::of(settings.iter().map(|(_, _, encapsulation, _)| encapsulation.median));
        let compare = |figure: Figure| Compared {
            multiple: figure.nanoseconds.median / floor.median,
            figure,
        };
        let measured = settings
            .into_iter()
            .map(|(setting, swap, encapsulation, figures)| Self {
                setting,
                swap,
                encapsulation,
                figures: figures.into_iter().map(compare).collect(),
            });
        measured.collect()
    }

    fn find(&self, case: &str) -> Option<&Compared> {
        self.figures.iter().find(|compared| compared.figure.case == case)
    }

    fn row(&self, cases: &[&str]) -> Vec<String> {
        let cell = |case: &&str| {
            self.find(case).map_or_else(String::new, |compared| {
                let Summary { median, minimum, .. } = compared.figure.nanoseconds;
                format!("{median:.0} ({minimum:.0})\n× {:.1}", compared.multiple)
            })
        };
        [self.setting.name()]
            .into_iter()
            .chain(cases.iter().map(cell))
            .collect()
    }
}

/// Prints, writes and draws it.
pub(super) fn show(report: &Report<Measured>, output: &Output) -> anyhow::Result<()> {
    println!("\nns per packet, median (minimum), and the median as × the stateless encapsulation\n");
    let cases: Vec<&str> = CASES.into_iter().chain(["new, table full"]).collect();
    let header: Vec<&str> = [""].into_iter().chain(cases.iter().copied()).collect();
    report.show(output, &header, |measured| measured.row(&cases))?;
    let settings = &report.figures;
    let swap = Summary::of(settings.iter().map(|measured| measured.swap.median));
    let encapsulation = Summary::of(settings.iter().map(|measured| measured.encapsulation.median));
    for (name, floor) in [("MAC swap", swap), ("stateless encapsulation", encapsulation)] {
        println!("{name}: {:.1} ns ({:.1})", floor.median, floor.minimum);
    }
    println!("{}", noise(settings, encapsulation));
    report.draw(output, &chart(report, encapsulation).svg())
}

/// How much the same thing differed from measurement to measurement, in words.
fn noise(settings: &[Measured], encapsulation: Summary) -> String {
    let ratio = |values: Summary| values.spread / values.median * 100.0;
    let within = Summary::of(settings.iter().map(|measured| ratio(measured.encapsulation)));
    format!(
        "noise: half of the encapsulation's rounds lie within {:.0} %, half of its medians within {:.0} %",
        within.median,
        ratio(encapsulation)
    )
}

/// Shows TCP over IPv4, unless something else alone was measured.
fn chart(report: &Report<Measured>, encapsulation: Summary) -> Chart {
    const SHOWN: [&str; 4] = ["not ours", "known 64", "known 500k", "new"];
    let is_plain = |measured: &Measured| measured.setting.ip == 4 && measured.setting.protocol == TCP;
    let some_are_plain = report.figures.iter().any(is_plain);
    let drawn = report
        .figures
        .iter()
        .filter(|measured| !some_are_plain || is_plain(measured));
    let group = |measured: &Measured| Group {
        label: measured.setting.name(),
        values: SHOWN.map(|case| Some(measured.find(case)?.multiple)).to_vec(),
    };
    Chart {
        heading: Heading {
            title: "Cost of a packet, as a multiple of a stateless encapsulation".to_owned(),
            subtitle: format!("{}; 1 = {:.1} ns", report.machine(), encapsulation.median),
            series: SHOWN.map(str::to_owned).to_vec(),
        },
        groups: drawn.map(group).collect(),
        mark: Some((1.0, "stateless encapsulation".to_owned())),
    }
}
