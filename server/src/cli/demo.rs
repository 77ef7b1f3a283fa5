//! `recount demo`: a workload, its replay, and what came out.

use std::sync::Arc;

use clap::Args;
use recount_connectors::workload::{Workload, WorkloadSettings, write_file};
use recount_dataflow::domain::cause::Cause;
use recount_dataflow::domain::metrics::{Metric, Metrics};
use recount_dataflow::domain::window::Granularity;
use recount_dataflow::engine::KeptWindows;
use recount_dataflow::read::Correction;

use super::progress::{Progress, Unit};
use super::replay::{self, OutputArgs, Outputs, Replayed};
use super::stdout::print;
use super::table::{Align, Style, Table, grouped, money, time};
use super::{CliError, Global, logging};

/// Rows of each table.
const ROWS: usize = 10;
/// Few enough ads that every one of them has something to tell.
const ADS: u32 = 500;

/// How much to show.
#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// Distinct clicks
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    clicks: u64,
    /// Where the randomness comes from
    #[arg(long, value_name = "SEED", default_value_t = 42)]
    seed: u64,
}

/// Runs the demo.
pub(super) fn run(global: &Global, args: &DemoArgs) -> Result<(), CliError> {
    let config = global.load(Vec::new())?;
    logging::start(&config)?;
    let style = Style::for_stdout();
    let settings =
        WorkloadSettings { ads: ADS, hot_ad: 0.02, broken: 0.000_02, ..WorkloadSettings::new(args.clicks, args.seed) };
    let range = (settings.start_ms, settings.start_ms + Granularity::Day.size_ms());

    print(&style.bold("1. A day of traffic\n"))?;
    let dir = tempfile::tempdir()
        .map_err(|cause| CliError::failed(format!("there is no room for a temporary directory: {cause}")))?;
    let path = dir.path().join("events.jsonl");
    let workload = Workload::new(settings).map_err(|error| CliError::usage(error.to_string()))?;
    let mut progress = Progress::new(Unit::Records, Some(args.clicks));
    let written = write_file(workload, &path, |clicks| progress.at(clicks, || "clicks".to_string()));
    progress.finish();
    let records = written.map_err(|error| CliError::failed(error.to_string()))?;
    print(&format!(
        "   {} records: clicks, their retries, late arrivals, fraud verdicts and reversals, a few broken lines\n\n",
        grouped(records)
    ))?;

    print(&style.bold("2. Replayed to exact counts\n"))?;
    let outputs = OutputArgs::default();
    let (source, mut engine) = replay::start(&config, &[path.display().to_string()], KeptWindows::All, &outputs)?;
    let mut outputs = Outputs::open(&outputs, Granularity::Hour, engine.reader())?;
    let replayed = replay::drive(source, &mut engine, &mut outputs)?;
    print(&ledger(&replayed, config.workers))?;

    print(&style.bold("3. The top ads of the day\n"))?;
    let top = replayed.snapshot.top(range.0, range.1, Metric::Clicks, ROWS, None)?;
    print(&top_table(&top).render(style))?;

    print(&style.bold("\n4. What verdicts took back, and gave back, after the hours were closed\n"))?;
    let corrections = engine.reader().corrections(0, replayed.snapshot.as_of() + 1);
    print(&corrections_text(&replayed, &corrections, style))?;
    engine.shutdown()?;
    print("\nNext: `recount generate`, `recount replay`, `recount serve` and `recount query`; each has --help.\n")
}

fn ledger(replayed: &Replayed, workers: usize) -> String {
    let totals = replayed.snapshot.totals();
    let seconds = replayed.elapsed.as_secs_f64();
    let rate = (totals.records_in as f64 / seconds.max(1e-9)) as u64;
    format!(
        "   {} records in {seconds:.2} s: {} records/s on {workers} workers, all metrics at minute, five minutes, hour and day\n   \
         records in {} = received {} + verdicts {} + parked {} + quarantined {}\n\n",
        grouped(totals.records_in),
        grouped(rate),
        grouped(totals.records_in),
        grouped(totals.received),
        grouped(totals.verdicts),
        grouped(totals.parked_total()),
        grouped(totals.quarantined_total())
    )
}

fn top_table(top: &[(Arc<str>, Metrics)]) -> Table {
    let mut table = Table::new(&[
        ("ad", Align::Left),
        ("clicks", Align::Right),
        ("invalid", Align::Right),
        ("duplicates", Align::Right),
        ("unique users", Align::Right),
        ("spend", Align::Right),
        ("not billed", Align::Right),
    ]);
    for (ad_id, metrics) in top {
        table.row(vec![
            ad_id.to_string(),
            grouped(metrics.clicks()),
            grouped(metrics.invalid_clicks),
            grouped(metrics.duplicates()),
            grouped(metrics.unique_users),
            money(metrics.spend_micros),
            money(metrics.invalid_spend_micros),
        ]);
    }
    table
}

/// The corrections of closed hours that verdicts and reversals caused, those that moved the most money first.
fn corrections_text(replayed: &Replayed, corrections: &[Correction], style: Style) -> String {
    let by_verdict = |correction: &&Correction| {
        correction.after.granularity == Granularity::Hour
            && matches!(correction.cause, Cause::Verdict | Cause::Reversal)
    };
    let before = |correction: &Correction| correction.before.as_ref().map_or(Metrics::default(), |row| row.metrics);
    let moved = |correction: &Correction| correction.after.metrics.spend_micros - before(correction).spend_micros;
    let mut largest: Vec<&Correction> = corrections.iter().filter(by_verdict).collect();
    let count = largest.len();
    largest.sort_by_key(|correction| std::cmp::Reverse(moved(correction).unsigned_abs()));

    let mut table = Table::new(&[
        ("ad", Align::Left),
        ("hour", Align::Left),
        ("revision", Align::Right),
        ("cause", Align::Left),
        ("clicks", Align::Right),
        ("invalid", Align::Right),
        ("spend moved by", Align::Right),
    ]);
    for correction in largest.into_iter().take(ROWS) {
        let (was, after) = (before(correction), &correction.after);
        table.row(vec![
            after.ad_id.to_string(),
            time(after.window_start_ms),
            after.revision.to_string(),
            correction.cause.as_str().to_lowercase(),
            format!("{} -> {}", grouped(was.clicks()), grouped(after.metrics.clicks())),
            format!("{} -> {}", grouped(was.invalid_clicks), grouped(after.metrics.invalid_clicks)),
            money(moved(correction)),
        ]);
    }
    let causes: Vec<String> =
        replayed.corrections.iter().map(|(cause, &n)| format!("{} {}", grouped(n), cause.to_lowercase())).collect();
    format!(
        "   {} closed hours were corrected by verdicts alone; the largest:\n{}\n   \
         corrections at all granularities: {}\n",
        grouped(count as u64),
        table.render(style),
        causes.join(", ")
    )
}
