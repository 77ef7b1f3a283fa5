//! The settings of Kafka as a source, as checked. What only librdkafka can judge is judged when it is started.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

use super::structured::{properties, value};
use super::{ConfigError, Read, unless_off};
use crate::convert::units;

/// Longest name of a topic that Kafka allows.
const TOPIC_BYTES_MAX: usize = 249;

/// Kafka as a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KafkaConfig {
    pub(crate) bootstrap_servers: String,
    pub(crate) topics: Vec<TopicConfig>,
    pub(crate) group: String,
    pub(crate) start: StartConfig,
    pub(crate) max_partition_skew: Option<Duration>,
    pub(crate) metadata_interval: Duration,
    pub(crate) prefetch_bytes: usize,
    pub(crate) properties: BTreeMap<String, String>,
}

/// A topic that is read.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TopicConfig {
    pub(crate) name: String,
    pub(crate) format: String,
    /// The topic for its dead letters.
    pub(crate) dlq: Option<String>,
}

/// Where a topic begins that was never read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StartConfig {
    Earliest,
    Latest,
    /// ms since 1970.
    Time(i64),
    Offsets(BTreeMap<(String, i32), u64>),
}

/// What a structured setting may hold.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Topics {
    value: Vec<TopicConfig>,
}

impl Read<'_> {
    /// Kafka as a source; `None` where no brokers are named.
    pub(super) fn kafka(&self) -> Result<Option<KafkaConfig>, ConfigError> {
        let topics = self.with("source.kafka.topics", topics)?;
        let config = KafkaConfig {
            bootstrap_servers: self.with("source.kafka.bootstrap_servers", |text| Ok(text.trim().to_owned()))?,
            topics,
            group: self.with("source.kafka.group", |text| match text {
                "" => Err("a group has a name".to_owned()),
                name => Ok(name.to_owned()),
            })?,
            start: self.with("source.kafka.start", start)?,
            max_partition_skew: self
                .with("source.kafka.max_partition_skew", |text| unless_off(text, units::duration))?,
            metadata_interval: self.duration("source.kafka.metadata_interval", Duration::from_millis(100))?,
            prefetch_bytes: self.with("source.kafka.prefetch_bytes", |text| match units::size(text)? {
                bytes if bytes < 1 << 20 => Err(format!("{text:?} is too little; it must be at least 1MiB")),
                bytes => Ok(bytes),
            })?,
            properties: self.with("source.kafka.properties", |text| properties("source.kafka.properties", text))?,
        };
        match (config.bootstrap_servers.is_empty(), config.topics.is_empty()) {
            (true, true) => Ok(None),
            (false, false) => Ok(Some(config)),
            (true, false) => Err(ConfigError::new(
                "source.kafka.topics are given without source.kafka.bootstrap_servers; write where the brokers are",
            )),
            (false, true) => Err(ConfigError::new(
                "source.kafka.bootstrap_servers are given without topics; write [[source.kafka.topics]] with name and format",
            )),
        }
    }
}

/// Whether the value of a property must not be shown.
#[cfg(feature = "kafka")]
pub(super) fn is_secret(name: &str) -> bool {
    recount_connectors::kafka::is_secret(name)
}

/// Without librdkafka at hand nothing is shown.
#[cfg(not(feature = "kafka"))]
pub(super) fn is_secret(_: &str) -> bool {
    true
}

fn topics(text: &str) -> Result<Vec<TopicConfig>, String> {
    let parsed = value(text)?.try_into::<Topics>();
    let topics = parsed.map_err(|error| format!("every topic has a name and a format: {}", error.message()))?.value;
    for (place, topic) in topics.iter().enumerate() {
        let is_legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        for name in [Some(&topic.name), topic.dlq.as_ref()].into_iter().flatten() {
            if name.is_empty() || TOPIC_BYTES_MAX < name.len() || !name.chars().all(is_legal) {
                return Err(format!("{name:?} is no name of a topic"));
            }
        }
        if topics.iter().any(|other| Some(&other.name) == topic.dlq.as_ref()) {
            return Err(format!("topic {:?}: its dlq is a topic that is read", topic.name));
        }
        if topics[..place].iter().any(|other| other.name == topic.name) {
            return Err(format!("topic {:?} is given twice", topic.name));
        }
        if !["event", "click", "verdict", "json", "content-type"].contains(&topic.format.as_str()) {
            let format = &topic.format;
            return Err(format!("{format:?} is no format; write event, click, verdict, json or content-type"));
        }
    }
    Ok(topics)
}

fn start(text: &str) -> Result<StartConfig, String> {
    match text {
        "earliest" => return Ok(StartConfig::Earliest),
        "latest" => return Ok(StartConfig::Latest),
        _ => {}
    }
    if text.starts_with('{') {
        return offsets(text).map(StartConfig::Offsets);
    }
    let ms = text.parse().ok().or_else(|| text.parse::<Timestamp>().ok().map(Timestamp::as_millisecond));
    ms.map(StartConfig::Time).ok_or_else(|| {
        format!(
            "{text:?} is no start; write earliest, latest, a time as 2026-01-31T12:00:00Z or in ms, or {{ \"topic/0\" = offset }}"
        )
    })
}

