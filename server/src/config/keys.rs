//! Every setting: its name, its default, and what it means.

/// One setting.
#[derive(Debug)]
pub(crate) struct Key {
    /// `section.key`, as in the file.
    pub(crate) name: &'static str,
    /// The default, as a user would write it.
    pub(crate) default: &'static str,
    /// What it means, in a line.
    pub(crate) help: &'static str,
}

const fn key(name: &'static str, default: &'static str, help: &'static str) -> Key {
    Key { name, default, help }
}

/// The default of `engine.workers`: as many as the machine has cores.
pub(crate) const CORES: &str = "cores";

/// All settings, by section.
pub(crate) const KEYS: [Key; 65] = [
    key("rules.allowed_lateness", "30s", "how far the watermark trails the greatest event time"),
    key("rules.correction_horizon", "7d", "how far back numbers may still be corrected"),
    key("rules.dedup_horizon", "7d", "copies of a click further apart than this are different clicks"),
    key("rules.max_future_skew", "5m", "how far a time may lie ahead of its arrival"),
    key("rules.counts_retention", "90d", "how far behind the watermark rows are kept, or off; a replay keeps all"),
    key("dedup.fallback", "false", "whether a click without click_id is known by its ad, user and minute"),
    key("engine.workers", CORES, "worker threads, with one that merges for every two; `cores` is one a core"),
    key("engine.epoch_records", "50000", "records after which an epoch closes"),
    key("engine.epoch_interval", "100ms", "time after which an epoch closes (serve only)"),
    key("engine.epochs_in_flight", "2", "epochs that may be closed and not complete"),
    key("engine.history", "60s", "how long an epoch stays readable"),
    key("engine.history_epochs", "600", "how many epochs stay readable"),
    key("engine.history_bytes", "512MiB", "memory for the changes of readable epochs"),
    key("grpc.addr", "127.0.0.1:50051", "where gRPC listens; port 0 takes a free one"),
    key("grpc.concurrent_streams", "256", "calls at the same time on one connection, HTTP/2 as well"),
    key("grpc.concurrent_reads", "64", "reads at the same time over all connections, HTTP as well"),
    key("grpc.subscribers", "256", "subscriptions that are open at the same time, HTTP as well"),
    key("grpc.subscriber_messages", "16", "messages that wait for one subscriber"),
    key("grpc.subscriber_stall", "10s", "how long a subscriber may take nothing before it is let go"),
    key("grpc.drain", "10s", "how long calls may still run at shutdown, HTTP as well"),
    key("http.addr", "127.0.0.1:8080", "where HTTP listens; port 0 takes a free one"),
    key("store.partitions", "4", "partitions of a new store's log; fixed when it is made"),
    key(
        "store.sync",
        "always",
        "always: events are durable before the answer; interval: soon after it, which is weaker",
    ),
    key("store.sync_interval", "1s", "how soon, where store.sync is interval"),
    key("store.commit_window", "2ms", "how long events gather before they are made durable together"),
    key("store.segment_bytes", "64MiB", "size of the log's files"),
    key("store.queue_bytes", "64MiB", "memory for events that wait for the disk"),
    key(
        "store.memory_budget",
        "0",
        "the state's memory: what a checkpoint has written is held in its files, and records wait for it; 0 holds all in memory",
    ),
    key(
        "store.log_retention_age",
        "off",
        "how long the log keeps events; off keeps all, and lets them be counted anew",
    ),
    key("store.log_retention_bytes", "off", "how large the log may be; off sets no bound"),
    key(
        "store.checkpoints",
        "",
        "where checkpoints are kept: an object store, as s3://bucket/prefix, or with gs or az; empty keeps them in the data directory",
    ),
    key(
        "store.checkpoints_options",
        "{}",
        "any option of the crate object_store (endpoint, region, allow_http ..); NAME_file takes its value from a file",
    ),
    key("store.checkpoints_timeout", "30s", "how long a request to the object store may take, with its repetitions"),
    key("checkpoint.interval", "10s", "time between two checkpoints"),
    key(
        "checkpoint.records",
        "4000000",
        "records after which one is written earlier: a start after a crash counts again what has come in since",
    ),
    key("checkpoint.keep", "2", "checkpoints that are kept, at least 2"),
    key(
        "source.kafka.bootstrap_servers",
        "",
        "where records come from: brokers, as host:port with commas; empty takes them in by calls",
    ),
    key(
        "source.kafka.topics",
        "[]",
        "the topics: name, format (event, click, verdict, json or content-type), dlq where wanted",
    ),
    key("source.kafka.group", "recount", "the group whose offsets are committed, for tools that watch its lag"),
    key(
        "source.kafka.start",
        "earliest",
        "where a topic begins that was never read: earliest, latest, a time, or { \"topic/partition\" = offset }",
    ),
    key(
        "source.kafka.max_partition_skew",
        "1h",
        "how far a partition may run ahead of the slowest one with records, by their timestamps; or off",
    ),
    key(
        "source.kafka.metadata_interval",
        "10s",
        "time between two looks for new partitions, and at what became of topics",
    ),
    key("source.kafka.prefetch_bytes", "128MiB", "memory for records that are read ahead, over all partitions"),
    key("source.kafka.properties", "{}", "any property of librdkafka; NAME_file takes its value from a file"),
    key(
        "sink.kafka.bootstrap_servers",
        "",
        "where to publish: brokers, as host:port with commas; empty takes the source's",
    ),
    key("sink.kafka.progress_topic", "recount.progress", "the topic that says how far each sink has come"),
    key("sink.kafka.transaction_timeout", "60s", "the broker takes back a transaction that is open for longer"),
    key("sink.kafka.transaction_interval", "250ms", "time between two transactions of a sink, unless one is full"),
    key("sink.kafka.transaction_messages", "100000", "messages beyond which no more epochs join a transaction"),
    key("sink.kafka.transaction_bytes", "32MiB", "bytes beyond which no more epochs join a transaction"),
    key("sink.kafka.epochs_behind_max", "6000", "how many epochs a sink may be behind before the feed waits for it"),
    key("sink.kafka.replication", "default", "replicas of topics that are made; default is the broker's"),
    key("sink.kafka.properties", "{}", "any property of librdkafka; NAME_file takes its value from a file"),
    key("sink.kafka.corrections.topic", "", "where to publish corrections; empty publishes none"),
    key("sink.kafka.corrections.delivery", "exactly-once", "exactly-once or at-least-once"),
    key("sink.kafka.corrections.format", "json", "json or protobuf"),
    key("sink.kafka.corrections.partitions", "default", "partitions where the topic is made; default is the broker's"),
    key("sink.kafka.counts.topic", "", "where to publish rows; empty publishes none"),
    key("sink.kafka.counts.delivery", "exactly-once", "exactly-once or at-least-once"),
    key("sink.kafka.counts.format", "json", "json or protobuf"),
    key("sink.kafka.counts.partitions", "default", "partitions where the topic is made; default is the broker's"),
    key(
        "sink.kafka.counts.granularities",
        "[\"minute\", \"five-minutes\", \"hour\", \"day\"]",
        "which rows to publish",
    ),
    key("log.level", "info", "error, warn, info, debug or trace; or a filter by module"),
    key("log.format", "text", "text or json"),
    key("query.timeout", "30s", "how long `recount query` waits for an answer"),
];

