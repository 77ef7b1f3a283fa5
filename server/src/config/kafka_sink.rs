//! `[sink.kafka]`: what is published to Kafka. It is a tree with free names in it, so it is read by itself; only the file has it.

use std::collections::BTreeMap;
use std::time::Duration;

use recount_dataflow::domain::window::Granularity;
use serde::Deserialize;

use super::{ConfigError, units};

/// What is published, where to and how; checked.
#[derive(Clone, Debug)]
pub(crate) struct KafkaSinks {
    pub(crate) bootstrap_servers: String,
    pub(crate) properties: BTreeMap<String, String>,
    pub(crate) progress_topic: String,
    pub(crate) transaction_timeout: Duration,
    pub(crate) transaction_messages: usize,
    pub(crate) transaction_bytes: usize,
    pub(crate) epochs_behind_max: u64,
    pub(crate) corrections: Option<KafkaSink>,
    pub(crate) counts: Option<KafkaCounts>,
}

/// One sink.
#[derive(Clone, Debug)]
pub(crate) struct KafkaSink {
    pub(crate) topic: String,
    pub(crate) partitions: Option<u16>,
    pub(crate) replication: Option<u16>,
    pub(crate) exactly_once: bool,
    pub(crate) protobuf: bool,
}

/// The sink of rows.
#[derive(Clone, Debug)]
pub(crate) struct KafkaCounts {
    pub(crate) sink: KafkaSink,
    pub(crate) granularities: Vec<Granularity>,
}

/// `[sink.kafka]` as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Written {
    bootstrap_servers: Option<String>,
    properties: BTreeMap<String, Property>,
    progress_topic: String,
    transaction_timeout: String,
    transaction_messages: usize,
    transaction_bytes: String,
    epochs_behind_max: u64,
    replication: Option<u16>,
    corrections: Option<WrittenSink>,
    counts: Option<WrittenSink>,
}

impl Default for Written {
    fn default() -> Self {
        Written {
            bootstrap_servers: None,
            properties: BTreeMap::new(),
            progress_topic: "recount.progress".into(),
            transaction_timeout: "60s".into(),
            transaction_messages: 100_000,
            transaction_bytes: "32MiB".into(),
            epochs_behind_max: 6_000,
            replication: None,
            corrections: None,
            counts: None,
        }
    }
}

/// `[sink.kafka.corrections]` and `[sink.kafka.counts]` as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenSink {
    topic: String,
    #[serde(default)]
    delivery: WrittenDelivery,
    #[serde(default)]
    format: WrittenFormat,
    partitions: Option<u16>,
    granularities: Option<Vec<WrittenGranularity>>,
}

