//! `recount quarantine`: records that could not be counted, listed, and sent again.

mod ingest;
mod service;
#[cfg(feature = "kafka")]
mod topic;

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

#[cfg(feature = "kafka")]
use super::kafka::ClusterArgs;
use super::stdout::print;
use super::table::grouped;
use super::{CliError, Global, logging};

/// What to do with records that were set aside.
#[derive(Debug, Subcommand)]
pub(super) enum QuarantineCommand {
    /// List them: of a running service, or of a topic of dead letters
    List(ListArgs),
    /// Send them again, each as it came, and say how many were refused again; none is removed
    Replay(ReplayArgs),
}

/// Which records.
#[derive(Debug, Args)]
pub(super) struct WhichArgs {
    /// Of this reason alone, for example click_id_missing
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Where the service listens [default: 127.0.0.1:50051]
    #[arg(long, value_name = "ADDR")]
    addr: Option<String>,
    /// How long to wait for an answer [default: 30s]
    #[arg(long, value_name = "DURATION")]
    timeout: Option<String>,
    /// Those of a topic of dead letters, in place of a service's
    #[cfg(feature = "kafka")]
    #[arg(long, value_name = "TOPIC")]
    topic: Option<String>,
    #[cfg(feature = "kafka")]
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Arguments of `quarantine list`.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    which: WhichArgs,
    /// Write JSON lines in place of a table
    #[arg(long)]
    json: bool,
}

/// Arguments of `quarantine replay`.
#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    #[command(flatten)]
    which: WhichArgs,
    /// Where the service takes events [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    http: Option<String>,
    /// Send them to this topic; else a service's go to the service, and dead letters to the topics that they came from
    #[cfg(feature = "kafka")]
    #[arg(long, value_name = "TOPIC")]
    to_topic: Option<String>,
    /// Write JSON in place of a sentence
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn run(global: &Global, command: &QuarantineCommand) -> Result<(), CliError> {
    let which = match command {
        QuarantineCommand::List(args) => &args.which,
        QuarantineCommand::Replay(args) => &args.which,
    };
    let http = match command {
        QuarantineCommand::List(_) => &None,
        QuarantineCommand::Replay(args) => &args.http,
    };
    let config = global.load(super::settings::given([
        ("grpc.addr", "--addr", &which.addr),
        ("query.timeout", "--timeout", &which.timeout),
        ("http.addr", "--http", http),
    ]))?;
    logging::start(&config)?;
    match command {
        #[cfg(feature = "kafka")]
        QuarantineCommand::List(ListArgs { which: WhichArgs { topic: Some(topic), .. }, json }) => {
            topic::list(which, topic, *json)
        }
        QuarantineCommand::List(args) => service::list(&config, &args.which, args.json),
        QuarantineCommand::Replay(args) => {
            let outcome = replay(&config, args)?;
            match args.json {
                true => print(&format!("{}\n", outcome.as_json()))?,
                false => eprintln!("{}", outcome.in_words()),
            }
            match outcome.failed.is_empty() {
                true => Ok(()),
                false => Err(CliError::failed("not all records may have arrived; send them again: copies count once")),
            }
        }
    }
}

#[cfg(feature = "kafka")]
fn replay(config: &crate::config::Config, args: &ReplayArgs) -> Result<Outcome, CliError> {
    match (&args.which.topic, &args.to_topic) {
        (Some(topic), to_topic) => topic::replay(&args.which, topic, to_topic.as_deref()),
        (None, Some(to_topic)) => topic::replay_service(config, &args.which, to_topic),
        (None, None) => service::replay(config, &args.which),
    }
}

#[cfg(not(feature = "kafka"))]
fn replay(config: &crate::config::Config, args: &ReplayArgs) -> Result<Outcome, CliError> {
    service::replay(config, &args.which)
}

/// What became of the records that were sent again: each is counted once.
#[derive(Debug, Default)]
struct Outcome {
    /// Durable where they were sent.
    accepted: u64,
    /// Refused again, by reason.
    refused: BTreeMap<String, u64>,
    /// Not sent, by why: they can not be sent as they came.
    skipped: BTreeMap<&'static str, u64>,
    /// Sent, and perhaps not arrived, by what went wrong.
    failed: BTreeMap<String, u64>,
}

impl Outcome {
    fn refuse(&mut self, reason: impl Into<String>) {
        *self.refused.entry(reason.into()).or_default() += 1;
    }

    fn skip(&mut self, why: &'static str) {
        *self.skipped.entry(why).or_default() += 1;
    }

    fn as_json(&self) -> Value {
        json!({
            "accepted": self.accepted,
            "refused": self.refused.values().sum::<u64>(),
            "refused_by_reason": self.refused,
            "skipped": self.skipped.values().sum::<u64>(),
            "skipped_by_reason": self.skipped,
            "failed": self.failed.values().sum::<u64>(),
            "failed_by_reason": self.failed,
        })
    }

    fn in_words(&self) -> String {
        let mut text = format!("{} records were accepted", grouped(self.accepted));
        for (reason, records) in &self.refused {
            text += &format!("\n{} were refused again: {reason}", grouped(*records));
        }
        for (why, records) in &self.skipped {
            text += &format!("\n{} were not sent: {why}", grouped(*records));
        }
        for (why, records) in &self.failed {
            text += &format!("\n{} may not have arrived: {why}", grouped(*records));
        }
        text
    }
}
