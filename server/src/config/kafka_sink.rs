//! What is published to Kafka, as checked. What only librdkafka can judge is judged when it is started.

use std::collections::BTreeMap;
use std::time::Duration;

use recount_dataflow::domain::window::Granularity;

use super::kafka::KafkaConfig;
use super::structured::{properties, value};
use super::{ConfigError, Read};
use crate::convert::names::granularity_name;
use crate::convert::units;

/// What stands for the broker's own default.
const BROKERS: &str = "default";

/// What is published, where to and how.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "kafka"), expect(dead_code, reason = "they are checked, and nothing is published"))]
pub(crate) struct KafkaSinks {
    pub(crate) bootstrap_servers: String,
    pub(crate) properties: BTreeMap<String, String>,
    pub(crate) progress_topic: String,
    pub(crate) transaction_timeout: Duration,
    pub(crate) transaction_interval: Duration,
    pub(crate) transaction_messages: usize,
    pub(crate) transaction_bytes: usize,
    pub(crate) epochs_behind_max: u64,
    pub(crate) corrections: Option<KafkaSink>,
    pub(crate) counts: Option<KafkaCounts>,
    pub(crate) dead_letters: Option<KafkaDeadLetters>,
}

/// The topics of dead letters, in the cluster that records come from.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "kafka"), expect(dead_code, reason = "they are checked, and nothing is published"))]
pub(crate) struct KafkaDeadLetters {
    pub(crate) bootstrap_servers: String,
    pub(crate) properties: BTreeMap<String, String>,
    /// By the topic that records come from.
    pub(crate) topics: BTreeMap<String, String>,
    pub(crate) replication: Option<u16>,
}

/// One sink.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "kafka"), expect(dead_code, reason = "they are checked, and nothing is published"))]
pub(crate) struct KafkaSink {
    pub(crate) topic: String,
    pub(crate) partitions: Option<u16>,
    pub(crate) replication: Option<u16>,
    pub(crate) delivery: DeliveryConfig,
    pub(crate) format: FormatConfig,
}

/// How often a message may arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeliveryConfig {
    ExactlyOnce,
    AtLeastOnce,
}

/// How a message is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FormatConfig {
    Json,
    Protobuf,
}

/// The sink of rows.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "kafka"), allow(dead_code, reason = "they are checked, and nothing is published"))]
pub(crate) struct KafkaCounts {
    pub(crate) sink: KafkaSink,
    pub(crate) granularities: Vec<Granularity>,
}

