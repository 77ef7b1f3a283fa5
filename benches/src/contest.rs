//! The engine against the hash tables: the same facts, in turns, each run in a process of its own.

use std::error::Error;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use clap::ValueEnum;

use crate::facts::FactFile;
use crate::kept::KeptRun;
use crate::measure::{median, touch_memory};
use crate::outcome::Outcome;
use crate::table::Table;
use crate::workload::prepare;
use crate::{Args, engine, tables};

/// Records in an epoch, where nothing else is said.
const EPOCH_RECORDS: usize = 50_000;

/// What either subject uses at most, input included, in bytes a record.
const RUN_BYTES_A_RECORD: usize = 512;

/// What is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Subject {
    /// The engine.
    Engine,
    /// The hash tables.
    Tables,
}

/// One run of one subject.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Run {
    #[arg(long)]
    subject: Subject,
    #[arg(long)]
    facts: PathBuf,
    #[arg(long)]
    workers: usize,
    #[arg(long)]
    epoch_records: usize,
    /// Read all input before the clock starts.
    #[arg(long)]
    preload: bool,
}

impl Run {
    /// Runs it in this process.
    ///
    /// # Errors
    /// Where the engine stops.
    pub(crate) fn run(&self) -> Result<Outcome, Box<dyn Error>> {
        let file = FactFile::new(&self.facts);
        if self.preload {
            touch_memory(file.records()? as usize * RUN_BYTES_A_RECORD);
        }
        match self.subject {
            Subject::Engine => engine::run(&file, self.workers, self.epoch_records, self.preload),
            Subject::Tables => Ok(tables::run(&file, self.workers, self.epoch_records, self.preload)),
        }
    }

    /// Runs it in a process of its own.
    fn spawn(&self) -> Result<Outcome, Box<dyn Error>> {
        let subject = self.subject.to_possible_value().expect("no subject is skipped");
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["run", "--subject", subject.get_name()]).arg("--facts").arg(&self.facts);
        command.args(["--workers", &self.workers.to_string(), "--epoch-records", &self.epoch_records.to_string()]);
        if self.preload {
            command.arg("--preload");
        }
        let output = command.stderr(Stdio::inherit()).output()?;
        if !output.status.success() {
            return Err(format!("{self:?} ended with {}", output.status).into());
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}

/// The runs of both subjects on one workload.
struct Pair {
    engine: Vec<Outcome>,
    tables: Vec<Outcome>,
}

impl Pair {
    fn median(&self, subject: Subject, value: impl Fn(&Outcome) -> f64) -> f64 {
        let outcomes = if subject == Subject::Engine { &self.engine } else { &self.tables };
        median(&mut outcomes.iter().map(value).collect::<Vec<_>>())
    }

