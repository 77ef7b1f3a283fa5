//! `recount kafka produce`: files of events into a topic.

use std::time::Instant;

use clap::{Args, ValueEnum};
use recount_connectors::Format;
use recount_connectors::kafka::{Content, KeyBy, ProduceError, ProduceSettings, Produced, Timestamps, produce};
use serde_json::{Value, json};

use super::ClusterArgs;
use crate::cli::progress::{Progress, Unit};
use crate::cli::stdout::print;
use crate::cli::table::grouped;
use crate::cli::{CliError, Global, logging};

/// What to send, and where to.
#[derive(Debug, Args)]
pub(in crate::cli) struct ProduceArgs {
    /// Files of events: .jsonl or .pb, also .gz or .zst; - is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<String>,
    /// The topic, which must be there
    #[arg(long, value_name = "TOPIC")]
    topic: String,
    /// What goes into a message [default: the record as it stands in its file]
    #[arg(long, value_enum)]
    format: Option<FormatArg>,
    /// What a message is keyed by
    #[arg(long, value_enum, default_value = "click_id")]
    key: KeyArg,
    /// What a message's timestamp is
    #[arg(long, value_enum, default_value = "now")]
    timestamps: TimestampsArg,
    /// Records a second, at most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    rate: Option<u64>,
    /// Partitions to send to, as in 0,3 [default: all]
    #[arg(long, value_name = "N", value_delimiter = ',')]
    partitions: Vec<i32>,
    /// Who must have a message before it counts as delivered
    #[arg(long, value_enum, default_value = "all")]
    acks: AcksArg,
    /// How batches are compressed: none, gzip, snappy, lz4 or zstd [default: none]
    #[arg(long, value_name = "CODEC", value_parser = ["none", "gzip", "snappy", "lz4", "zstd"])]
    compression: Option<String>,
    /// Write JSON in place of a sentence
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    cluster: ClusterArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FormatArg {
    /// Protobuf events, from .pb files
    Event,
    /// Clicks alone, from .pb files; verdicts are left out
    Click,
    /// Verdicts alone, from .pb files; clicks are left out
    Verdict,
    /// JSON events, from .jsonl files
    Json,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum KeyArg {
    /// The click's id: all that is said of a click is in one partition
    ClickId,
    /// The ad's id; verdicts have no key
    AdId,
    /// No key
    None,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum TimestampsArg {
    /// When it is sent
    Now,
    /// When the event happened
    Event,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum AcksArg {
    /// All replicas in sync
    All,
    /// The leader alone
    #[value(name = "1")]
    Leader,
}

impl ProduceArgs {
    fn settings(&self) -> ProduceSettings {
        let (content, format) = match self.format {
            None => (Content::Record, None),
            Some(FormatArg::Event) => (Content::Record, Some(Format::Protobuf)),
            Some(FormatArg::Click) => (Content::Click, Some(Format::Protobuf)),
            Some(FormatArg::Verdict) => (Content::Verdict, Some(Format::Protobuf)),
            Some(FormatArg::Json) => (Content::Record, Some(Format::JsonLines)),
        };
        ProduceSettings {
            content,
            format,
            key: match self.key {
                KeyArg::ClickId => KeyBy::ClickId,
                KeyArg::AdId => KeyBy::AdId,
                KeyArg::None => KeyBy::Nothing,
            },
            timestamps: match self.timestamps {
                TimestampsArg::Now => Timestamps::Now,
                TimestampsArg::Event => Timestamps::Event,
            },
            rate: self.rate,
            partitions: self.partitions.clone(),
            acks_all: matches!(self.acks, AcksArg::All),
            compression: self.compression.clone(),
            ..ProduceSettings::new(self.topic.clone())
        }
    }
}

/// Sends the files, and fails where a record did not arrive or could not be sent.
pub(super) fn run(global: &Global, args: &ProduceArgs) -> Result<(), CliError> {
    logging::start(&global.load(Vec::new())?)?;
    let client = args.cluster.client()?;
    let mut bar = Progress::new(Unit::Records, None);
    let started = Instant::now();
    let (produced, ended) =
        produce(&client, &args.files, &args.settings(), |sent, file| bar.at(sent, || file.to_owned()));
    let seconds = started.elapsed().as_secs_f64();
    bar.finish();
    match args.json {
        true => print(&format!("{}\n", as_json(&produced, seconds)))?,
        false => eprintln!("{}", in_words(&produced, &args.topic, seconds)),
    }
    ended.map_err(|error| match error {
        ProduceError::Kafka(error) => CliError::from(error),
        ProduceError::Format { .. } => CliError::usage(error.to_string()),
        ProduceError::File(_) => CliError::failed(error.to_string()),
    })?;
    match (produced.failures(), produced.unreadable) {
        (0, 0) => Ok(()),
        (0, unreadable) => Err(CliError::failed(format!("{} records could not be sent as asked", grouped(unreadable)))),
        (failed, _) => {
            let why: Vec<String> =
                produced.failed.iter().map(|(why, records)| format!("{} of them: {why}", grouped(*records))).collect();
            Err(CliError::failed(format!("{} records may not have arrived; {}", grouped(failed), why.join("; "))))
        }
    }
}

fn in_words(produced: &Produced, topic: &str, seconds: f64) -> String {
    let rate = (produced.delivered as f64 / seconds.max(1e-3)) as u64;
    let mut text = format!("{} records delivered to {topic}, {} a second", grouped(produced.delivered), grouped(rate));
    if produced.left_out > 0 {
        text += &format!("; {} left out", grouped(produced.left_out));
    }
    text
}

fn as_json(produced: &Produced, seconds: f64) -> Value {
    json!({
        "delivered": produced.delivered,
        "failed": produced.failures(),
        "failed_by_reason": produced.failed,
        "left_out": produced.left_out,
        "unreadable": produced.unreadable,
        "bytes": produced.bytes,
        "seconds": seconds,
        "records_per_second": produced.delivered as f64 / seconds.max(1e-3),
    })
}
