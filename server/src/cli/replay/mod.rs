//! `recount replay`: files in, the exact table out, no state kept.
//!
//! Nothing here looks at a clock, and nothing depends on the number of workers: the same files and settings give the same bytes.

mod outputs;
mod table;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use recount_connectors::{FileSource, SourceSettings};
use recount_dataflow::domain::fingerprint::HashKey;
use recount_dataflow::domain::window::Granularity;
use recount_dataflow::engine::{Engine, History, KeptWindows, Settings};
use recount_dataflow::read::Snapshot;

pub(super) use self::outputs::Outputs;
use super::progress::{Progress, Unit};
use super::serve::{decode_threads, random};
use super::settings::{EngineArgs, RulesArgs};
use super::table::grouped;
use super::{CliError, Global, logging};
use crate::allocator::give_back;
use crate::config::Config;
use crate::convert::names::granularity_by_name;

/// What to replay, and what to write.
#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    /// Files of events, read one after the other; `-` is standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<String>,
    /// The windows of the table: minute, five-minutes, hour or day
    #[arg(long, value_name = "SIZE", default_value = "minute", value_parser = parse_granularity)]
    pub(super) granularity: Granularity,
    #[command(flatten)]
    pub(super) outputs: OutputArgs,
    #[command(flatten)]
    engine: EngineArgs,
    #[command(flatten)]
    rules: RulesArgs,
}

/// What to write.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Output")]
pub(super) struct OutputArgs {
    /// Write the table here; `-` is standard output
    #[arg(long, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,
    /// How the table is written
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    pub(super) format: Format,
    /// Write every epoch's net changes here, a line an epoch
    #[arg(long, value_name = "FILE")]
    pub(super) changes: Option<PathBuf>,
    /// Write every correction of a closed window here, a line each
    #[arg(long, value_name = "FILE")]
    pub(super) corrections: Option<PathBuf>,
    /// Write what became of every record here, as JSON
    #[arg(long, value_name = "FILE")]
    pub(super) status: Option<PathBuf>,
    /// Write every quarantined record here, a line each
    #[arg(long, value_name = "FILE")]
    pub(super) quarantine: Option<PathBuf>,
    /// Write every parked record here, a line each
    #[arg(long, value_name = "FILE")]
    pub(super) parked: Option<PathBuf>,
}

/// How a table is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// One JSON object a row
    #[default]
    Jsonl,
    /// Comma-separated values under a heading
    Csv,
    /// Not built yet
    Parquet,
}

/// What a replay came to.
pub(super) struct Replayed {
    pub(super) snapshot: Snapshot,
    pub(super) elapsed: Duration,
    /// How many corrections there were of each cause.
    pub(super) corrections: BTreeMap<&'static str, u64>,
}

/// A batch is a block of about a mebibyte, and a record takes at least two bytes of it.
const BATCH_RECORDS_MAX: usize = 1 << 20;

/// Runs the replay.
pub(super) fn run(global: &Global, args: &ReplayArgs) -> Result<(), CliError> {
    if args.outputs.format == Format::Parquet {
        return Err(CliError::usage("--format parquet is not built yet; write jsonl or csv"));
    }
    outputs::check(&args.outputs, &args.files)?;
    let config = global.load([args.engine.flags(), args.rules.flags()].concat())?;
    logging::start(&config)?;
    let (source, mut engine) = start(&config, &args.files, KeptWindows::Only(args.granularity), &args.outputs)?;
    let mut outputs = Outputs::open(&args.outputs, args.granularity, engine.reader())?;
    let replayed = drive(source, &mut engine, &mut outputs)?;
    let rows = outputs.finish(&replayed.snapshot)?;
    engine.shutdown()?;
    summarize(&replayed, rows);
    // The process ends here; the system takes gigabytes back at once, we would let go of them piece by piece.
    std::mem::forget(replayed);
    Ok(())
}

