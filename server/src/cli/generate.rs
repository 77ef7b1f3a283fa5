//! `recount generate`: a seeded workload into a file.

use std::path::PathBuf;

use clap::Args;
use recount_connectors::workload::{OutputError, Workload, WorkloadSettings, write_file};

use super::progress::{Progress, Unit};
use super::table::grouped;
use super::{CliError, Global, logging};
use crate::convert::time::parse_time;
use crate::convert::units::duration;

/// What to generate.
#[derive(Debug, Args)]
pub(super) struct GenerateArgs {
    /// Distinct clicks
    #[arg(long, value_name = "N")]
    clicks: u64,
    /// Where the randomness comes from: the same seed, the same bytes
    #[arg(long, value_name = "SEED")]
    seed: u64,
    /// Write here: .jsonl or .pb, and .gz or .zst after it where it is to be compressed
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Distinct ads [default: a tenth of the clicks]
    #[arg(long, value_name = "N")]
    ads: Option<u32>,
    /// Distinct users [default: a fifth of the clicks]
    #[arg(long, value_name = "N")]
    users: Option<u32>,
    /// Clicks that are delivered twice, as a share of the clicks [default: 0.02]
    #[arg(long, value_name = "RATE")]
    duplicates: Option<f64>,
    /// Duplicates that differ from their click in price [default: 0.01]
    #[arg(long, value_name = "RATE")]
    conflicting: Option<f64>,
    /// Clicks that arrive minutes to hours late [default: 0.01]
    #[arg(long, value_name = "RATE")]
    late: Option<f64>,
    /// Clicks that get a verdict [default: 0.03]
    #[arg(long, value_name = "RATE")]
    verdicts: Option<f64>,
    /// Verdicts that are reversed later [default: 0.1]
    #[arg(long, value_name = "RATE")]
    reversals: Option<f64>,
    /// Share of the clicks that one ad has [default: 0]
    #[arg(long, value_name = "RATE")]
    hot_ad: Option<f64>,
    /// Broken records, as a share of the clicks, on top of them [default: 0]
    #[arg(long, value_name = "RATE")]
    broken: Option<f64>,
    /// When the first click happened: ms since 1970, or RFC 3339 [default: 2026-01-01T00:00:00Z]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    start: Option<i64>,
    /// The time from the first click to the last [default: 1d]
    #[arg(long, value_name = "DURATION")]
    span: Option<String>,
}

impl GenerateArgs {
    fn settings(&self) -> Result<WorkloadSettings, CliError> {
        let mut settings = WorkloadSettings::new(self.clicks, self.seed);
        set(&mut settings.ads, self.ads);
        set(&mut settings.users, self.users);
        set(&mut settings.duplicates, self.duplicates);
        set(&mut settings.conflicting, self.conflicting);
        set(&mut settings.late, self.late);
        set(&mut settings.verdicts, self.verdicts);
        set(&mut settings.reversals, self.reversals);
        set(&mut settings.hot_ad, self.hot_ad);
        set(&mut settings.broken, self.broken);
        set(&mut settings.start_ms, self.start);
        if let Some(span) = &self.span {
            let span = duration(span).map_err(|problem| CliError::usage(format!("--span: {problem}")))?;
            settings.span_ms = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        }
        Ok(settings)
    }
}

fn set<T>(setting: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *setting = given;
    }
}

/// Writes the workload.
pub(super) fn run(global: &Global, args: &GenerateArgs) -> Result<(), CliError> {
    logging::start(&global.load(Vec::new())?)?;
    let workload = Workload::new(args.settings()?).map_err(|error| CliError::usage(error.to_string()))?;
    let mut progress = Progress::new(Unit::Records, Some(args.clicks));
    let written = write_file(workload, &args.out, |clicks| progress.at(clicks, || "clicks".to_string()));
    progress.finish();
    let records = written.map_err(|error| match error {
        OutputError::UnknownFormat { .. } => CliError::usage(error.to_string()),
        OutputError::Write { .. } => CliError::failed(error.to_string()),
    })?;
    eprintln!("{} records in {}", grouped(records), args.out.display());
    Ok(())
}
