//! `recount replay` against DuckDB: both turn the same file of events into the same sorted table of minutes.

use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use crate::Args;
use crate::measure::median;
use crate::program::{Usage, events_file, lines, python, recount, succeed};
use crate::table::Table;

/// The columns that both write and that must agree.
const COLUMNS: [&str; 10] = [
    "ad_id",
    "window_start_ms",
    "received",
    "duplicates",
    "gross_clicks",
    "invalid_clicks",
    "clicks",
    "unique_users",
    "spend_micros",
    "invalid_spend_micros",
];

/// Runs both in turns, compares their tables, and tells their times.
///
/// # Errors
/// Where one can not be run, or the tables differ.
pub(crate) fn measure(args: &Args, table: &mut Table) -> Result<(), Box<dyn Error>> {
    let events = events_file(args, 0.0)?;
    let records = lines(&events)? as f64;
    let (ours, theirs) = (args.dir.join("recount.csv"), args.dir.join("duckdb.csv"));
    let (mut replays, mut recomputes) = (Vec::new(), Vec::new());
    for turn in 0..args.runs {
        eprintln!("replay and DuckDB: run {} of {}", turn + 1, args.runs);
        replays.push(replay(&events, &ours)?);
        recomputes.push(recompute(args, &events, &theirs)?);
        let rows = compare(&ours, &theirs)?;
        eprintln!("the tables are equal: {rows} rows");
    }
    let mut ratios: Vec<f64> =
        replays.iter().zip(&recomputes).map(|(ours, theirs)| theirs.seconds / ours.seconds).collect();
    let mut line = |label: &str, usages: &[Usage], asked: &str| {
        let seconds = median(&mut usages.iter().map(|usage| usage.seconds).collect::<Vec<_>>());
        let peak = usages.iter().map(|usage| usage.peak_bytes).max().unwrap_or(0) as f64 / 1e9;
        table.row(label, format!("{:.2} M/s, {peak:.2} GB", records / seconds / 1e6), asked);
    };
    line("replay of JSONL to the minute table", &replays, "1.2 GB");
    line("  DuckDB, the same file", &recomputes, "");
    table.row("  replay against DuckDB", format!("{:.2}", median(&mut ratios)), "1.30");
    Ok(())
}

fn replay(events: &Path, out: &Path) -> Result<Usage, Box<dyn Error>> {
    let mut command = recount()?;
    command.arg("replay").arg(events).args(["--workers", "2", "--granularity", "minute", "--format", "csv", "--out"]);
    succeed(command.arg(out))
}

/// The seconds are those of the query alone, without Python's start.
fn recompute(args: &Args, events: &Path, out: &Path) -> Result<Usage, Box<dyn Error>> {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("duckdb");
    let mut command = python(&args.dir.join("python"), &home.join("requirements.txt"))?;
    let usage = succeed(command.arg(home.join("recompute.py")).arg(home.join("recompute.sql")).arg(events).arg(out))?;
    Ok(Usage { seconds: usage.stdout.trim().parse()?, ..usage })
}

/// Checks that two tables hold the same rows in the same order, and returns how many.
fn compare(ours: &PathBuf, theirs: &PathBuf) -> Result<u64, Box<dyn Error>> {
    let (mut ours, mut theirs) = (Rows::open(ours)?, Rows::open(theirs)?);
    for row in 1.. {
        match (ours.next_row()?, theirs.next_row()?) {
            (None, None) => return Ok(row - 1),
            (ours, theirs) if ours == theirs => (),
            (ours, theirs) => return Err(format!("row {row} differs: Recount {ours:?}, DuckDB {theirs:?}").into()),
        }
    }
    unreachable!("the tables end")
}

/// The rows of a CSV file, as the columns that are compared. No field of them is quoted.
struct Rows {
    file: BufReader<File>,
    /// Where each of [`COLUMNS`] is.
    columns: [usize; 10],
}

impl Rows {
    fn open(path: &PathBuf) -> Result<Rows, Box<dyn Error>> {
        let mut file = BufReader::new(File::open(path)?);
        let mut header = String::new();
        file.read_line(&mut header)?;
        let names: Vec<&str> = header.trim_end().split(',').collect();
        let mut columns = [0; 10];
        for (column, name) in columns.iter_mut().zip(COLUMNS) {
            let found = names.iter().position(|other| *other == name);
            *column = found.ok_or_else(|| format!("{} has no column {name}", path.display()))?;
        }
        Ok(Rows { file, columns })
    }

    fn next_row(&mut self) -> Result<Option<Vec<String>>, Box<dyn Error>> {
        let mut line = String::new();
        if self.file.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let fields: Vec<&str> = line.trim_end().split(',').collect();
        let field = |column: &usize| fields.get(*column).map(|field| field.to_string()).ok_or("a row is too short");
        Ok(Some(self.columns.iter().map(field).collect::<Result<_, _>>()?))
    }
}