fn offsets(text: &str) -> Result<BTreeMap<(String, i32), u64>, String> {
    let mut value = value(text)?;
    let Some(toml::Value::Table(table)) = value.remove("value") else {
        return Err(format!("{text:?} names no offsets"));
    };
    let read = |(place, offset): (String, toml::Value)| {
        let (topic, partition) = place.rsplit_once('/')?;
        let partition = partition.parse::<i32>().ok().filter(|partition| *partition >= 0)?;
        let offset = offset.as_integer().and_then(|offset| u64::try_from(offset).ok())?;
        Some(((topic.to_owned(), partition), offset))
    };
    let read = table.into_iter().map(read).collect::<Option<BTreeMap<_, _>>>();
    read.ok_or_else(|| "offsets are written as \"topic/partition\" = offset".to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::{from_toml, shown};
    use super::*;

    #[test]
    fn tables_and_free_keys_are_read() {
        let text = r#"
            [source.kafka]
            bootstrap_servers = "127.0.0.1:9092"
            start = { "clicks/0" = 5 }
            [[source.kafka.topics]]
            name = "clicks"
            format = "event"
            dlq = "dlq.clicks"
            [[source.kafka.topics]]
            name = "verdicts"
            format = "content-type"
            [source.kafka.properties]
            "sasl.password_file" = "/run/secrets/kafka"
            fetch.wait.max.ms = 20
        "#;
        let kafka = from_toml(text).expect("it fits").kafka.expect("brokers are named");
        assert_eq!(kafka.topics[0].dlq.as_deref(), Some("dlq.clicks"));
        assert_eq!(kafka.topics[1].format, "content-type");
        assert_eq!(kafka.start, StartConfig::Offsets([(("clicks".to_owned(), 0), 5)].into()));
        assert_eq!(kafka.properties["sasl.password_file"], "/run/secrets/kafka");
        assert_eq!(kafka.properties["fetch.wait.max.ms"], "20");
        assert_eq!(from_toml("").expect("nothing is given").kafka, None);
    }

    #[test]
    fn what_does_not_fit_is_refused_with_what_to_write() {
        let problem = |lines: &str| {
            let text = format!("[source.kafka]\nbootstrap_servers = \"b:1\"\n{lines}\n");
            from_toml(&text).expect_err("it is refused").to_string()
        };
        let topic = |topic: &str| problem(&format!("[[source.kafka.topics]]\n{topic}"));
        assert!(problem("").contains("without topics"));
        assert!(topic("name = \"a b\"\nformat = \"json\"").contains("no name of a topic"));
        assert!(topic("name = \"a\"\nformat = \"avro\"").contains("no format; write event"));
        let dlq = |name: &str| topic(&format!("name = \"a\"\nformat = \"json\"\ndlq = \"{name}\""));
        assert!(dlq("").contains("no name of a topic") && dlq("a").contains("its dlq is a topic that is read"));
        assert!(dlq("recount.progress").contains("is a topic of sink.kafka too"));
        assert!(topic("name = \"a\"").contains("missing field `format`"));
        assert!(topic("name = \"a\"\nformat = \"json\"\ndql = \"b\"").contains("unknown field `dql`"));
        assert!(problem("star = \"latest\"").contains("source.kafka.star; did you mean source.kafka.start?"));
        assert!(problem("start = \"soon\"").contains("no start; write earliest"));
        assert!(problem("start = { clicks = 1 }").contains("\"topic/partition\" = offset"));
        let message =
            from_toml("[source.kafka]\ntopics = [{ name = \"a\", format = \"json\" }]").expect_err("no brokers");
        assert!(message.to_string().contains("without source.kafka.bootstrap_servers"), "{message}");
        assert!(from_toml("[source.kafk]\ngroup = \"a\"").expect_err("unknown").to_string().contains("did you mean"));
    }

    #[test]
    fn a_slip_in_the_file_is_placed_and_does_not_show_what_is_there() {
        let slip = "[source.kafka.properties]\n\"sasl.password\" = s3cret\n";
        let said = from_toml(slip).expect_err("it is no TOML").to_string();
        assert!(said.contains(":2:19: this is no TOML") && !said.contains("s3cret"), "{said}");
    }

    #[test]
    fn times_are_read_both_ways() {
        assert_eq!(start("1700000000000"), Ok(StartConfig::Time(1_700_000_000_000)));
        assert_eq!(start("2023-11-14T22:13:20Z"), Ok(StartConfig::Time(1_700_000_000_000)));
    }

    #[test]
    fn secrets_are_not_shown() {
        let shown = shown("source.kafka.properties", r#"{ "sasl.password" = "hunter 2" }"#);
        assert!(shown.contains("sasl.password") && !shown.contains("hunter"), "{shown}");
    }
}
