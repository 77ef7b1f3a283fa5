//! Messages that Kafka does not take, and would not take if they came again.

use rdkafka::error::RDKafkaErrorCode as Code;

/// What a person can do about a message that is refused with this code; `None` where the message is not to blame.
pub(super) fn advice(code: Code) -> Option<&'static str> {
    Some(match code {
        Code::InvalidTimestamp => {
            "let message.timestamp.before.max.ms and message.timestamp.after.max.ms of the topic allow for it, or set the clocks of \
             this machine and of the brokers right"
        }
        Code::InvalidRecord => {
            "look at cleanup.policy, message.timestamp.before.max.ms and message.timestamp.after.max.ms of the topic, and at what \
             the broker logs"
        }
        Code::MessageSizeTooLarge => "raise max.message.bytes of the topic",
        Code::MessageBatchTooLarge => "raise segment.bytes of the topic, or lower batch.size among the properties",
        Code::UnsupportedForMessageFormat => "the brokers are older than what is written; upgrade them",
        Code::PolicyViolation => "a policy of the brokers forbids it; change the policy, or publish to another topic",
        _ => return None,
    })
}

/// Whether only a person can change it, whatever the messages are.
pub(super) fn is_refusal(code: Code) -> bool {
    matches!(
        code,
        Code::TopicAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
            | Code::InvalidTransactionTimeout
            | Code::UnsupportedVersion
            | Code::UnsupportedFeature
            | Code::Authentication
            | Code::SaslAuthenticationFailed
    )
}

/// Whether the time of a message may be to blame. Where several messages of a batch are refused librdkafka says of each only that it
/// is one.
pub(super) fn is_of_time(code: Code) -> bool {
    matches!(code, Code::InvalidTimestamp | Code::InvalidRecord)
}

/// Whether sending a message again comes to the same.
pub(super) fn is_final(code: Code) -> bool {
    is_refusal(code) || advice(code).is_some()
}
