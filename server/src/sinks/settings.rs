//! What is published, where to and how.

use std::collections::BTreeMap;
use std::time::Duration;

use recount_connectors::kafka::sink::{Cleanup, Delivery, TopicPlan};
use recount_connectors::kafka::{Client, ClientSettings};
use recount_dataflow::domain::window::Granularity;

use super::encode::Format;
use crate::config::{Config, ConfigError, KafkaDeadLetters, KafkaSink, KafkaSinks};

/// The most bytes that a dead letter may have in a topic that is made for them: a record over 1 MiB is none of ours, and may be larger
/// than topics take by default.
const DEAD_LETTER_BYTES_MAX: usize = 16 << 20;

/// What is published, where to and how.
#[derive(Clone)]
pub struct SinksSettings {
    pub(super) client: Client,
    pub(super) progress_topic: String,
    pub(super) transaction_timeout: Duration,
    pub(super) limits: Limits,
    pub(super) epochs_behind_max: u64,
    pub(super) corrections: Option<SinkSettings>,
    pub(super) counts: Option<(SinkSettings, Vec<Granularity>)>,
    pub(super) dead_letters: Option<DeadLetterSettings>,
}

/// The sink of dead letters. It publishes to the cluster that records come from.
#[derive(Clone)]
pub(super) struct DeadLetterSettings {
    pub(super) client: Client,
    pub(super) sink: SinkSettings,
    /// Of each topic that records come from, the number of the topic for its dead letters.
    pub(super) targets: BTreeMap<String, usize>,
}

/// One sink.
#[derive(Clone)]
pub(super) struct SinkSettings {
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
        let dead_letters = written.dead_letters.as_ref().map(dead_letter_settings).transpose()?;
        let rules = config.service_rules()?;
        let kept = rules.counts_retention_ms.map(|ms| Duration::from_millis(ms.unsigned_abs()));
        Ok(SinksSettings {
            client,
            progress_topic: written.progress_topic.clone(),
            transaction_timeout: written.transaction_timeout,
            limits: Limits {
                messages: written.transaction_messages,
                bytes: written.transaction_bytes,
                interval: written.transaction_interval,
            },
            epochs_behind_max: written.epochs_behind_max,
            corrections: written.corrections.as_ref().map(|sink| sink_settings(sink, Cleanup::Delete(kept))),
            counts: (written.counts.as_ref())
                .map(|counts| (sink_settings(&counts.sink, Cleanup::Compact), counts.granularities.clone())),
            dead_letters,
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

fn dead_letter_settings(written: &KafkaDeadLetters) -> Result<DeadLetterSettings, ConfigError> {
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
    let topics = names.iter().map(plan).collect();
    let sink = SinkSettings { topics, delivery: Delivery::ExactlyOnce, format: Format::Json };
    Ok(DeadLetterSettings { client: client("source.kafka", bootstrap_servers, properties)?, sink, targets })
}

fn sink_settings(sink: &KafkaSink, cleanup: Cleanup) -> SinkSettings {
    let KafkaSink { topic, partitions, replication, exactly_once, protobuf } = sink;
    SinkSettings {
        topics: vec![TopicPlan {
            name: topic.clone(),
            partitions: *partitions,
            replication: *replication,
            cleanup,
            message_bytes_max: None,
        }],
        delivery: if *exactly_once { Delivery::ExactlyOnce } else { Delivery::AtLeastOnce },
        format: if *protobuf { Format::Protobuf } else { Format::Json },
    }
}
