//! `recount rebuild`: everything anew from the log, by the settings that are given.

use std::path::PathBuf;

use clap::Args;
use recount_dataflow::engine::{History, Settings};

use super::progress::{Progress, Unit};
use super::settings::{EngineArgs, RulesArgs};
use super::stdout::print;
use super::table::grouped;
use super::{CliError, Global, logging};
use crate::store::rebuild::{Rebuilt, rebuild};

/// What to make anew, and by which rules.
#[derive(Debug, Args)]
pub(super) struct RebuildArgs {
    /// The data directory; no service may run on it
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Write JSON in place of a sentence
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    engine: EngineArgs,
    #[command(flatten)]
    rules: RulesArgs,
}

/// Runs the command.
pub(super) fn run(global: &Global, args: &RebuildArgs) -> Result<(), CliError> {
    let config = global.load([args.engine.flags(), args.rules.flags()].concat())?;
    logging::start(&config)?;
    let settings = Settings {
        rules: config.service_rules()?,
        workers: config.workers,
        epoch_records: config.epoch_records,
        epochs_in_flight: config.epochs_in_flight,
        history: History::newest_only(),
        ..Settings::default()
    };
    let mut progress = Progress::new(Unit::Records, None);
    let rebuilt = rebuild(&args.data_dir, &config.checkpoints()?, settings, config.memory_budget, |records| {
        progress.at(records, || "records".to_string());
    });
    progress.finish();
    say(&rebuilt.map_err(|error| CliError::failed(error.to_string()))?, args.json)
}

fn say(rebuilt: &Rebuilt, json: bool) -> Result<(), CliError> {
    let &Rebuilt { generation, newest, cut_anew, records, parked, checkpoint } = rebuilt;
    if json {
        let line = serde_json::json!({
            "generation": generation, "newest_epoch": newest, "epochs_cut_anew": cut_anew, "records": records,
            "parked": parked, "checkpoint": checkpoint,
        });
        return print(&format!("{line}\n"));
    }
    print(&format!(
        "{} epochs with {} records were made anew from the log, {} of the records parked; {cut_anew} of the epochs were not \
         cut before. This is generation {generation} of the store: tokens that were given before are refused\n",
        grouped(newest),
        grouped(records),
        grouped(parked),
    ))
}
