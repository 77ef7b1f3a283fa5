//! The topics of a sink: made where there are none, and held to what they must keep where there are.

use std::thread;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::error::{KafkaError as Cause, RDKafkaErrorCode as Code};

use super::{Cleanup, PublisherSettings, SinkError, TopicPlan};
use crate::kafka::{Client, KafkaError, Watch, wait_for};

const WAIT: Duration = Duration::from_secs(10);
/// How long the settings of a topic that somebody has just made may take to be seen, and how often it is looked.
const PROPAGATION_MAX: Duration = Duration::from_secs(2);
const PROPAGATION_STEP: Duration = Duration::from_millis(50);
/// Progress is read from the start, so its segments are small and soon compacted.
const PROGRESS_CONFIG: [(&str, &str); 3] =
    [("segment.bytes", "4194304"), ("min.cleanable.dirty.ratio", "0.1"), ("max.compaction.lag.ms", "600000")];

/// A record that was read late, or whose sender's clock is wrong, keeps its time.
const ANY_TIME: [(&str, &str); 2] =
    [("message.timestamp.before.max.ms", ANY_MS), ("message.timestamp.after.max.ms", ANY_MS)];
const ANY_MS: &str = "9223372036854775807";

/// What a message may have where the broker does not say.
const MESSAGE_BYTES_MAX: usize = 1_048_588;

/// Which topics are there.
pub(super) struct There {
    pub(super) progress: bool,
    /// Those that are published to.
    pub(super) topics: Vec<bool>,
}

