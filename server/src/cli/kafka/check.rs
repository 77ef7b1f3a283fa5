//! `recount kafka check`: what is there of the topics that would be read and written.

use std::time::Duration;

use clap::Args;
use recount_connectors::kafka::check::{CheckSettings, Finding, Level, Report, Role, TopicReport, check};
use recount_connectors::kafka::source::TopicFormat;
use recount_connectors::kafka::{Client, KafkaError};
use serde_json::{Value, json};

use super::{ClusterArgs, QUESTION_WAIT};
use crate::cli::stdout::print;
use crate::cli::table::{Align, Style, Table, grouped};
use crate::cli::{CliError, Global, logging};
use crate::config::Config;

/// For how long the service may be away, where nobody has said so.
const OUTAGE: Duration = Duration::from_secs(3_600);

/// What to look at, beside what the settings name.
#[derive(Debug, Args)]
pub(in crate::cli) struct CheckArgs {
    /// A topic that would be read, and its format: event, click, verdict, json or content-type; may be repeated
    #[arg(long = "topic", value_name = "NAME=FORMAT", value_parser = topic)]
    topics: Vec<(String, TopicFormat)>,
    /// Write JSON in place of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    cluster: ClusterArgs,
}

fn topic(text: &str) -> Result<(String, TopicFormat), String> {
    let (name, format) = text.split_once('=').ok_or("write NAME=FORMAT, as in clicks=event")?;
    Ok((name.to_owned(), format.parse()?))
}

/// Looks, and fails where Recount could not work.
pub(super) fn run(global: &Global, args: &CheckArgs) -> Result<(), CliError> {
    let config = global.load(Vec::new())?;
    logging::start(&config)?;
    let mut report = Report::default();
    for (client, topics) in looked_at(args, &config)? {
        let settings = CheckSettings {
            topics,
            correction_horizon_ms: config.rules.correction_horizon_ms,
            max_future_skew_ms: config.rules.max_future_skew_ms,
            restart_ms: restart_ms(&config),
            wait: QUESTION_WAIT,
        };
        let found = check(&client, &settings).map_err(not_ready)?;
        report.brokers.extend(found.brokers);
        report.topics.extend(found.topics);
        report.findings.extend(found.findings);
    }
    report.brokers.sort_by(|a, b| (a.id, &a.address).cmp(&(b.id, &b.address)));
    report.brokers.dedup();
    report.findings.sort_by_key(|finding| finding.level);
    print(&match args.json {
        true => format!("{}\n", as_json(&report)),
        false => as_text(&report),
    })?;
    let failures = report.findings.iter().filter(|finding| finding.level == Level::Failure).count();
    match failures {
        0 => Ok(()),
        1 => Err(CliError::failed("one finding has to be put right before this can work")),
        _ => Err(CliError::failed(format!("{failures} findings have to be put right before this can work"))),
    }
}

/// For how long a start may need records as they were: since the oldest checkpoint that is kept, and for as long as the service was
/// away.
fn restart_ms(config: &Config) -> i64 {
    let kept = config.checkpoint_interval.saturating_mul(u32::try_from(config.checkpoints_kept).unwrap_or(u32::MAX));
    i64::try_from(kept.saturating_add(OUTAGE).as_millis()).unwrap_or(i64::MAX)
}

/// Who could not be reached is a failed check, not a service that is not ready.
fn not_ready(error: KafkaError) -> CliError {
    match error {
        KafkaError::Unreachable { .. } => CliError::failed(error.to_string()),
        other => other.into(),
    }
}

type Asked = Vec<(Client, Vec<(String, Role)>)>;

/// The clusters to look at, each with its topics: those of the flags, or those of the settings.
fn looked_at(args: &CheckArgs, config: &Config) -> Result<Asked, CliError> {
    if args.cluster.is_given() {
        let read = |(name, format): &(String, TopicFormat)| (name.clone(), Role::Read { format: *format });
        return Ok(vec![(args.cluster.client()?, args.topics.iter().map(read).collect())]);
    }
    let mut asked = Asked::new();
    let sinks = config.kafka_sinks.as_ref();
    if let Some(kafka) = &config.kafka {
        let client = super::client(&kafka.bootstrap_servers, &kafka.properties)?;
        let format = |text: &str| text.parse().expect("formats of topics are checked with the settings");
        let mut topics: Vec<(String, Role)> = kafka
            .topics
            .iter()
            .map(|topic| (topic.name.clone(), Role::Read { format: format(&topic.format) }))
            .collect();
        let mut letters: Vec<&String> = kafka.topics.iter().filter_map(|topic| topic.dlq.as_ref()).collect();
        letters.sort_unstable();
        letters.dedup();
        topics.extend(letters.iter().map(|name| ((*name).clone(), Role::Write { compacted: false })));
        // How far dead letters have come is published beside them.
        let user = (&kafka.bootstrap_servers, &kafka.properties);
        let apart = sinks.filter(|sinks| (&sinks.bootstrap_servers, &sinks.properties) != user && !letters.is_empty());
        topics.extend(apart.map(|sinks| (sinks.progress_topic.clone(), Role::Progress)));
        asked.push((client, topics));
    }
    if let Some(sinks) = sinks {
        let client = super::client(&sinks.bootstrap_servers, &sinks.properties)?;
        let written = |name: &String, compacted| (name.clone(), Role::Write { compacted });
        let corrections = sinks.corrections.as_ref().map(|sink| written(&sink.topic, false));
        let counts = sinks.counts.as_ref().map(|counts| written(&counts.sink.topic, true));
        let progress = (sinks.progress_topic.clone(), Role::Progress);
        asked.push((client, [corrections, counts, Some(progress)].into_iter().flatten().collect()));
    }
    match asked.is_empty() {
        true => Err(CliError::usage(
            "the settings name no Kafka; name a file of settings with --config, or brokers with --bootstrap host:port",
        )),
        false => Ok(asked),
    }
}