/// Opens the files and starts an engine for them.
pub(super) fn start(
    config: &Config,
    files: &[String],
    kept: KeptWindows,
    outputs: &OutputArgs,
) -> Result<(FileSource, Engine), CliError> {
    let key = HashKey::new(random()?);
    let source_settings = SourceSettings { threads: decode_threads(config), ..SourceSettings::new(key, config.rules) };
    let source = FileSource::open(files, source_settings).map_err(|error| CliError::failed(error.to_string()))?;
    let history = match outputs.changes {
        None => History::newest_only(),
        // Epochs are read after each batch. Whatever one batch can close, besides what was in flight, stays readable till then.
        Some(_) => History {
            epochs: (BATCH_RECORDS_MAX / config.epoch_records + config.epochs_in_flight + 2) as u64,
            age: Duration::from_secs(365 * 86_400),
            bytes: usize::MAX,
        },
    };
    let settings = Settings {
        rules: config.rules,
        workers: config.workers,
        epoch_records: config.epoch_records,
        kept,
        history,
        epochs_in_flight: config.epochs_in_flight,
        key,
        at_rest: give_back,
        stream_set_aside: outputs.quarantine.is_some() || outputs.parked.is_some(),
        ..Settings::default()
    };
    let engine = Engine::start(settings, source.streams())?;
    Ok((source, engine))
}

/// Feeds the whole source to the engine, and the outputs that are written on the way.
pub(super) fn drive(mut source: FileSource, engine: &mut Engine, outputs: &mut Outputs) -> Result<Replayed, CliError> {
    let started = Instant::now();
    let read = source.progress();
    let mut progress = Progress::new(Unit::Bytes, read.bytes_total());
    let mut records = 0;
    while let Some(batch) = source.next_batch().map_err(|error| CliError::failed(error.to_string()))? {
        records += batch.records() as u64;
        engine.push(batch, None)?;
        outputs.advance(engine)?;
        progress.at(read.bytes_read(), || format!("{} records", grouped(records)));
    }
    engine.close_epoch(None)?;
    engine.drain()?;
    outputs.catch_up(engine)?;
    progress.finish();
    let snapshot = engine.reader().snapshot(None)?;
    let elapsed = started.elapsed();
    // What follows is the table, which needs room of its own.
    drop(source);
    engine.rest();
    let corrections = outputs.corrections_by_cause().clone();
    Ok(Replayed { snapshot, elapsed, corrections })
}

/// Says on standard error what happened.
fn summarize(replayed: &Replayed, rows: u64) {
    let totals = replayed.snapshot.totals();
    let seconds = replayed.elapsed.as_secs_f64();
    let rate = totals.records_in as f64 / seconds.max(1e-9);
    eprintln!(
        "{} records in {seconds:.2} s ({} records/s), {} rows",
        grouped(totals.records_in),
        grouped(rate as u64),
        grouped(rows)
    );
    let causes = replayed.corrections.iter().map(|(cause, &n)| format!("{} {}", grouped(n), cause.to_lowercase()));
    let total: u64 = replayed.corrections.values().sum();
    eprintln!("{} corrections{}", grouped(total), in_brackets(causes));
    for (kind, total, by_reason) in [
        ("parked", totals.parked_total(), &totals.parked),
        ("quarantined", totals.quarantined_total(), &totals.quarantined),
    ] {
        let reasons = by_reason.iter().map(|(reason, &n)| format!("{} {}", grouped(n), reason.as_str()));
        eprintln!("{} {kind}{}", grouped(total), in_brackets(reasons));
    }
}

fn in_brackets(parts: impl Iterator<Item = String>) -> String {
    let parts: Vec<String> = parts.collect();
    match parts.is_empty() {
        true => String::new(),
        false => format!(" ({})", parts.join(", ")),
    }
}

pub(super) fn parse_granularity(text: &str) -> Result<Granularity, String> {
    granularity_by_name(text).ok_or_else(|| "write minute, five-minutes, hour or day".to_string())
}