/// Checks the topics that are there.
pub(super) fn look(settings: &PublisherSettings) -> Result<There, SinkError> {
    let connection = settings.client.connect()?;
    connection.brokers(WAIT)?;
    let is_there = |plan: &TopicPlan| match connection.topic(&plan.name, WAIT) {
        Ok(_) => check(&settings.client, plan).map(|_| true),
        // Whether it is not there, or this user may not see it, shows when it is made.
        Err(KafkaError::NoTopic { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    };
    let topics = settings.topics.iter().map(is_there).collect::<Result<Vec<_>, _>>()?;
    Ok(There { topics, progress: is_there(&progress_plan(settings))? })
}

/// Makes the topics that are not there, and adds them to `made`; checks those that are. Returns the most bytes that a message of each
/// may have.
pub(super) fn ensure(settings: &PublisherSettings, made: &mut Vec<String>) -> Result<Vec<usize>, SinkError> {
    // It says why where nobody answers, or where the login is refused.
    let connection = settings.client.connect()?;
    connection.brokers(WAIT)?;
    let admin = settings.client.admin()?;
    // Kafka asks for the right to make a topic before it looks whether there is one, so it is only asked for what is missing.
    let mut ensured = |plan: &TopicPlan, more: &[(&str, &str)]| match connection.topic(&plan.name, WAIT) {
        Ok(_) => check(&settings.client, plan),
        Err(KafkaError::NoTopic { .. }) => match make(&admin, plan, more)? {
            true => {
                made.push(plan.name.clone());
                Ok(plan.message_bytes_max)
            }
            false => check(&settings.client, plan),
        },
        Err(error) => Err(error.into()),
    };
    ensured(&progress_plan(settings), &PROGRESS_CONFIG)?;
    let mut bytes_max = |plan| ensured(plan, &[]).map(|found| found.unwrap_or(MESSAGE_BYTES_MAX));
    settings.topics.iter().map(&mut bytes_max).collect()
}

fn progress_plan(settings: &PublisherSettings) -> TopicPlan {
    TopicPlan {
        name: settings.progress_topic.clone(),
        partitions: Some(1),
        replication: settings.topics[0].replication,
        cleanup: Cleanup::Compact,
        message_bytes_max: None,
    }
}

/// Makes a topic; false where somebody else has made it meanwhile.
fn make(admin: &AdminClient<Watch>, plan: &TopicPlan, more: &[(&str, &str)]) -> Result<bool, SinkError> {
    let made = match try_make(admin, plan, &[more, &ANY_TIME].concat()) {
        // Brokers before Kafka 3.6 take any time, and do not know these settings.
        Err(Cause::Global(Code::InvalidConfig)) => try_make(admin, plan, more),
        made => made,
    };
    made.map_err(|cause| {
        let name = &plan.name;
        let action = format!("topic {name:?} is not there, or this user may not see it; it can not be made");
        KafkaError::call(action, cause).into()
    })
}

fn try_make(admin: &AdminClient<Watch>, plan: &TopicPlan, more: &[(&str, &str)]) -> Result<bool, Cause> {
    let TopicPlan { name, partitions, replication, cleanup, message_bytes_max } = plan;
    let (policy, retention_ms) = match cleanup {
        Cleanup::Compact => ("compact", None),
        Cleanup::Delete(None) => ("delete", Some("-1".to_owned())),
        Cleanup::Delete(Some(retention)) => ("delete", Some(retention.as_millis().to_string())),
    };
    let replicas = replication.map_or(-1, i32::from);
    let mut topic = NewTopic::new(name, partitions.map_or(-1, i32::from), TopicReplication::Fixed(replicas));
    topic = topic.set("cleanup.policy", policy);
    if let Some(retention_ms) = &retention_ms {
        topic = topic.set("retention.ms", retention_ms);
    }
    let message_bytes_max = message_bytes_max.map(|bytes| bytes.to_string());
    if let Some(bytes) = &message_bytes_max {
        topic = topic.set("max.message.bytes", bytes);
    }
    for (key, value) in more {
        topic = topic.set(key, value);
    }
    let made = wait_for(admin.create_topics([&topic], &options())).map_err(global)?;
    match made.into_iter().next() {
        Some(Err((_, Code::TopicAlreadyExists))) => Ok(false),
        Some(Err((_, code))) => Err(Cause::Global(code)),
        Some(Ok(_)) | None => {
            tracing::info!(topic = name, policy, "the topic is made");
            Ok(true)
        }
    }
}

/// Holds a topic to what its keys need. Returns the most bytes that a message may have, where that can be seen.
fn check(client: &Client, plan: &TopicPlan) -> Result<Option<usize>, SinkError> {
    let name = plan.name.as_str();
    let mut seen = client.topic_settings(name, WAIT)?;
    let deadline = Instant::now() + PROPAGATION_MAX;
    while seen.is_empty() && Instant::now() < deadline {
        thread::sleep(PROPAGATION_STEP);
        seen = client.topic_settings(name, WAIT)?;
    }
    let Some(found) = seen.get("cleanup.policy") else {
        // Who may write to a topic need not be allowed to see its settings.
        tracing::warn!(topic = name, "this user may not see the topic's settings; its cleanup.policy is not checked");
        return Ok(None);
    };
    match verdict(plan.cleanup, found) {
        None => Ok(seen.get("max.message.bytes").and_then(|bytes| bytes.parse().ok())),
        Some((needed, why)) => Err(SinkError::Policy { topic: name.to_owned(), found: found.clone(), needed, why }),
    }
}

/// What a policy must be instead, and why; `None` where it is right.
fn verdict(cleanup: Cleanup, found: &str) -> Option<(&'static str, &'static str)> {
    match cleanup {
        Cleanup::Compact if found != "compact" => {
            Some(("compact", "a key that does not change for long would be lost with its last message"))
        }
        Cleanup::Delete(_) if found.contains("compact") => {
            Some(("delete", "all messages of a key but its last would be lost"))
        }
        _ => None,
    }
}

/// The same error with its code where it can be asked for.
fn global(cause: Cause) -> Cause {
    match cause {
        Cause::AdminOp(code) => Cause::Global(code),
        other => other,
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(WAIT)).operation_timeout(Some(WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_that_loses_keys_is_refused() {
        let needed = |cleanup, found| verdict(cleanup, found).map(|(needed, _)| needed);
        assert_eq!(needed(Cleanup::Compact, "compact"), None);
        assert_eq!(needed(Cleanup::Compact, "compact,delete"), Some("compact"));
        assert_eq!(needed(Cleanup::Delete(None), "delete"), None);
        assert_eq!(needed(Cleanup::Delete(None), "compact"), Some("delete"));
    }
}