impl Read<'_> {
    /// What is published to Kafka; `None` where no topic is named. `source` is whence records come, whose brokers are taken where no
    /// others are named.
    pub(super) fn kafka_sinks(&self, source: Option<&KafkaConfig>) -> Result<Option<KafkaSinks>, ConfigError> {
        let named = self.with("sink.kafka.bootstrap_servers", |text| Ok(text.trim().to_owned()))?;
        let own = self.with("sink.kafka.properties", |text| properties("sink.kafka.properties", text))?;
        let corrections = self.kafka_sink("corrections")?;
        let counts = self.kafka_sink("counts")?;
        let granularities = self.with("sink.kafka.counts.granularities", granularities)?;
        let progress_topic = self.with("sink.kafka.progress_topic", |text| match text {
            "" => Err("a topic has a name".to_owned()),
            name => Ok(name.to_owned()),
        })?;
        let transaction_timeout = self.duration("sink.kafka.transaction_timeout", Duration::from_secs(1))?;
        let transaction_interval = self.duration("sink.kafka.transaction_interval", Duration::ZERO)?;
        let transaction_messages = self.number("sink.kafka.transaction_messages", 1, 100_000_000)?;
        let transaction_bytes = self.with("sink.kafka.transaction_bytes", units::some_size)?;
        let epochs_behind_max = self.number("sink.kafka.epochs_behind_max", 1, 1_000_000)? as u64;
        let dead_letters = source.map(|source| self.dead_letters(source)).transpose()?.flatten();
        if corrections.is_none() && counts.is_none() && dead_letters.is_none() {
            return match named.is_empty() && own.is_empty() {
                true => Ok(None),
                false => Err(ConfigError::new(
                    "sink.kafka is given without a topic; write sink.kafka.corrections.topic or sink.kafka.counts.topic",
                )),
            };
        }
        check_topics([&corrections, &counts], &progress_topic, dead_letters.as_ref())?;
        let (bootstrap_servers, properties) = brokers(named, own, source)?;
        Ok(Some(KafkaSinks {
            bootstrap_servers,
            properties,
            progress_topic,
            transaction_timeout,
            transaction_interval,
            transaction_messages,
            transaction_bytes,
            epochs_behind_max,
            corrections,
            counts: counts.map(|sink| KafkaCounts { sink, granularities }),
            dead_letters,
        }))
    }

    /// Where dead letters go; `None` where no topic says so.
    fn dead_letters(&self, source: &KafkaConfig) -> Result<Option<KafkaDeadLetters>, ConfigError> {
        let named = source.topics.iter().filter_map(|topic| Some((topic.name.clone(), topic.dlq.clone()?)));
        let letters = KafkaDeadLetters {
            bootstrap_servers: source.bootstrap_servers.clone(),
            properties: source.properties.clone(),
            topics: named.collect(),
            replication: self.with("sink.kafka.replication", unless_brokers)?,
        };
        Ok(Some(letters).filter(|letters| !letters.topics.is_empty()))
    }

    fn kafka_sink(&self, name: &str) -> Result<Option<KafkaSink>, ConfigError> {
        let key = |entry: &str| format!("sink.kafka.{name}.{entry}");
        let sink = KafkaSink {
            topic: self.with(&key("topic"), |text| Ok(text.trim().to_owned()))?,
            partitions: self.with(&key("partitions"), unless_brokers)?,
            replication: self.with("sink.kafka.replication", unless_brokers)?,
            delivery: self.with(&key("delivery"), |text| match text {
                "exactly-once" => Ok(DeliveryConfig::ExactlyOnce),
                "at-least-once" => Ok(DeliveryConfig::AtLeastOnce),
                _ => Err(format!("{text:?} is no delivery; write exactly-once or at-least-once")),
            })?,
            format: self.with(&key("format"), |text| match text {
                "json" => Ok(FormatConfig::Json),
                "protobuf" => Ok(FormatConfig::Protobuf),
                _ => Err(format!("{text:?} is no format; write json or protobuf")),
            })?,
        };
        Ok(Some(sink).filter(|sink| !sink.topic.is_empty()))
    }
}

/// Refuses one topic for two things.
fn check_topics(
    sinks: [&Option<KafkaSink>; 2],
    progress_topic: &str,
    dead_letters: Option<&KafkaDeadLetters>,
) -> Result<(), ConfigError> {
    let topics = sinks.map(|sink| sink.as_ref().map(|sink| sink.topic.as_str()));
    let is_twice = topics[0].is_some() && topics[0] == topics[1];
    if is_twice || topics.contains(&Some(progress_topic)) {
        return Err(ConfigError::new(
            "two of sink.kafka.corrections.topic, sink.kafka.counts.topic and sink.kafka.progress_topic are the same",
        ));
    }
    let others: Vec<&str> = topics.into_iter().flatten().chain([progress_topic]).collect();
    let mut letters = dead_letters.into_iter().flat_map(|letters| letters.topics.values());
    match letters.find(|dlq| others.contains(&dlq.as_str())) {
        Some(dlq) => Err(ConfigError::new(format!("source.kafka.topics: dlq {dlq:?} is a topic of sink.kafka too"))),
        None => Ok(()),
    }
}

/// The brokers that are `named`, or those of the source, and the properties for them: the source's too, where its brokers are taken.
fn brokers(
    named: String,
    own: BTreeMap<String, String>,
    source: Option<&KafkaConfig>,
) -> Result<(String, BTreeMap<String, String>), ConfigError> {
    match (named.is_empty(), source) {
        (false, _) => Ok((named, own)),
        (true, Some(source)) => {
            let both = source.properties.iter().map(|(name, value)| (name.clone(), value.clone())).chain(own);
            Ok((source.bootstrap_servers.clone(), both.collect()))
        }
        (true, None) => Err(ConfigError::new("sink.kafka.bootstrap_servers is missing; write where the brokers are")),
    }
}

