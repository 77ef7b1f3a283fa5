//! What is there of the topics that would be read and written, and what about them would cost records.
//!
//! Nothing is written and nothing is committed: topics are described, and some records of those that would be read are read.

mod findings;
mod sample;

use std::collections::HashMap;
use std::time::Duration;

pub use self::findings::{Finding, Level};
use super::client::Client;
use super::connection::{Broker, Connection, Rights, Topic};
use super::error::KafkaError;
use super::source::TopicFormat;

/// What a topic is to Recount.
#[derive(Clone, Debug)]
pub enum Role {
    /// It is read.
    Read {
        /// How its records are written.
        format: TopicFormat,
    },
    /// It is written; `compacted` where only the last message of a key must stay.
    Write {
        /// Whether it is a changelog.
        compacted: bool,
    },
    /// It tells how far sinks have come: it is a changelog, and read as well as written.
    Progress,
}

impl Role {
    /// Whether it is read.
    fn is_read(&self) -> bool {
        matches!(self, Role::Read { .. } | Role::Progress)
    }

    /// Whether it is written.
    fn is_written(&self) -> bool {
        matches!(self, Role::Write { .. } | Role::Progress)
    }
}

/// What is to be looked at.
#[derive(Clone, Debug, Default)]
pub struct CheckSettings {
    /// The topics.
    pub topics: Vec<(String, Role)>,
    /// How far back a replay may have to read, in ms.
    pub correction_horizon_ms: i64,
    /// How far a time may be ahead of its record's arrival, in ms.
    pub max_future_skew_ms: i64,
    /// For how long a start may need records as they were, in ms: since the checkpoint that it goes on from.
    pub restart_ms: i64,
    /// How long a question may take.
    pub wait: Duration,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The brokers.
    pub brokers: Vec<Broker>,
    /// The topics that are there, as they were asked for.
    pub topics: Vec<TopicReport>,
    /// What should be looked at, the worst first.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether Recount can work with what is there.
    pub fn is_usable(&self) -> bool {
        self.findings.iter().all(|finding| finding.level != Level::Failure)
    }
}

/// A topic, as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicReport {
    /// Its name.
    pub name: String,
    /// Whether it is read; else it is written.
    pub is_read: bool,
    /// Its format, where it is read.
    pub format: Option<TopicFormat>,
    /// How many partitions it has.
    pub partitions: usize,
    /// How many partitions have no leader.
    pub leaderless: usize,
    /// Replicas of the partition that has the fewest.
    pub replicas: usize,
    /// Replicas in sync of the partition that has the fewest.
    pub in_sync: usize,
    /// Offsets between the first and the last record; more than there are records, where some were compacted.
    pub offsets: Option<u64>,
    /// Its own and inherited settings; empty where this user may not see them.
    pub settings: HashMap<String, String>,
    /// How many records were read.
    pub sampled: usize,
    /// How many of them could not be read as records, and why the first of them could not.
    pub broken: (usize, Option<String>),
    /// Why it can not be read.
    pub unreadable: Option<String>,
    /// What this user may do; `None` where the broker does not say.
    pub rights: Option<Rights>,
}

impl TopicReport {
    /// A setting that is a whole number.
    pub fn number(&self, setting: &str) -> Option<i64> {
        self.settings.get(setting)?.parse().ok()
    }

    /// A setting as it is written.
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.settings.get(name).map(String::as_str)
    }

    /// What Kafka lets go of.
    pub fn cleanup(&self) -> Option<&str> {
        self.setting("cleanup.policy")
    }
}

/// Looks at a cluster and its topics.
///
/// # Errors
/// Where no broker can be used at all. What is wrong with a topic is a finding.
pub fn check(client: &Client, settings: &CheckSettings) -> Result<Report, KafkaError> {
    let connection = client.connect()?;
    let mut report = Report { brokers: connection.brokers(settings.wait)?, ..Report::default() };
    for (name, role) in &settings.topics {
        match connection.topic(name, settings.wait) {
            Ok(topic) => {
                let described = describe(client, &connection, &topic, role, settings.wait)?;
                report.findings.extend(findings::of_topic(&described, role, settings));
                report.topics.push(described);
            }
            Err(KafkaError::NoTopic { topic }) => report.findings.push(findings::missing(&topic, role)),
            Err(other) => return Err(other),
        }
    }
    report.findings.sort_by_key(|finding| finding.level);
    Ok(report)
}

fn describe(
    client: &Client,
    connection: &Connection,
    topic: &Topic,
    role: &Role,
    wait: Duration,
) -> Result<TopicReport, KafkaError> {
    let fewest = |count: fn(&super::Partition) -> usize| topic.partitions.iter().map(count).min().unwrap_or_default();
    let mut report = TopicReport {
        name: topic.name.clone(),
        partitions: topic.partitions.len(),
        leaderless: topic.partitions.iter().filter(|one| one.leader.is_none()).count(),
        replicas: fewest(|one| one.replicas.len()),
        in_sync: fewest(|one| one.in_sync.len()),
        settings: client.topic_settings(&topic.name, wait)?,
        rights: connection.rights(&topic.name, wait)?,
        ..TopicReport::default()
    };
    if let Role::Read { format } = role {
        (report.is_read, report.format) = (true, Some(*format));
        let sample = sample::sample(client, connection, topic, *format, wait)?;
        report.offsets = sample.offsets;
        report.sampled = sample.records;
        report.broken = (sample.broken, sample.first_problem);
        report.unreadable = sample.refusal;
    }
    Ok(report)
}
