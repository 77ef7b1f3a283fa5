//! `recount verify`: is what the data directory answers what its log, or Kafka, says?

use std::path::PathBuf;

use clap::Args;

use super::progress::{Progress, Unit};
use super::settings::given;
use super::stdout::print;
use super::table::grouped;
use super::{CliError, Global, kafka_source, logging};
use crate::store::verify::{Verified, VerifyError, verify};

/// What to verify.
#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// The data directory; a service may write in it meanwhile
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Worker threads [default: one a core]
    #[arg(long, value_name = "N")]
    workers: Option<String>,
    /// Write JSON in place of a sentence
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn run(global: &Global, args: &VerifyArgs) -> Result<(), CliError> {
    let config = global.load(given([("engine.workers", "--workers", &args.workers)]))?;
    logging::start(&config)?;
    let mut progress = Progress::new(Unit::Records, None);
    let kafka = kafka_source::input(&config, &[])?;
    let verified = verify(&args.data_dir, &config.checkpoints()?, kafka.as_ref(), config.workers, |records| {
        progress.at(records, || "records".to_string());
    });
    progress.finish();
    let verified = verified.map_err(|error| match error {
        VerifyError::Mismatch(what) => CliError::Mismatch(what),
        other => CliError::failed(other.to_string()),
    })?;
    print(&text(&verified, args.json))
}

fn text(verified: &Verified, json: bool) -> String {
    let &Verified { from, first, newest, records, checkpoints } = verified;
    if json {
        let line = serde_json::json!({
            "from_checkpoint": from, "first_epoch": first, "newest_epoch": newest, "records": records,
            "checkpoints": checkpoints,
        });
        format!("{line}\n")
    } else {
        let from = from.map_or("its beginning".to_string(), |number| format!("checkpoint {number}"));
        format!(
            "epochs {first} to {newest}, {} records from {from} on, come to what was bound; {checkpoints} checkpoints \
             hold the same state\n",
            grouped(records)
        )
    }
}