fn unless_brokers(text: &str) -> Result<Option<u16>, String> {
    match (text, text.parse()) {
        (BROKERS, _) => Ok(None),
        (_, Ok(number)) if number > 0 => Ok(Some(number)),
        _ => Err(format!("{text:?} must be a whole number from 1 to 65535, or {BROKERS}: the broker's")),
    }
}

fn granularities(text: &str) -> Result<Vec<Granularity>, String> {
    let problem = || format!("{text:?} is no list of minute, five-minutes, hour and day");
    let value = value(text)?.remove("value");
    let written = value.as_ref().and_then(toml::Value::as_array).ok_or_else(problem)?;
    let one = |value: &toml::Value| {
        let name = value.as_str();
        Granularity::ALL.into_iter().find(|&one| name == Some(granularity_name(one))).ok_or_else(problem)
    };
    let mut granularities = written.iter().map(one).collect::<Result<Vec<_>, _>>()?;
    granularities.sort_unstable();
    granularities.dedup();
    if granularities.is_empty() { Err(problem()) } else { Ok(granularities) }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Layers};
    use super::*;

    fn read(text: &str) -> Result<Option<KafkaSinks>, String> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("written");
        let layers = Layers::collect(Some(file.path()), std::iter::empty(), vec![]);
        let config = layers.and_then(|layers| Config::try_from(&layers));
        config.map(|config| config.kafka_sinks).map_err(|error| error.to_string())
    }

    #[test]
    fn both_sinks_are_read() {
        let text = r#"
            [sink.kafka]
            bootstrap_servers = "a:1"
            transaction_timeout = "10s"
            [sink.kafka.properties]
            "linger.ms" = 3
            [sink.kafka.corrections]
            topic = "corrections"
            delivery = "at-least-once"
            format = "protobuf"
            [sink.kafka.counts]
            topic = "counts"
            partitions = 4
            granularities = ["hour", "minute", "hour"]
        "#;
        let sinks = read(text).expect("it fits").expect("topics are named");
        assert_eq!((sinks.properties["linger.ms"].as_str(), sinks.transaction_timeout.as_secs()), ("3", 10));
        let corrections = sinks.corrections.expect("it is named");
        assert_eq!((corrections.delivery, corrections.format), (DeliveryConfig::AtLeastOnce, FormatConfig::Protobuf));
        let counts = sinks.counts.expect("it is named");
        assert_eq!(counts.granularities, [Granularity::Minute, Granularity::Hour]);
        assert_eq!((counts.sink.delivery, counts.sink.partitions), (DeliveryConfig::ExactlyOnce, Some(4)));
        assert!(read("").expect("nothing is given").is_none());
    }

    #[test]
    fn the_sources_brokers_are_taken_where_no_others_are_named() {
        let text = r#"
            [source.kafka]
            bootstrap_servers = "a:1"
            topics = [{ name = "clicks", format = "event" }]
            [source.kafka.properties]
            "security.protocol" = "ssl"
            "client.rack" = "x"
            [sink.kafka]
            counts.topic = "counts"
            [sink.kafka.properties]
            "client.rack" = "y"
        "#;
        let sinks = read(text).expect("it fits").expect("a topic is named");
        assert_eq!(sinks.bootstrap_servers, "a:1");
        assert_eq!(
            (sinks.properties["security.protocol"].as_str(), sinks.properties["client.rack"].as_str()),
            ("ssl", "y")
        );
        assert!(sinks.corrections.is_none());
    }

    #[test]
    fn what_does_not_fit_is_refused_with_what_to_write() {
        let problem = |lines: &str| {
            read(&format!("[sink.kafka]\nbootstrap_servers = \"a:1\"\n{lines}\n")).expect_err("it is refused")
        };
        assert!(problem("").contains("without a topic"));
        assert!(problem("counts.topic = \"a\"\ncorrections.topic = \"a\"").contains("are the same"));
        assert!(problem("counts.topic = \"a\"\ncounts.granularities = []").contains("no list of minute"));
        assert!(
            problem("counts.topic = \"a\"\ncounts.delivery = \"once\"").contains("write exactly-once or at-least-once")
        );
        assert!(problem("counts.topics = \"a\"").contains("did you mean sink.kafka.counts.topic?"));
        let missing = read("[sink.kafka]\ncounts.topic = \"a\"").expect_err("no brokers");
        assert!(missing.contains("sink.kafka.bootstrap_servers is missing"), "{missing}");
    }
}
