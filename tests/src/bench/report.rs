//! What comes of a benchmark: a table, JSON and a chart.

use serde::Serialize;

use super::{
    machine::Machine,
    output::{Output, print_table},
};

/// Figures, and what they were measured on.
#[derive(Debug, Serialize)]
pub(super) struct Report<F> {
    benchmark: &'static str,
    machine: Machine,
    rounds: usize,
    /// What was measured.
    pub(super) figures: Vec<F>,
}

impl<F: Serialize> Report<F> {
    /// Of the benchmark with this name, on this machine.
    pub(super) fn new(benchmark: &'static str, rounds: usize, figures: Vec<F>) -> Self {
        Self {
            benchmark,
            machine: Machine::this(),
            rounds,
            figures,
        }
    }

    /// The machine, in a line.
    pub(super) fn machine(&self) -> String {
        self.machine.describe()
    }

    /// Prints a table with a row for each figure, and writes JSON.
    pub(super) fn show(&self, output: &Output, header: &[&str], row: impl Fn(&F) -> Vec<String>) -> anyhow::Result<()> {
        print_table(header, &self.figures.iter().map(row).collect::<Vec<_>>());
        println!("{}", self.machine());
        output.json(self.benchmark, self)
    }

    /// Writes a drawing.
    pub(super) fn draw(&self, output: &Output, drawing: &str) -> anyhow::Result<()> {
        output.svg(self.benchmark, drawing)
    }
}
