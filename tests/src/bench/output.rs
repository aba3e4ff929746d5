//! Where results go.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use comfy_table::{CellAlignment, LineStyle, Table, TableStyle};
use serde::Serialize;

/// Folders for results.
#[derive(Debug)]
pub(super) struct Output {
    results: PathBuf,
    /// For drawings besides.
    charts: Option<PathBuf>,
}

impl Output {
    /// Uses these folders, and makes them if they are not there.
    pub(super) fn new(results: &Path, charts: Option<&Path>) -> anyhow::Result<Self> {
        for folder in [Some(results), charts].into_iter().flatten() {
            fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        }
        Ok(Self {
            results: results.to_owned(),
            charts: charts.map(Path::to_owned),
        })
    }

    /// Writes a result as JSON.
    pub(super) fn json(&self, name: &str, result: &impl Serialize) -> anyhow::Result<()> {
        let json = serde_json::to_string_pretty(result)? + "\n";
        write(&self.results.join(format!("{name}.json")), &json)
    }

    /// Writes a drawing.
    pub(super) fn svg(&self, name: &str, drawing: &str) -> anyhow::Result<()> {
        for folder in [Some(&self.results), self.charts.as_ref()].into_iter().flatten() {
            write(&folder.join(format!("{name}.svg")), drawing)?;
        }
        Ok(())
    }
}

fn write(path: &Path, content: &str) -> anyhow::Result<()> {
    fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))?;
    println!("wrote {}", path.display());
    Ok(())
}

/// Prints a table, the numbers of which are in all columns but the first.
pub(super) fn print_table<T: AsRef<str>>(header: &[T], rows: &[Vec<String>]) {
    let ruled = TableStyle::new()
        .top_border(LineStyle::none().fill('─').junction('─'))
        .header_separator(LineStyle::none().fill('─').junction('─'))
        .bottom_border(LineStyle::none().fill('─').junction('─'));
    let mut table = Table::new();
    table
        .load_style(ruled)
        .set_header(header.iter().map(AsRef::as_ref))
        .add_rows(rows);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}");
}
