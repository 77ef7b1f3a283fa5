//! From checked settings to a source of Kafka, where this program is built with it.

use super::CliError;
use crate::config::Config;
use crate::store::KafkaInput;

/// What is read of Kafka; `None` where records do not come from there. `accepted` are gaps as they were written.
///
/// # Errors
/// Where a gap can not be read, or this program is built without Kafka.
#[cfg(feature = "kafka")]
pub(super) fn input(config: &Config, accepted: &[String]) -> Result<Option<KafkaInput>, CliError> {
    use recount_connectors::kafka::ClientSettings;
    use recount_connectors::kafka::source::{AcceptedGap, KafkaSourceSettings, Start, Topic};

    use super::serve::decode_threads;
    use crate::config::{KafkaConfig, StartConfig, TopicConfig};

    let Some(kafka) = &config.kafka else {
        return match accepted.first() {
            None => Ok(None),
            Some(_) => Err(CliError::usage("--accept-gap is about topics, and the settings have no [source.kafka]")),
        };
    };
    let KafkaConfig { bootstrap_servers, topics, group, start, properties, .. } = kafka.clone();
    let topic = |TopicConfig { name, format, .. }: TopicConfig| {
        let format = format.parse().expect("formats of topics are checked with the settings");
        Topic { name, format }
    };
    let accepted_gaps = accepted.iter().map(|gap| gap.parse::<AcceptedGap>());
    let accepted_gaps = accepted_gaps.collect::<Result<Vec<_>, _>>();
    let start = match start {
        StartConfig::Earliest => Start::Earliest,
        StartConfig::Latest => Start::Latest,
        StartConfig::Time(ms) => Start::Time(ms),
        StartConfig::Offsets(offsets) => Start::Offsets(offsets),
    };
    Ok(Some(KafkaSourceSettings {
        client: ClientSettings { bootstrap_servers, properties },
        group,
        topics: topics.into_iter().map(topic).collect(),
        start,
        max_partition_skew: kafka.max_partition_skew,
        metadata_interval: kafka.metadata_interval,
        prefetch_bytes: kafka.prefetch_bytes,
        threads: decode_threads(config),
        accepted_gaps: accepted_gaps.map_err(|problem| CliError::usage(format!("--accept-gap: {problem}")))?,
    }))
}

/// This program is built without Kafka.
///
/// # Errors
/// Where records are to come from there.
#[cfg(not(feature = "kafka"))]
pub(super) fn input(config: &Config, accepted: &[String]) -> Result<Option<KafkaInput>, CliError> {
    match config.kafka.is_some() || !accepted.is_empty() {
        false => Ok(None),
        true => Err(CliError::usage(
            "the settings have a [source.kafka], and this recount is built without Kafka; build it with --features kafka",
        )),
    }
}
