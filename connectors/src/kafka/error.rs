//! Why Kafka could not be used. A broken record is none of this.

use std::io;

use rdkafka::error::{KafkaError as Cause, RDKafkaErrorCode as Code};
use thiserror::Error;

/// An outside failure, in words for the person who has to act. No message holds a secret.
#[derive(Debug, Error)]
pub enum KafkaError {
    /// A property that Recount decides itself.
    #[error("kafka property {name:?} can not be set: {reason}")]
    Decided {
        /// The property.
        name: String,
        /// What decides it.
        reason: &'static str,
    },
    /// A property that librdkafka does not take.
    #[error("kafka property {name:?}: {problem}; the names and values are those of librdkafka's CONFIGURATION.md")]
    Property {
        /// The property.
        name: String,
        /// What librdkafka said; only that it is refused, where the value is a secret.
        problem: String,
    },
    /// A property that was given both by itself and as the name of a file.
    #[error("kafka property {name:?} is given twice, also as \"{name}_file\"; keep one of them")]
    Twice {
        /// The property.
        name: String,
    },
    /// A property that was given by two of its names.
    #[error("kafka properties {name:?} and {other:?} are two names of one property; keep one of them")]
    Alias {
        /// One name.
        name: String,
        /// The other.
        other: &'static str,
    },
    /// A file that holds the value of a property can not be read.
    #[error("kafka property \"{name}_file\": {file} can not be read: {cause}")]
    SecretFile {
        /// The property that the file is for.
        name: String,
        /// The file.
        file: String,
        /// What the system said.
        cause: io::Error,
    },
    /// No servers were given.
    #[error("kafka: no bootstrap servers are given; write bootstrap_servers = \"host:port\"")]
    NoServers,
    /// librdkafka refuses to make a client of these settings.
    #[error("kafka: no client can be made of these settings: {message}")]
    Client {
        /// What librdkafka said.
        message: String,
    },
    /// The broker refused who we say we are.
    #[error(
        "kafka at {servers}: the broker refuses the login: {message}; check sasl.mechanism, sasl.username and sasl.password_file"
    )]
    Authentication {
        /// The bootstrap servers.
        servers: String,
        /// What librdkafka said.
        message: String,
    },
    /// The connection could not be made secret.
    #[error(
        "kafka at {servers}: TLS fails: {message}; check security.protocol, ssl.ca.location and the broker's certificate"
    )]
    Tls {
        /// The bootstrap servers.
        servers: String,
        /// What librdkafka said.
        message: String,
    },
    /// No broker was reached.
    #[error("kafka at {servers}: not reached: {message}; is a broker listening there, with this security.protocol?")]
    Unreachable {
        /// The bootstrap servers.
        servers: String,
        /// What librdkafka said.
        message: String,
    },
    /// There is no such topic.
    #[error("kafka topic {topic:?}: there is no such topic, or this user may not see it; make it, or correct its name")]
    NoTopic {
        /// The topic.
        topic: String,
    },
    /// There is no such partition.
    #[error("kafka topic {topic:?} has no partition {partition}")]
    NoPartition {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
    },
    /// Nobody answers for a partition.
    #[error(
        "kafka topic {topic:?} partition {partition}: {why}; its records are read once a broker leads it and answers"
    )]
    NoAnswer {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// What is known of it.
        why: String,
    },
    /// Kafka refused something, or did not answer.
    #[error("kafka: {action}: {cause}")]
    Call {
        /// What could not be done, and to what.
        action: String,
        /// What librdkafka said.
        cause: Cause,
    },
}

impl KafkaError {
    /// Kafka refused to do `action`, or did not answer.
    pub(crate) fn call(action: impl Into<String>, cause: Cause) -> Self {
        KafkaError::Call { action: action.into(), cause }
    }

    /// Whether the same call may succeed later with nothing changed by a person.
    pub fn is_retryable(&self) -> bool {
        match self {
            KafkaError::Unreachable { .. } | KafkaError::NoAnswer { .. } => true,
            KafkaError::Call { cause: Cause::Transaction(error), .. } => error.is_retriable(),
            KafkaError::Call { cause, .. } => cause.rdkafka_error_code().is_some_and(passes),
            _ => false,
        }
    }
}

/// Codes of a cluster that is on its way: brokers start, leaders move, queues empty.
fn passes(code: Code) -> bool {
    matches!(
        code,
        Code::AllBrokersDown
            | Code::BrokerNotAvailable
            | Code::BrokerTransportFailure
            | Code::CoordinatorLoadInProgress
            | Code::CoordinatorNotAvailable
            | Code::FencedLeaderEpoch
            | Code::KafkaStorageError
            | Code::LeaderNotAvailable
            | Code::MessageTimedOut
            | Code::NetworkException
            | Code::NotCoordinator
            | Code::NotEnoughReplicas
            | Code::NotEnoughReplicasAfterAppend
            | Code::NotLeaderForPartition
            | Code::OffsetNotAvailable
            | Code::OperationTimedOut
            | Code::QueueFull
            | Code::ReplicaNotAvailable
            | Code::RequestTimedOut
            | Code::Resolve
            | Code::UnknownLeaderEpoch
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_by_itself_is_retryable() {
        let call = |code| KafkaError::call("topic \"clicks\" can not be read", Cause::MessageConsumption(code));
        assert!(call(Code::NotLeaderForPartition).is_retryable());
        assert!(!call(Code::TopicAuthorizationFailed).is_retryable());
        assert!(!KafkaError::NoServers.is_retryable());
    }
}
