//! What is published, where to and how.

use std::time::Duration;

use recount_connectors::kafka::sink::{Cleanup, Delivery, TopicPlan};
use recount_connectors::kafka::{Client, ClientSettings};
use recount_dataflow::domain::window::Granularity;

use super::encode::Format;
use crate::config::{Config, ConfigError, KafkaSink, KafkaSinks};

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
}

/// One sink.
#[derive(Clone)]
pub(super) struct SinkSettings {
    pub(super) topic: TopicPlan,
    pub(super) delivery: Delivery,
    pub(super) format: Format,
}

/// When no more epochs are added to a transaction. One epoch is one transaction, whatever its size.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) messages: usize,
    pub(super) bytes: usize,
}

impl SinksSettings {
    /// From the settings as checked.
    ///
    /// # Errors
    /// Where a property of the client can not be used.
    pub(crate) fn new(written: &KafkaSinks, config: &Config) -> Result<Self, ConfigError> {
        let client = ClientSettings {
            bootstrap_servers: written.bootstrap_servers.clone(),
            properties: written.properties.clone(),
        };
        let client = Client::new(&client).map_err(|error| ConfigError::new(format!("sink.kafka: {error}")))?;
        let rules = config.service_rules()?;
        let kept = rules.counts_retention_ms.map(|ms| Duration::from_millis(ms.unsigned_abs()));
        Ok(SinksSettings {
            client,
            progress_topic: written.progress_topic.clone(),
            transaction_timeout: written.transaction_timeout,
            limits: Limits { messages: written.transaction_messages, bytes: written.transaction_bytes },
            epochs_behind_max: written.epochs_behind_max,
            corrections: written.corrections.as_ref().map(|sink| sink_settings(sink, Cleanup::Delete(kept))),
            counts: (written.counts.as_ref())
                .map(|counts| (sink_settings(&counts.sink, Cleanup::Compact), counts.granularities.clone())),
        })
    }

    /// How many epochs a sink may be behind before nothing more is fed.
    pub(crate) fn epochs_behind_max(&self) -> u64 {
        self.epochs_behind_max
    }
}

fn sink_settings(sink: &KafkaSink, cleanup: Cleanup) -> SinkSettings {
    let KafkaSink { topic, partitions, replication, exactly_once, protobuf } = sink;
    SinkSettings {
        topic: TopicPlan { name: topic.clone(), partitions: *partitions, replication: *replication, cleanup },
        delivery: if *exactly_once { Delivery::ExactlyOnce } else { Delivery::AtLeastOnce },
        format: if *protobuf { Format::Protobuf } else { Format::Json },
    }
}
