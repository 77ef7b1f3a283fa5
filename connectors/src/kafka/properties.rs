//! Which properties are secret, and which Recount decides.

use std::collections::BTreeMap;

use rdkafka::config::ClientConfig;

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

/// Names that librdkafka takes for the same property.
const ALIASES: [(&str, &str); 11] = [
    ("acks", "request.required.acks"),
    ("bootstrap.servers", "metadata.broker.list"),
    ("compression.type", "compression.codec"),
    ("delivery.timeout.ms", "message.timeout.ms"),
    ("linger.ms", "queue.buffering.max.ms"),
    ("max.in.flight", "max.in.flight.requests.per.connection"),
    ("max.partition.fetch.bytes", "fetch.message.max.bytes"),
    ("retries", "message.send.max.retries"),
    ("sasl.mechanism", "sasl.mechanisms"),
    ("sasl.oauthbearer.client.credentials.client.id", "sasl.oauthbearer.client.id"),
    ("sasl.oauthbearer.client.credentials.client.secret", "sasl.oauthbearer.client.secret"),
];

/// The other name of a property; `None` where it has one only.
pub(super) fn alias(name: &str) -> Option<&'static str> {
    ALIASES.iter().find_map(|&(one, other)| match name {
        _ if name == one => Some(other),
        _ if name == other => Some(one),
        _ => None,
    })
}

/// Sets a property that nobody has set, by any of its names: of two names librdkafka takes the one that it happens to see last.
pub(super) fn set_default(config: &mut ClientConfig, name: &str, value: &str) {
    let is_set = |name: &str| config.get(name).is_some();
    if !is_set(name) && !alias(name).is_some_and(is_set) {
        config.set(name, value);
    }
}

/// Sets a property, whoever has set it by any of its names.
pub(super) fn set(config: &mut ClientConfig, name: &str, value: &str) {
    if let Some(other) = alias(name) {
        config.remove(other);
    }
    config.set(name, value);
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_gives_way_to_any_name_of_its_property() {
        for (set_by_hand, value) in [("compression.codec", "zstd"), ("compression.type", "zstd")] {
            let mut config = ClientConfig::new();
            config.set(set_by_hand, value);
            set_default(&mut config, "compression.type", "lz4");
            assert_eq!(native(&config), "zstd", "{set_by_hand}");
            set(&mut config, "compression.type", "gzip");
            assert_eq!(native(&config), "gzip", "{set_by_hand}");
        }
        let mut config = ClientConfig::new();
        set_default(&mut config, "compression.type", "lz4");
        assert_eq!(native(&config), "lz4");
    }

    /// What librdkafka makes of the settings.
    fn native(config: &ClientConfig) -> String {
        config.create_native_config().unwrap().get("compression.codec").unwrap()
    }

    #[test]
    fn every_alias_is_one_to_librdkafka() {
        // A build may be without OAuth over HTTP, as ours is, and takes none of its properties.
        for (one, other) in ALIASES.into_iter().filter(|(one, _)| !one.starts_with("sasl.oauthbearer.")) {
            let mut config = ClientConfig::new();
            let value = ["1", "a:1", "zstd", "true"].into_iter().find(|value| {
                config.set(one, *value);
                config.create_native_config().is_ok()
            });
            let native = config.create_native_config().unwrap();
            assert!(value.is_some() && native.get(one).unwrap() == native.get(other).unwrap(), "{one}, {other}");
        }
    }
}
