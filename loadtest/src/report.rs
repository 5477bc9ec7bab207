//! What a run leaves: a table on standard output, and a JSON file with every figure of every round.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use crate::machine::{Machine, Placement};
use crate::scenario::Bench;
use crate::scenario::trial::Trial;
use crate::statistics::{Percentiles, Spread};
use crate::trouble::Trouble;

/// `R` is a scenario's round, `S` its summary of one contender.
#[derive(Debug)]
pub struct Report<R, S> {
    pub scenario: &'static str,
    pub title: String,
    pub table: Table,
    /// What the figures do not say themselves.
    pub remarks: Vec<String>,
    pub trials: Vec<Trial<R>>,
    pub summaries: Vec<S>,
}

/// The JSON file.
#[derive(Serialize)]
struct File<'a, R, S> {
    /// Rises when a field changes its meaning.
    schema: u32,
    version: &'static str,
    scenario: &'static str,
    title: &'a str,
    command_line: Vec<String>,
    machine: &'a Machine,
    placement: &'a Placement,
    remarks: &'a [String],
    summaries: &'a [S],
    trials: &'a [Trial<R>],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
}

#[derive(Debug)]
pub struct Table {
    columns: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
}

impl<R: Serialize, S: Serialize> Report<R, S> {
    pub fn show(&self, bench: &Bench) -> Result<(), Trouble> {
        let mut text = format!("\n{}\n{}\n\n{}", self.title, surroundings(bench), self.table.text());
        for remark in &self.remarks {
            text.push_str(&format!("- {remark}\n"));
        }
        // Who closed the pipe has seen enough.
        match io::stdout().write_all(text.as_bytes()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                return Err(Trouble::System { doing: "print the report", error });
            }
            _ => {}
        }
        match &bench.common.json {
            Some(path) => self.write(path, bench),
            None => Ok(()),
        }
    }

    fn write(&self, path: &Path, bench: &Bench) -> Result<(), Trouble> {
        let file = File {
            schema: 1,
            version: env!("CARGO_PKG_VERSION"),
            scenario: self.scenario,
            title: &self.title,
            command_line: std::env::args().map(|argument| without_password(&argument)).collect(),
            machine: &bench.machine,
            placement: &bench.placement,
            remarks: &self.remarks,
            summaries: &self.summaries,
            trials: &self.trials,
        };
        let mut json = serde_json::to_vec_pretty(&file).map_err(|error| Trouble::Usage(error.to_string()))?;
        json.push(b'\n');
        fs::write(path, json).map_err(Trouble::doing("write the JSON file"))
    }
}

impl Table {
    pub fn new(columns: &[(&str, Align)]) -> Self {
        let columns = columns.iter().map(|&(name, align)| (name.to_owned(), align)).collect();
        Self { columns, rows: Vec::new() }
    }

    pub fn row(&mut self, cells: Vec<String>) {
        assert_eq!(cells.len(), self.columns.len(), "a row has a cell for each column");
        self.rows.push(cells);
    }

    pub fn text(&self) -> String {
        let header: Vec<String> = self.columns.iter().map(|(name, _)| name.clone()).collect();
        let lines = || std::iter::once(&header).chain(&self.rows);
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|column| lines().map(|cells| cells[column].chars().count()).max().unwrap_or_default())
            .collect();
        let mut text = String::new();
        for cells in lines() {
            for (column, cell) in cells.iter().enumerate() {
                let padding = " ".repeat(widths[column] - cell.chars().count());
                match self.columns[column].1 {
                    Align::Left => text.extend([cell.as_str(), &padding, "  "]),
                    Align::Right => text.extend([&padding, cell.as_str(), "  "]),
                }
            }
            text.truncate(text.trim_end().len());
            text.push('\n');
        }
        text
    }
}

/// `median (least-greatest)` of figures times `scale`.
pub fn spread(spread: Option<Spread>, scale: f64, digits: usize) -> String {
    let Some(Spread { median, least, greatest, rounds }) = spread else { return "-".to_owned() };
    let (median, least, greatest) = (median * scale, least * scale, greatest * scale);
    match rounds {
        1 => format!("{median:.digits$}"),
        _ => format!("{median:.digits$} ({least:.digits$}..{greatest:.digits$})"),
    }
}

/// One figure of a distribution, if there is one.
pub fn milliseconds(of: Option<Percentiles>, figure: fn(&Percentiles) -> f64) -> String {
    of.map_or_else(|| "-".to_owned(), |of| format!("{:.2}", figure(&of)))
}

/// `100 %` only if it is all.
pub fn share(part: u64, whole: u64) -> String {
    match whole {
        0 => "-".to_owned(),
        _ if part == whole => format!("100 % of {}", thousands(whole)),
        _ => format!("{} of {}", thousands(part), thousands(whole)),
    }
}

/// `1,234,567`
pub fn thousands(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn surroundings(bench: &Bench) -> String {
    let Machine { kernel, processor, cpus, is_virtual, tcp_congestion_control, load_before, .. } =
        &bench.machine;
    let kind = if *is_virtual { ", virtual" } else { "" };
    let cpu_list = |cpus: &[usize]| match cpus {
        [] => "any".to_owned(),
        _ => cpus.iter().map(usize::to_string).collect::<Vec<_>>().join(","),
    };
    let Placement { server, clients } = &bench.placement;
    format!(
        "{processor}, {cpus} CPUs{kind}, Linux {kernel}, TCP {tcp_congestion_control}, load {load_before} before; server on CPU {}, subscribers on CPU {}",
        cpu_list(server),
        cpu_list(clients)
    )
}

/// A Redis URL on the command line may hold a password, which nobody wants in a file of figures.
fn without_password(argument: &str) -> String {
    match (argument.find("redis://"), argument.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => {
            format!("{}redis://***{}", &argument[..scheme], &argument[at..])
        }
        _ => argument.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_aligned() {
        let mut table = Table::new(&[("who", Align::Left), ("us", Align::Right)]);
        table.row(vec!["courier".to_owned(), "4.61".to_owned()]);
        table.row(vec!["x".to_owned(), "10.20".to_owned()]);
        assert_eq!(table.text(), "who         us\ncourier   4.61\nx        10.20\n");
    }

    #[test]
    fn figures_are_readable() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(share(10, 10), "100 % of 10");
        assert_eq!(share(9_999, 10_000), "9,999 of 10,000");
        let figures = Spread::of([4_000.0, 4_600.0, 4_200.0]);
        assert_eq!(spread(figures, 1e-3, 1), "4.2 (4.0..4.6)");
        assert_eq!(spread(Spread::of([4.0]), 1.0, 0), "4");
        assert_eq!(spread(None, 1.0, 0), "-");
    }

    #[test]
    fn a_password_does_not_get_into_the_file() {
        assert_eq!(without_password("--redis=redis://u:p@ss@h:1"), "--redis=redis://***@h:1");
        assert_eq!(without_password("redis://h:1"), "redis://h:1");
    }
}
