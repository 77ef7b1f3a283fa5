//! Which properties are secret, and which Recount decides.

use std::collections::BTreeMap;

/// What is shown in a secret's place.
const HIDDEN: &str = "[hidden]";

/// Parts of the names of properties that hold secrets. A new property of librdkafka is rather hidden than shown.
const SECRET_PARTS: [&str; 8] =
    ["password", "passphrase", "secret", "key.pem", "private.key", "oauthbearer.config", "ssl_key", "token.value"];

/// Ends of names whose value says where something is, and is none itself.
const PLACE_ENDS: [&str; 4] = [".location", ".file", "_file", ".url"];

/// Properties that Recount decides, and why; any other passes through.
const DECIDED: [(&str, &str); 24] = [
    ("bootstrap.servers", "write it as bootstrap_servers"),
    ("metadata.broker.list", "write it as bootstrap_servers"),
    ("group.id", "write it as group, beside the topics"),
    ("group.instance.id", "Recount assigns partitions itself"),
    ("group.protocol", "Recount assigns partitions itself"),
    ("group.remote.assignor", "Recount assigns partitions itself"),
    ("partition.assignment.strategy", "Recount assigns partitions itself"),
    ("enable.auto.commit", "where reading goes on is decided by what was bound to epochs, never by group offsets"),
    ("auto.commit.enable", "where reading goes on is decided by what was bound to epochs, never by group offsets"),
    (
        "enable.auto.offset.store",
        "where reading goes on is decided by what was bound to epochs, never by group offsets",
    ),
    ("auto.offset.reset", "a gap is an error here and never skipped; where a new pipeline begins is written as start"),
    ("isolation.level", "it is always read_committed: what was taken back is never counted"),
    ("check.crcs", "it is always true: a damaged record is never counted"),
    ("enable.partition.eof", "Recount needs it to know the end of a partition"),
    ("transactional.id", "it is made of the store and the sink, and must stay the same over restarts"),
    ("enable.idempotence", "it is always true: a retry never writes twice"),
    ("acks", "it is always all: what is delivered survives a broker"),
    ("request.required.acks", "it is always all: what is delivered survives a broker"),
    ("delivery.report.only.error", "what became of messages is counted"),
    ("allow.auto.create.topics", "a mistyped topic must not come into being"),
    ("log_level", "choose what is logged by log.level, for example info,kafka=debug"),
    ("log.queue", "lines of librdkafka go to Recount's log"),
    ("enable.random.seed", "it does not concern this program"),
    ("sasl.jaas.config", "it is a property of Java clients; write sasl.username and sasl.password_file"),
];

/// Why a property can not be set by hand; `None` where it can.
pub(super) fn decided(name: &str) -> Option<&'static str> {
    DECIDED.iter().find(|(decided, _)| *decided == name).map(|(_, reason)| *reason)
}

/// Whether the value of a property must not be shown.
///
/// ```
/// assert!(recount_connectors::kafka::is_secret("sasl.password"));
/// assert!(!recount_connectors::kafka::is_secret("sasl.password_file"));
/// ```
pub fn is_secret(name: &str) -> bool {
    let is_place = PLACE_ENDS.iter().any(|end| name.ends_with(end));
    !is_place && SECRET_PARTS.iter().any(|part| name.contains(part))
}

/// The properties as they may be shown: secrets are named, and hidden.
pub fn redacted(properties: &BTreeMap<String, String>) -> BTreeMap<&str, &str> {
    let shown = |name: &String| if is_secret(name) { HIDDEN } else { properties[name].as_str() };
    properties.keys().map(|name| (name.as_str(), shown(name))).collect()
}
