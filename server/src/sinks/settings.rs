//! What is published, where to and how.

use std::collections::BTreeMap;
use std::time::Duration;

use recount_connectors::kafka::sink::{Cleanup, Delivery, TopicPlan};
use recount_connectors::kafka::{Client, ClientSettings};
use recount_dataflow::domain::window::Granularity;

use super::encode::Format;
use crate::config::{Config, ConfigError, DeliveryConfig, FormatConfig, KafkaDeadLetters, KafkaSink, KafkaSinks};

/// The most bytes that a dead letter may have in a topic that is made for them: a record over 1 MiB is none of ours, and may be larger
/// than topics take by default.
const DEAD_LETTER_BYTES_MAX: usize = 16 << 20;

/// What is published, where to and how.
#[derive(Clone)]
pub struct SinksSettings {
    pub(super) progress_topic: String,
    pub(super) transaction_timeout: Duration,
    pub(super) limits: Limits,
    pub(super) epochs_behind_max: u64,
    /// At most one of a kind.
    pub(super) sinks: Vec<SinkSettings>,
}

/// What a sink publishes.
#[derive(Clone)]
pub(super) enum Kind {
    /// Every correction of a CLOSED window.
    Corrections,
    /// Every change of a row of these sizes of windows.
    Counts(Vec<Granularity>),
    /// Every quarantined record; of each topic that records come from, the number of the topic for its dead letters.
    DeadLetters(BTreeMap<String, usize>),
}

impl Kind {
    /// The name of the sink, in Kafka's progress and in what is told of it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Kind::Corrections => "corrections",
            Kind::Counts(_) => "counts",
            Kind::DeadLetters(_) => "dead-letters",
        }
    }
}

/// One sink.
#[derive(Clone)]
pub(super) struct SinkSettings {
    pub(super) kind: Kind,
    /// How to reach its cluster: dead letters go where records come from.
    pub(super) client: Client,
    /// At least one.
    pub(super) topics: Vec<TopicPlan>,
    pub(super) delivery: Delivery,
    pub(super) format: Format,
}

/// When no more epochs are added to a transaction. One epoch is one transaction, whatever its size.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) messages: usize,
    pub(super) bytes: usize,
    /// Between two transactions, at least, where they are not full: what a transaction costs the broker does not depend on its size.
    pub(super) interval: Duration,
}

impl SinksSettings {
    /// From the settings as checked.
    ///
    /// # Errors
    /// Where a property of the client can not be used.
    pub(crate) fn new(written: &KafkaSinks, config: &Config) -> Result<Self, ConfigError> {
        let client = client("sink.kafka", &written.bootstrap_servers, &written.properties)?;
        let rules = config.service_rules()?;
        let kept = rules.counts_retention_ms.map(|ms| Duration::from_millis(ms.unsigned_abs()));
        let corrections = written.corrections.as_ref();
        let corrections =
            corrections.map(|sink| sink_settings(Kind::Corrections, &client, sink, Cleanup::Delete(kept)));
        let counts = written.counts.as_ref().map(|counts| {
            let kind = Kind::Counts(counts.granularities.clone());
            sink_settings(kind, &client, &counts.sink, Cleanup::Compact)
        });
        let dead_letters = written.dead_letters.as_ref().map(dead_letter_settings).transpose()?;
        Ok(SinksSettings {
            progress_topic: written.progress_topic.clone(),
            transaction_timeout: written.transaction_timeout,
            limits: Limits {
                messages: written.transaction_messages,
                bytes: written.transaction_bytes,
                interval: written.transaction_interval,
            },
            epochs_behind_max: written.epochs_behind_max,
            sinks: [corrections, counts, dead_letters].into_iter().flatten().collect(),
        })
    }

    /// How many epochs a sink may be behind before nothing more is fed.
    pub(crate) fn epochs_behind_max(&self) -> u64 {
        self.epochs_behind_max
    }
}

fn client(key: &str, servers: &str, properties: &BTreeMap<String, String>) -> Result<Client, ConfigError> {
    let settings = ClientSettings { bootstrap_servers: servers.to_owned(), properties: properties.clone() };
    Client::new(&settings).map_err(|error| ConfigError::new(format!("{key}: {error}")))
}

fn dead_letter_settings(written: &KafkaDeadLetters) -> Result<SinkSettings, ConfigError> {
    let KafkaDeadLetters { bootstrap_servers, properties, topics, replication } = written;
    let mut names: Vec<&String> = topics.values().collect();
    names.sort_unstable();
    names.dedup();
    let number = |name| names.binary_search(&name).expect("every name is among the names");
    let targets = topics.iter().map(|(source, name)| (source.clone(), number(name))).collect();
    let plan = |name: &&String| TopicPlan {
        name: (*name).clone(),
        partitions: None,
        replication: *replication,
        // A record that was not counted stays until somebody lets it go.
        cleanup: Cleanup::Delete(None),
        message_bytes_max: Some(DEAD_LETTER_BYTES_MAX),
    };
    Ok(SinkSettings {
        kind: Kind::DeadLetters(targets),
        client: client("source.kafka", bootstrap_servers, properties)?,
        topics: names.iter().map(plan).collect(),
        delivery: Delivery::ExactlyOnce,
        format: Format::Json,
    })
}

fn sink_settings(kind: Kind, client: &Client, sink: &KafkaSink, cleanup: Cleanup) -> SinkSettings {
    let KafkaSink { topic, partitions, replication, delivery, format } = sink;
    SinkSettings {
        kind,
        client: client.clone(),
        topics: vec![TopicPlan {
            name: topic.clone(),
            partitions: *partitions,
            replication: *replication,
            cleanup,
            message_bytes_max: None,
        }],
        delivery: match delivery {
            DeliveryConfig::ExactlyOnce => Delivery::ExactlyOnce,
            DeliveryConfig::AtLeastOnce => Delivery::AtLeastOnce,
        },
        format: match format {
            FormatConfig::Json => Format::Json,
            FormatConfig::Protobuf => Format::Protobuf,
        },
    }
}