fn as_text(report: &Report) -> String {
    let style = Style::for_stdout();
    let mut brokers = Table::new(&[("broker", Align::Right), ("address", Align::Left)]);
    for broker in &report.brokers {
        brokers.row(vec![broker.id.to_string(), broker.address.clone()]);
    }
    let mut topics = Table::new(&[
        ("topic", Align::Left),
        ("use", Align::Left),
        ("partitions", Align::Right),
        ("replicas", Align::Right),
        ("in sync", Align::Right),
        ("min in sync", Align::Right),
        ("cleanup", Align::Left),
        ("retention", Align::Right),
        ("offsets", Align::Right),
        ("samples", Align::Left),
    ]);
    report.topics.iter().for_each(|topic| topics.row(cells(topic)));
    let mut text = brokers.render(style);
    if !report.topics.is_empty() {
        text += &format!("\n{}", topics.render(style));
    }
    text.push('\n');
    if report.findings.is_empty() {
        text += "nothing is wrong\n";
    }
    for Finding { level, name, topic, message } in &report.findings {
        text += &format!("{} {name}: {topic}: {message}\n", level_name(*level));
    }
    text
}

fn cells(topic: &TopicReport) -> Vec<String> {
    let unknown = || "?".to_owned();
    let number = |setting| topic.number(setting).map_or_else(unknown, |number| number.to_string());
    let samples = match (topic.is_read, topic.sampled, topic.broken.0) {
        (false, ..) => String::new(),
        (true, 0, _) => "none".to_owned(),
        (true, sampled, 0) => format!("{sampled} fine"),
        (true, sampled, broken) => format!("{broken} of {sampled} broken"),
    };
    vec![
        topic.name.clone(),
        topic.format.map_or("write", TopicFormat::as_str).to_owned(),
        topic.partitions.to_string(),
        topic.replicas.to_string(),
        topic.in_sync.to_string(),
        number("min.insync.replicas"),
        topic.cleanup().map_or_else(unknown, str::to_owned),
        topic.number("retention.ms").map_or_else(unknown, retention),
        topic.offsets.map_or_else(String::new, grouped),
        samples,
    ]
}

fn retention(retention_ms: i64) -> String {
    match retention_ms {
        ms if ms < 0 => "forever".to_owned(),
        ms => format!("{} h", grouped(ms / 3_600_000)),
    }
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::Failure => "failure",
        Level::Warning => "warning",
    }
}

fn as_json(report: &Report) -> Value {
    let topic = |topic: &TopicReport| {
        json!({
            "name": topic.name,
            "read_as": topic.format.map(TopicFormat::as_str),
            "partitions": topic.partitions,
            "replicas": topic.replicas,
            "in_sync": topic.in_sync,
            "min_insync_replicas": topic.number("min.insync.replicas"),
            "cleanup_policy": topic.cleanup(),
            "retention_ms": topic.number("retention.ms"),
            "retention_bytes": topic.number("retention.bytes"),
            "offsets": topic.offsets,
            "sampled": topic.sampled,
            "broken": topic.broken.0,
            "may_read": topic.rights.map(|rights| rights.read),
            "may_write": topic.rights.map(|rights| rights.write),
        })
    };
    let finding = |finding: &Finding| {
        json!({
            "level": level_name(finding.level),
            "name": finding.name,
            "topic": finding.topic,
            "message": finding.message,
        })
    };
    json!({
        "usable": report.is_usable(),
        "brokers": report.brokers.iter().map(|one| json!({"id": one.id, "address": one.address})).collect::<Vec<_>>(),
        "topics": report.topics.iter().map(topic).collect::<Vec<_>>(),
        "findings": report.findings.iter().map(finding).collect::<Vec<_>>(),
    })
}