/// Settings that are written as a TOML array or table.
const STRUCTURED: [&str; 6] = [
    "store.checkpoints_options",
    "source.kafka.topics",
    "source.kafka.start",
    "source.kafka.properties",
    "sink.kafka.properties",
    "sink.kafka.counts.granularities",
];

impl Key {
    /// Whether it may be an array or a table.
    pub(crate) fn is_structured(&self) -> bool {
        STRUCTURED.contains(&self.name)
    }
}

/// Whether settings of this section are known.
pub(crate) fn is_section(name: &str) -> bool {
    KEYS.iter().any(|key| key.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
}

/// The setting of a name.
pub(crate) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// The name that was probably meant; `None` where more than a third of it would be wrong.
pub(crate) fn nearest(name: &str) -> Option<&'static str> {
    let slips = |key: &Key| strsim::damerau_levenshtein(key.name, name);
    KEYS.iter().filter(|key| 3 * slips(key) <= key.name.len()).min_by_key(|key| slips(key)).map(|key| key.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_finds_its_name() {
        assert_eq!(nearest("engine.worker"), Some("engine.workers"));
        assert_eq!(nearest("rules.alowed_lateness"), Some("rules.allowed_lateness"));
        assert_eq!(nearest("source.kafk.group"), Some("source.kafka.group"));
        assert_eq!(nearest("entirely.else"), None);
    }

    #[test]
    fn names_are_given_once() {
        for (place, key) in KEYS.iter().enumerate() {
            assert!(KEYS[..place].iter().all(|other| other.name != key.name), "{}", key.name);
        }
    }
}
