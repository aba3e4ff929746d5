//! Where results go.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use comfy_table::{CellAlignment, LineStyle, Table, TableStyle};
use serde::Serialize;

/// A folder for results.
#[derive(Debug)]
pub(super) struct Output(PathBuf);

impl Output {
    /// Uses this folder, and makes it if it is not there.
    pub(super) fn new(folder: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        Ok(Self(folder.to_owned()))
    }

    /// Writes a result as JSON.
    pub(super) fn json(&self, name: &str, result: &impl Serialize) -> anyhow::Result<()> {
        self.write(&format!("{name}.json"), &(serde_json::to_string_pretty(result)? + "\n"))
    }

    /// Writes a drawing.
    pub(super) fn svg(&self, name: &str, drawing: &str) -> anyhow::Result<()> {
        self.write(&format!("{name}.svg"), drawing)
    }

    fn write(&self, name: &str, content: &str) -> anyhow::Result<()> {
        let path = self.0.join(name);
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
        println!("wrote {}", path.display());
        Ok(())
    }
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