/// A property of librdkafka as written.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Property {
    Text(String),
    Number(i64),
    Switch(bool),
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum WrittenDelivery {
    #[default]
    ExactlyOnce,
    AtLeastOnce,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum WrittenFormat {
    #[default]
    Json,
    Protobuf,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum WrittenGranularity {
    Minute,
    FiveMinutes,
    Hour,
    Day,
}

impl From<WrittenGranularity> for Granularity {
    fn from(written: WrittenGranularity) -> Granularity {
        match written {
            WrittenGranularity::Minute => Granularity::Minute,
            WrittenGranularity::FiveMinutes => Granularity::FiveMinutes,
            WrittenGranularity::Hour => Granularity::Hour,
            WrittenGranularity::Day => Granularity::Day,
        }
    }
}

impl KafkaSinks {
    /// Reads and checks the table; `source_servers` are the source's, which are taken where it names none.
    ///
    /// # Errors
    /// Where a name is not known, a value is none, or something that is needed is missing.
    pub(super) fn read(table: toml::Table, source_servers: Option<&str>) -> Result<KafkaSinks, ConfigError> {
        let fail = |problem: String| ConfigError::new(format!("sink.kafka: {problem}"));
        let written: Written = table.try_into().map_err(|cause: toml::de::Error| fail(cause.to_string()))?;
        let servers = written.bootstrap_servers.as_deref().or(source_servers);
        let Some(servers) = servers else {
            return Err(fail(
                "bootstrap_servers is missing; write the brokers to begin with, as in \"localhost:9092\"".into(),
            ));
        };
        if written.corrections.is_none() && written.counts.is_none() {
            return Err(fail(
                "there is no sink; add [sink.kafka.corrections] or [sink.kafka.counts] with a topic".into(),
            ));
        }
        let transaction_timeout = units::duration(&written.transaction_timeout).map_err(&fail)?;
        if transaction_timeout < Duration::from_secs(1) {
            return Err(fail("transaction_timeout is below 1s; a transaction that ends in time must fit".into()));
        }
        if written.transaction_messages == 0 || written.epochs_behind_max == 0 {
            return Err(fail("transaction_messages and epochs_behind_max must be at least 1".into()));
        }
        let properties = written.properties.into_iter().map(|(name, value)| (name, value.text())).collect();
        let corrections = written.corrections.map(|sink| match sink.granularities {
            Some(_) => Err(fail("corrections.granularities: corrections are of all granularities".into())),
            None => Ok(sink.checked(written.replication)),
        });
        let all = || vec![Granularity::Minute, Granularity::FiveMinutes, Granularity::Hour, Granularity::Day];
        let counts = written.counts.map(|sink| {
            let granularities = sink.granularities.as_ref().map_or_else(all, |written| {
                let mut granularities: Vec<Granularity> = written.iter().map(|&one| one.into()).collect();
                granularities.sort_unstable();
                granularities.dedup();
                granularities
            });
            match granularities.is_empty() {
                true => Err(fail("counts.granularities is empty; name at least one".into())),
                false => Ok(KafkaCounts { sink: sink.checked(written.replication), granularities }),
            }
        });
        let (corrections, counts) = (corrections.transpose()?, counts.transpose()?);
        let topics =
            [corrections.as_ref(), counts.as_ref().map(|counts| &counts.sink)].map(|sink| sink.map(|sink| &sink.topic));
        if topics[0].is_some() && topics[0] == topics[1] || topics.contains(&Some(&written.progress_topic)) {
            return Err(fail("two of corrections.topic, counts.topic and progress_topic are the same".into()));
        }
        Ok(KafkaSinks {
            bootstrap_servers: servers.to_owned(),
            properties,
            progress_topic: written.progress_topic,
            transaction_timeout,
            transaction_messages: written.transaction_messages,
            transaction_bytes: units::size(&written.transaction_bytes).map_err(&fail)?.max(1),
            epochs_behind_max: written.epochs_behind_max,
            corrections,
            counts,
        })
    }
}

impl WrittenSink {
    fn checked(&self, replication: Option<u16>) -> KafkaSink {
        KafkaSink {
            topic: self.topic.clone(),
            partitions: self.partitions,
            replication,
            exactly_once: matches!(self.delivery, WrittenDelivery::ExactlyOnce),
            protobuf: matches!(self.format, WrittenFormat::Protobuf),
        }
    }
}

impl Property {
    fn text(self) -> String {
        match self {
            Property::Text(text) => text,
            Property::Number(number) => number.to_string(),
            Property::Switch(on) => on.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<KafkaSinks, String> {
        KafkaSinks::read(text.parse().unwrap(), None).map_err(|error| error.to_string())
    }

    #[test]
    fn a_whole_table_is_read() {
        let sinks = read(
            "bootstrap_servers = 'a:1'\ntransaction_timeout = '10s'\n\
             [properties]\n'linger.ms' = 3\n'sasl.username' = 'me'\n\
             [corrections]\ntopic = 'corrections'\ndelivery = 'at-least-once'\nformat = 'protobuf'\n\
             [counts]\ntopic = 'counts'\npartitions = 4\ngranularities = ['hour', 'minute', 'hour']",
        );
        let sinks = sinks.unwrap();
        assert_eq!((sinks.properties["linger.ms"].as_str(), sinks.transaction_timeout.as_secs()), ("3", 10));
        let corrections = sinks.corrections.unwrap();
        assert!(!corrections.exactly_once && corrections.protobuf);
        let counts = sinks.counts.unwrap();
        assert_eq!(counts.granularities, [Granularity::Minute, Granularity::Hour]);
        assert_eq!((counts.sink.exactly_once, counts.sink.partitions), (true, Some(4)));
    }

    #[test]
    fn what_is_missing_or_unknown_is_said() {
        let problem = |text| read(text).unwrap_err();
        assert!(problem("[counts]\ntopic = 'a'").contains("bootstrap_servers is missing"));
        assert!(problem("bootstrap_servers = 'a:1'").contains("there is no sink"));
        let shown = problem("bootstrap_servers = 'a:1'\n[counts]\ntopic = 'a'\nformt = 'json'");
        assert!(shown.contains("unknown field `formt`"), "{shown}");
        let shown = problem("bootstrap_servers = 'a:1'\n[counts]\ntopic = 'a'\n[corrections]\ntopic = 'a'");
        assert!(shown.contains("are the same"), "{shown}");
    }
}
