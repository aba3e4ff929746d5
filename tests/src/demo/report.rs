//! What the audience reads: plain text of 100 columns, in colour only on a terminal.

use std::{process::ExitCode, time::Duration};

use anstream::println;
use anstyle::{AnsiColor, Style};
use comfy_table::{CellAlignment, LineStyle, Table, TableStyle};

/// Columns of a page.
const WIDTH: usize = 100;

/// Lines above, below and under the header.
const RULED: TableStyle = TableStyle::new()
    .top_border(LineStyle::none().fill('─').junction('─'))
    .header_separator(LineStyle::none().fill('─').junction('─'))
    .bottom_border(LineStyle::none().fill('─').junction('─'));

const HEADLINE: Style = Style::new().bold();
const HELD: Style = AnsiColor::Green.on_default();
const BROKEN: Style = AnsiColor::Red.on_default().bold();

/// Whether what was claimed was seen; else, what was seen instead.
pub(super) type Verdict = Result<(), String>;

/// Everything that has been claimed so far.
#[derive(Default)]
pub(super) struct Report {
    acts: Vec<Act>,
}

/// A part of the demo: its headline, and each claim with its verdict.
struct Act {
    headline: String,
    claims: Vec<(String, Verdict)>,
}

impl Report {
    /// Begins an act: a headline, and what is going to happen.
    pub(super) fn act(&mut self, headline: &str, explanation: &str) {
        let headline = format!("{}. {headline}", self.acts.len() + 1);
        println!("\n{HEADLINE}{headline}{HEADLINE:#}");
        say(explanation);
        self.acts.push(Act {
            headline,
            claims: Vec::new(),
        });
    }

    /// Shows whether something that is claimed in the present act held, and remembers it.
    pub(super) fn claim(&mut self, claim: impl Into<String>, verdict: Verdict) {
        let claim = claim.into();
        show(&claim, &verdict);
        let act = self.acts.last_mut().expect("claims are made in acts");
        act.claims.push((claim, verdict));
    }

    /// Whether all that was claimed held.
    pub(super) fn verdict(&self) -> Verdict {
        self.acts.iter().try_for_each(Act::verdict)
    }

    /// Sums up.
    pub(super) fn conclude(&self, took: Duration) -> ExitCode {
        println!("\n{HEADLINE}Summary{HEADLINE:#}");
        for act in &self.acts {
            show(&act.headline, &act.verdict());
        }
        let claims = || self.acts.iter().flat_map(|act| &act.claims);
        let held = claims().filter(|(_, verdict)| verdict.is_ok()).count();
        println!(
            "{held} of {} claims held, in {:.1} s",
            claims().count(),
            took.as_secs_f64()
        );
        ExitCode::from(u8::from(self.verdict().is_err()))
    }
}

impl Act {
    /// The first claim that did not hold, if there is one, and what was seen instead.
    fn verdict(&self) -> Verdict {
        let told = |(claim, verdict): &(String, Verdict)| verdict.clone().map_err(|seen| format!("{claim}: {seen}"));
        self.claims.iter().try_for_each(told)
    }
}

fn show(claim: &str, verdict: &Verdict) {
    let (style, line) = match verdict {
        Ok(()) => (HELD, format!("✓ {claim}")),
        Err(seen) => (BROKEN, format!("✗ {claim}: {seen}")),
    };
    let options = textwrap::Options::new(WIDTH)
        .initial_indent("  ")
        .subsequent_indent("    ");
    println!("{style}{}{style:#}", textwrap::fill(&line, options));
}

/// Writes a paragraph.
pub(super) fn say(text: &str) {
    println!("{}", textwrap::fill(text, WIDTH));
}

/// Writes what is laid out already.
pub(super) fn draw(lines: &str) {
    println!("\n{lines}\n");
}

/// Writes a table. The first column stands to the left, the others to the right.
pub(super) fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) {
    let mut table = Table::new();
    table.load_style(RULED);
    table.set_header(header);
    table.add_rows(rows);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}");
}
