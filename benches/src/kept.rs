//! What checkpoints cost the engine beside them, and what a state larger than its memory does.

use std::error::Error;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::Args;
use crate::engine::{self, Shape};
use crate::facts::FactFile;
use crate::keeping::{Keep, Kept};
use crate::measure::{cpu_seconds_apart, median, touch_memory};
use crate::outcome::Outcome;
use crate::table::Table;
use crate::workload::prepare;

/// Records in an epoch.
const EPOCH_RECORDS: usize = 50_000;
/// What a run uses at most, in bytes a record.
const RUN_BYTES_A_RECORD: usize = 512;
/// And never touched beforehand: more.
const TOUCH_BYTES_MAX: usize = 12 << 30;
/// Time between two checkpoints: a third of the service's, since a run takes a few seconds.
const INTERVAL_MS: u64 = 3_000;
/// The budget of a large state.
const BUDGET_BYTES: u64 = 2_000_000_000;

/// One run of the engine with checkpoints, or of the same without.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct KeptRun {
    #[arg(long)]
    facts: PathBuf,
    #[arg(long)]
    workers: usize,
    /// Read all input before the clock starts.
    #[arg(long)]
    preload: bool,
    #[command(flatten)]
    keep: Option<Keep>,
}

/// What it says of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct KeptOutcome {
    pub(crate) outcome: Outcome,
    kept: Kept,
}

impl KeptRun {
    /// The engine alone, with input that is read as it is needed: it may not fit beside the state.
    pub(crate) fn alone(file: &FactFile, workers: usize) -> KeptRun {
        KeptRun { facts: file.path(), workers, preload: false, keep: None }
    }

    /// Runs it in this process.
    ///
    /// # Errors
    /// Where the engine or its checkpoints stop.
    pub(crate) fn run(self) -> Result<KeptOutcome, Box<dyn Error>> {
        let file = FactFile::new(&self.facts);
        let bytes = file.records()? as usize * RUN_BYTES_A_RECORD;
        touch_memory(bytes.min(TOUCH_BYTES_MAX));
        let KeptRun { workers, preload, keep, .. } = self;
        let before = cpu_seconds_apart(std::process::id());
        let (outcome, kept) = engine::run_kept(&file, &Shape { workers, epoch_records: EPOCH_RECORDS, preload, keep })?;
        let [user, system] = cpu_seconds_apart(std::process::id());
        let (user, system) = (user - before[0], system - before[1]);
        eprintln!("{:.1} s, {user:.1} s of processor and {system:.1} s in the system for it", outcome.seconds);
        Ok(KeptOutcome { outcome, kept })
    }

    /// Runs it in a process of its own.
    ///
    /// # Errors
    /// Where it fails.
    pub(crate) fn spawn(&self) -> Result<KeptOutcome, Box<dyn Error>> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["run-kept", "--facts"]).arg(&self.facts).args(["--workers", &self.workers.to_string()]);
        if self.preload {
            command.arg("--preload");
        }
        if let Some(Keep { store, interval_ms, budget }) = &self.keep {
            command.arg("--store").arg(store).args(["--interval-ms", &interval_ms.to_string()]);
            command.args(budget.iter().flat_map(|bytes| ["--budget".to_owned(), bytes.to_string()]));
        }
        let output = command.stderr(Stdio::inherit()).output()?;
        if !output.status.success() {
            return Err(format!("{self:?} ended with {}", output.status).into());
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}

/// Measures what checkpoints cost, and where `large`, the large state.
///
/// # Errors
/// Where a run fails, or two come to different rows.
pub(crate) fn measure(args: &Args, large: bool, table: &mut Table) -> Result<(), Box<dyn Error>> {
    let file = prepare(&args.dir, args.clicks, false)?;
    let keep = Keep { store: args.dir.join("kept"), interval_ms: INTERVAL_MS, budget: None };
    let alone = KeptRun { preload: true, ..KeptRun::alone(&file, 2) };
    let kept = KeptRun { keep: Some(keep), ..alone.clone() };
    cost(args, &alone, &kept, table)?;
    if large {
        beyond_memory(args, table)?;
    }
    Ok(())
}