    /// How many times as fast as the tables the engine is: the median of the turns.
    fn ratio(&self) -> f64 {
        let turns = self.engine.iter().zip(&self.tables);
        median(&mut turns.map(|(engine, tables)| tables.seconds / engine.seconds).collect::<Vec<_>>())
    }
}

/// Measures all that concerns the engine alone.
///
/// # Errors
/// Where a run fails, or the engine and the tables disagree.
pub(crate) fn measure(args: &Args, large: bool, table: &mut Table) -> Result<(), Box<dyn Error>> {
    let even = prepare(&args.dir, args.clicks, false)?;
    let hot = prepare(&args.dir, args.clicks, true)?;
    speed(args, "1 worker", &even, 1, EPOCH_RECORDS, "1.1 M/s", table)?;
    let two = speed(args, "2 workers", &even, 2, EPOCH_RECORDS, "1.8 M/s, ratio 0.9", table)?;
    speed(args, "2 workers, epochs of 10,000", &even, 2, 10_000, "1.3 M/s", table)?;
    let skewed = speed(args, "2 workers, one ad has half", &hot, 2, EPOCH_RECORDS, "", table)?;
    let seconds = |pair: &Pair| pair.median(Subject::Engine, |outcome| outcome.seconds);
    let per_record = seconds(&two) / even.records()? as f64 * hot.records()? as f64;
    table.row("one ad has half, against even", format!("{:.2}", per_record / seconds(&skewed)), "0.90");
    memory(args, &even, table)?;
    if large {
        let large = prepare(&args.dir, 5 * args.clicks, false)?;
        eprintln!("engine, 1 worker, {} clicks", 5 * args.clicks);
        let outcome = KeptRun::alone(&large, 1).spawn()?.outcome;
        let rate = large.records()? as f64 / outcome.seconds / 1e6;
        table.row("engine, 1 worker, 5 times the clicks", format!("{rate:.2} M/s"), "0.9 M/s");
        let (bytes, p99) = (outcome.retained_bytes as f64 / (5 * args.clicks) as f64, outcome.epoch_p99_ms);
        table.row("  bytes a click retained, epoch p99", format!("{bytes:.0}, {p99:.0} ms"), "");
    }
    Ok(())
}

/// Records a second, in millions, that the engine alone counts with two workers: once.
///
/// # Errors
/// Where the run fails.
pub(crate) fn engine_rate(args: &Args) -> Result<f64, Box<dyn Error>> {
    let file = prepare(&args.dir, args.clicks, false)?;
    let (facts, epoch_records) = (file.path(), EPOCH_RECORDS);
    let outcome = Run { subject: Subject::Engine, facts, workers: 2, epoch_records, preload: true }.spawn()?;
    Ok(file.records()? as f64 / outcome.seconds / 1e6)
}

/// Runs both subjects in turns and tells how fast they are.
fn speed(
    args: &Args,
    label: &str,
    file: &FactFile,
    workers: usize,
    epoch_records: usize,
    asked: &str,
    table: &mut Table,
) -> Result<Pair, Box<dyn Error>> {
    let mut pair = Pair { engine: Vec::new(), tables: Vec::new() };
    let run = |subject| Run { subject, facts: file.path(), workers, epoch_records, preload: true }.spawn();
    for turn in 0..args.runs {
        eprintln!("engine and hash tables, {label}: run {} of {}", turn + 1, args.runs);
        let (engine, tables) = (run(Subject::Engine)?, run(Subject::Tables)?);
        if engine.checksums != tables.checksums {
            return Err(format!("{label}: engine and tables disagree:\n{engine:?}\n{tables:?}").into());
        }
        pair.engine.push(engine);
        pair.tables.push(tables);
    }
    let rate = |subject| {
        let seconds = pair.median(subject, |outcome| outcome.seconds);
        file.records().map(|records| format!("{:.2} M/s", records as f64 / seconds / 1e6))
    };
    let of = |value: fn(&Outcome) -> f64| pair.median(Subject::Engine, value);
    table.row(format!("engine, {label}"), rate(Subject::Engine)?, asked);
    table.row("  hash tables without history", rate(Subject::Tables)?, "");
    table.row("  engine against tables", format!("{:.2}", pair.ratio()), "");
    let (p50, p99) = (of(|outcome| outcome.epoch_p50_ms), of(|outcome| outcome.epoch_p99_ms));
    table.row("  epoch from close to complete, p50 / p99", format!("{p50:.0} / {p99:.0} ms"), "p99 120 ms");
    Ok(pair)
}

/// Runs both subjects once with input that is read as it is needed, and tells what they hold in the end.
fn memory(args: &Args, file: &FactFile, table: &mut Table) -> Result<(), Box<dyn Error>> {
    for (subject, label, asked) in [(Subject::Engine, "engine", "180, aim 130"), (Subject::Tables, "  hash tables", "")]
    {
        eprintln!("memory of {}", label.trim());
        let run = Run { subject, facts: file.path(), workers: 2, epoch_records: EPOCH_RECORDS, preload: false };
        let bytes = run.spawn()?.retained_bytes as f64 / args.clicks as f64;
        table.row(format!("{label}, bytes a click retained"), format!("{bytes:.0}"), asked);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_engine_and_the_tables_come_to_the_same_rows() {
        let dir = tempfile::tempdir().unwrap();
        for hot in [false, true] {
            let file = prepare(dir.path(), 20_000, hot).unwrap();
            for (workers, epoch_records) in [(1, 3_000), (2, 7_000)] {
                let engine = engine::run(&file, workers, epoch_records, true).unwrap();
                let tables = tables::run(&file, workers, epoch_records, false);
                assert_eq!(engine.checksums, tables.checksums, "hot: {hot}, workers: {workers}");
            }
        }
    }
}
