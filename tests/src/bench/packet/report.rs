//! What comes of the benchmark: a table, JSON and a chart.

use serde::Serialize;

use super::setting::{CASES, Setting};
use crate::bench::{
    chart::{Chart, Group},
    machine::Machine,
    output::{Output, print_table},
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

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    benchmark: &'static str,
    machine: Machine,
    rounds: usize,
    packets_per_round: u32,
    settings: Vec<Measured>,
}

#[derive(Debug, Serialize)]
struct Measured {
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
    /// The median as a multiple of the stateless encapsulation's.
    multiple: f64,
}

impl Report {
    /// Nothing yet.
    pub(super) fn new(rounds: usize, packets_per_round: u32) -> Self {
        Self {
            benchmark: "packet",
            machine: Machine::this(),
            rounds,
            packets_per_round,
            settings: Vec::new(),
        }
    }

    /// Adds what was measured in a setting: the two floors, then the cases.
    pub(super) fn add(&mut self, setting: Setting, figures: Vec<Figure>) {
        let (floors, figures): (Vec<Figure>, Vec<Figure>) = figures.into_iter().partition(|figure| figure.is_floor);
        let [swap, encapsulation] = floors.as_slice() else {
            panic!("there are two floors, not {}", floors.len());
        };
        let (swap, encapsulation) = (swap.nanoseconds, encapsulation.nanoseconds);
        let compare = |figure: Figure| Compared {
            multiple: figure.nanoseconds.median / encapsulation.median,
            figure,
        };
        self.settings.push(Measured {
            setting,
            swap,
            encapsulation,
            figures: figures.into_iter().map(compare).collect(),
        });
    }

    /// Prints the table and writes JSON and chart.
    pub(super) fn show(&self, output: &Output) -> anyhow::Result<()> {
        println!("\nns per packet, median (minimum), and the median as × the stateless encapsulation\n");
        let cases: Vec<&str> = CASES.into_iter().chain(["new, table full"]).collect();
        let header = [String::new()].into_iter().chain(cases.iter().map(ToString::to_string));
        let rows: Vec<Vec<String>> = self.settings.iter().map(|measured| measured.row(&cases)).collect();
        print_table(&header.collect::<Vec<_>>(), &rows);
        for (name, floor) in [
            ("MAC swap", self.swap()),
            ("stateless encapsulation", self.encapsulation()),
        ] {
            println!("{name}: {:.1} ns ({:.1})", floor.median, floor.minimum);
        }
        println!("{}; {}", self.machine.describe(), self.noise());
        output.json("packet", self)?;
        output.svg("packet", &self.chart().svg())
    }

    /// How much the same thing differed from measurement to measurement, in words.
    fn noise(&self) -> String {
        let ratio = |values: Summary| values.spread / values.median * 100.0;
        let within = Summary::of(self.settings.iter().map(|measured| ratio(measured.encapsulation)));
        let between = ratio(self.encapsulation());
        format!(
            "noise: half of the encapsulation's rounds lie within {:.0} %, half of its medians within {between:.0} %",
            within.median
        )
    }

    fn swap(&self) -> Summary {
        Summary::of(self.settings.iter().map(|measured| measured.swap.median))
    }

    fn encapsulation(&self) -> Summary {
        Summary::of(self.settings.iter().map(|measured| measured.encapsulation.median))
    }

    fn chart(&self) -> Chart {
        const SHOWN: [&str; 4] = ["not ours", "known 64", "known 500k", "new"];
        let group = |measured: &Measured| Group {
            label: measured.setting.name(),
            values: SHOWN.map(|case| Some(measured.find(case)?.multiple)).to_vec(),
        };
        Chart {
            heading: Heading {
                title: "Cost of a packet, as a multiple of a stateless encapsulation".to_owned(),
                subtitle: format!("{}; 1 = {:.1} ns", self.machine.describe(), self.encapsulation().median),
                series: SHOWN.map(str::to_owned).to_vec(),
            },
            groups: self.settings.iter().map(group).collect(),
            mark: Some((1.0, "stateless encapsulation".to_owned())),
        }
    }
}

impl Measured {
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