/// Runs in turns, with and without checkpoints.
fn cost(args: &Args, alone: &KeptRun, kept: &KeptRun, table: &mut Table) -> Result<(), Box<dyn Error>> {
    let mut pairs = Vec::new();
    for turn in 0..args.runs {
        eprintln!("engine with checkpoints and without: run {} of {}", turn + 1, args.runs);
        let pair = (alone.spawn()?, kept.spawn()?);
        same_rows(&pair.0, &pair.1)?;
        pairs.push(pair);
    }
    let of = |value: fn(&KeptOutcome, &KeptOutcome) -> f64| {
        median(&mut pairs.iter().map(|(alone, kept)| value(alone, kept)).collect::<Vec<_>>())
    };
    let cost = of(|alone, kept| 1.0 - alone.outcome.seconds / kept.outcome.seconds);
    let label = format!("checkpoints every {} s, cost to throughput", INTERVAL_MS / 1_000);
    table.row(label, format!("{:.0} %", cost * 100.0), "15 %, every 10 s");
    let (without, with) = (of(|alone, _| alone.outcome.epoch_p99_ms), of(|_, kept| kept.outcome.epoch_p99_ms));
    table.row("  epoch p99 without, with", format!("{without:.0}, {with:.0} ms"), "within 2x");
    let (count, bytes) = (of(|_, kept| kept.kept.checkpoints as f64), of(|_, kept| kept.kept.written_bytes as f64));
    let seconds = of(|_, kept| kept.kept.writing_seconds);
    table.row("  checkpoints, written for them", format!("{count:.0}, {:.1} GB in {seconds:.1} s", bytes / 1e9), "");
    Ok(())
}

/// Five times the clicks, in memory and within a budget.
fn beyond_memory(args: &Args, table: &mut Table) -> Result<(), Box<dyn Error>> {
    let file = prepare(&args.dir, 5 * args.clicks, false)?;
    let records = file.records()? as f64;
    let alone = KeptRun::alone(&file, 2);
    let keep = Keep { store: args.dir.join("kept"), interval_ms: 10_000, budget: Some(BUDGET_BYTES) };
    let kept = KeptRun { keep: Some(keep), ..alone.clone() };
    eprintln!("{} clicks in memory", 5 * args.clicks);
    let alone = alone.spawn()?;
    eprintln!("{} clicks within {BUDGET_BYTES} bytes", 5 * args.clicks);
    let kept = kept.spawn()?;
    same_rows(&alone, &kept)?;
    let rate = |outcome: &Outcome| format!("{:.2} M/s", records / outcome.seconds / 1e6);
    let gigabytes = |bytes: u64| format!("{:.2} GB", bytes as f64 / 1e9);
    let clicks = 5 * args.clicks / 1_000_000;
    table.row(format!("{clicks} M clicks in memory"), rate(&alone.outcome), "");
    table.row(format!("{clicks} M clicks, state within 2 GB"), rate(&kept.outcome), "");
    let ratio = alone.outcome.seconds / kept.outcome.seconds;
    table.row("  against in memory, the rows being equal", format!("{ratio:.2}"), "0.5");
    table.row("  the process's memory at its peak", gigabytes(kept.kept.peak_bytes), "");
    let Kept { checkpoints, written_bytes, held_seconds, .. } = kept.kept;
    let found = format!("{checkpoints}, {}, {held_seconds:.1} s", gigabytes(written_bytes));
    table.row("  checkpoints, written for them, feed held", found, "");
    Ok(())
}

fn same_rows(a: &KeptOutcome, b: &KeptOutcome) -> Result<(), Box<dyn Error>> {
    match a.outcome.checksums == b.outcome.checksums {
        true => Ok(()),
        false => Err(format!("with checkpoints other rows come out:\n{a:?}\n{b:?}").into()),
    }
}
