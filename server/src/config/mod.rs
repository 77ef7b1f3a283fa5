//! Settings: as written in [`layers`], and as checked in [`Config`]. Nothing but `Config::try_from` turns one into the other, so
//! a program that runs has settings that fit together.

mod checkpoints;
mod kafka;
mod kafka_sink;
mod keys;
mod layers;
mod structured;

use std::env;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::num::NonZeroUsize;
use std::path::Path;
use std::str::FromStr;
use std::thread;
use std::time::Duration;

use recount_connectors::log::{APPEND_BYTES_MAX, LogSettings, Retention, SyncPolicy};
use recount_connectors::store::Place;
use recount_dataflow::domain::rules::{DAY_MS, Rules};
use recount_dataflow::engine::History;
use thiserror::Error;

pub(crate) use self::kafka::KafkaConfig;
#[cfg(feature = "kafka")]
pub(crate) use self::kafka::{StartConfig, TopicConfig};
#[cfg(feature = "kafka")]
pub(crate) use self::kafka_sink::{DeliveryConfig, FormatConfig};
#[cfg_attr(not(feature = "kafka"), expect(unused_imports, reason = "they are read, and refused"))]
pub(crate) use self::kafka_sink::{KafkaDeadLetters, KafkaSink, KafkaSinks};
pub(crate) use self::keys::{KEYS, Key};
pub(crate) use self::layers::{FlagSetting, Layers};
use crate::convert::units;
use crate::limits::{
    Bounds, CHECKPOINTS_KEPT_MAX, CHECKPOINTS_KEPT_MIN, CONCURRENT_READS_MAX, CONCURRENT_STREAMS_MAX,
    EPOCH_RECORDS_MAX, EPOCHS_IN_FLIGHT_MAX, HISTORY_EPOCHS_MAX, PARTITIONS_MAX, SUBSCRIBER_MESSAGES_MAX,
    SUBSCRIBERS_MAX, WORKERS_MAX,
};

/// Settings that can not be used, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}")]
pub(crate) struct ConfigError {
    message: String,
}

impl ConfigError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        ConfigError { message: message.into() }
    }
}

/// A structured setting as a person may see it: without secrets.
pub(crate) fn shown(name: &str, text: &str) -> String {
    let is_secret = match name {
        "store.checkpoints_options" => checkpoints::is_secret,
        name if name.ends_with(".properties") => kafka::is_secret,
        _ => return text.to_owned(),
    };
    let Ok(properties) = structured::properties(name, text) else { return text.to_owned() };
    let shown = |(name, value): (String, String)| {
        let value = if is_secret(&name) { "[hidden]".to_owned() } else { value };
        (name, toml::Value::String(value))
    };
    toml::Value::Table(properties.into_iter().map(shown).collect()).to_string()
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// Settings that fit together.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// What counts in a replay, which keeps every row.
    pub(crate) rules: Rules,
    counts_retention_ms: Option<i64>,
    pub(crate) workers: usize,
    pub(crate) epoch_records: usize,
    pub(crate) epoch_interval: Duration,
    pub(crate) epochs_in_flight: usize,
    pub(crate) history: History,
    pub(crate) grpc_addr: SocketAddr,
    pub(crate) http_addr: SocketAddr,
    pub(crate) concurrent_streams: u32,
    pub(crate) bounds: Bounds,
    pub(crate) drain: Duration,
    /// Partitions of the log of a store that is made.
    pub(crate) partitions: u16,
    pub(crate) log: LogSettings,
    /// Where checkpoints are, whether this program can reach it or not.
    place: Place,
    pub(crate) checkpoint_interval: Duration,
    pub(crate) checkpoint_records: u64,
    pub(crate) checkpoints_kept: usize,
    /// Bytes of memory that the state should stay below; `None` holds all in memory.
    pub(crate) memory_budget: Option<u64>,
    /// Where records come from, where that is Kafka.
    pub(crate) kafka: Option<KafkaConfig>,
    /// What is published to Kafka; `None` where nothing is.
    pub(crate) kafka_sinks: Option<KafkaSinks>,
    pub(crate) log_level: String,
    pub(crate) log_format: LogFormat,
    pub(crate) query_timeout: Duration,
}

/// Horizons and latenesses above this are a slip of the pen: a hundred years.
const RULE_MS_MAX: i64 = 36_525 * DAY_MS;

impl Config {
    /// The checked settings of this process: flags over environment over file over defaults.
    pub(crate) fn load(file: Option<&Path>, flags: Vec<FlagSetting>) -> Result<Config, ConfigError> {
        Config::try_from(&Layers::collect(file, env::vars_os(), flags)?)
    }
}

impl TryFrom<&Layers> for Config {
    type Error = ConfigError;

    fn try_from(layers: &Layers) -> Result<Config, ConfigError> {
        let read = Read { layers };
        let kafka = read.kafka()?;
        let config = Config {
            rules: Rules {
                allowed_lateness_ms: read.rule_ms("rules.allowed_lateness")?,
                correction_horizon_ms: read.rule_ms("rules.correction_horizon")?,
                dedup_horizon_ms: read.rule_ms("rules.dedup_horizon")?,
                max_future_skew_ms: read.rule_ms("rules.max_future_skew")?,
                dedup_fallback: read.parsed("dedup.fallback", "true or false")?,
                counts_retention_ms: None,
            },
            counts_retention_ms: read.retention_ms("rules.counts_retention")?,
            workers: read.workers()?,
            epoch_records: read.number("engine.epoch_records", 1, EPOCH_RECORDS_MAX)?,
            epoch_interval: read.duration("engine.epoch_interval", Duration::from_millis(1))?,
            epochs_in_flight: read.number("engine.epochs_in_flight", 1, EPOCHS_IN_FLIGHT_MAX)?,
            history: History {
                age: read.duration("engine.history", Duration::ZERO)?,
                epochs: read.number("engine.history_epochs", 1, HISTORY_EPOCHS_MAX)? as u64,
                bytes: read.with("engine.history_bytes", units::size)?,
            },
            grpc_addr: read.address("grpc.addr")?,
            http_addr: read.address("http.addr")?,
            concurrent_streams: read.number("grpc.concurrent_streams", 1, CONCURRENT_STREAMS_MAX)? as u32,
            bounds: Bounds {
                concurrent_reads: read.number("grpc.concurrent_reads", 1, CONCURRENT_READS_MAX)?,
                subscribers: read.number("grpc.subscribers", 1, SUBSCRIBERS_MAX)?,
                subscriber_messages: read.number("grpc.subscriber_messages", 1, SUBSCRIBER_MESSAGES_MAX)?,
                subscriber_stall: read.duration("grpc.subscriber_stall", Duration::from_millis(1))?,
            },
            drain: read.duration("grpc.drain", Duration::ZERO)?,
            partitions: read.number("store.partitions", 1, PARTITIONS_MAX)? as u16,
            log: read.log()?,
            place: read.place()?,
            checkpoint_interval: read.duration("checkpoint.interval", Duration::from_millis(10))?,
            checkpoint_records: read.number("checkpoint.records", 1, usize::MAX)? as u64,
            checkpoints_kept: read.number("checkpoint.keep", CHECKPOINTS_KEPT_MIN, CHECKPOINTS_KEPT_MAX)?,
            memory_budget: Some(read.with("store.memory_budget", units::size)? as u64).filter(|&bytes| bytes > 0),
            kafka_sinks: read.kafka_sinks(kafka.as_ref())?,
            kafka,
            log_level: read.with("log.level", |text| Ok(text.to_string()))?,
            log_format: read.with("log.format", |text| match text {
                "text" => Ok(LogFormat::Text),
                "json" => Ok(LogFormat::Json),
                _ => Err(format!("{text:?} is no format; write text or json")),
            })?,
            query_timeout: read.duration("query.timeout", Duration::from_millis(1))?,
        };
        config.check_relations()?;
        Ok(config)
    }
}

impl Config {
    /// What counts in a service, which lets go of old rows.
    ///
    /// # Errors
    /// Where a row would be gone while its clicks can still change.
    pub(crate) fn service_rules(&self) -> Result<Rules, ConfigError> {
        let rules = Rules { counts_retention_ms: self.counts_retention_ms, ..self.rules };
        match rules.counts_retention_ms {
            Some(retention_ms) if retention_ms < rules.correction_horizon_ms => Err(ConfigError::new(
                "rules.counts_retention is shorter than rules.correction_horizon; make it at least as long, or off",
            )),
            _ => Ok(rules),
        }
    }

    /// Relations between settings, each with its reason.
    fn check_relations(&self) -> Result<(), ConfigError> {
        let rules = &self.rules;
        // A click would be frozen before its window could close.
        if rules.correction_horizon_ms < rules.allowed_lateness_ms {
            return Err(ConfigError::new(
                "rules.correction_horizon is shorter than rules.allowed_lateness; make it at least as long",
            ));
        }
        // What is complete must be readable when the last of the epochs in flight completes.
        if self.history.epochs < self.epochs_in_flight as u64 {
            return Err(ConfigError::new(
                "engine.history_epochs is below engine.epochs_in_flight; make it at least as large",
            ));
        }
        Ok(())
    }
}

/// Reads single settings, and says where a bad one was written.
struct Read<'a> {
    layers: &'a Layers,
}

impl Read<'_> {
    fn with<T>(&self, key: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Result<T, ConfigError> {
        let (text, origin) = self.layers.get(key);
        parse(text).map_err(|problem| ConfigError::new(format!("{origin}: {key}: {problem}")))
    }

    fn parsed<T: FromStr>(&self, key: &str, expected: &str) -> Result<T, ConfigError> {
        self.with(key, |text| text.parse().map_err(|_| format!("{text:?} can not be read; write {expected}")))
    }

    /// An address and a port, or a name of one; of several addresses the first of IPv4.
    fn address(&self, key: &str) -> Result<SocketAddr, ConfigError> {
        self.with(key, |text| {
            let found: Vec<SocketAddr> = text.to_socket_addrs().into_iter().flatten().collect();
            let chosen = found.iter().find(|addr| addr.is_ipv4()).or(found.first()).copied();
            chosen
                .ok_or_else(|| format!("{text:?} can not be read; write an address and a port, as in 127.0.0.1:50051"))
        })
    }

    fn number(&self, key: &str, min: usize, max: usize) -> Result<usize, ConfigError> {
        self.with(key, |text| match text.parse() {
            Ok(number) if (min..=max).contains(&number) => Ok(number),
            _ => Err(format!("{text:?} must be a whole number from {min} to {max}")),
        })
    }

    fn duration(&self, key: &str, min: Duration) -> Result<Duration, ConfigError> {
        self.with(key, |text| match units::duration(text)? {
            value if value < min => Err(format!("{text:?} is too short; it must be at least {}ms", min.as_millis())),
            value => Ok(value),
        })
    }

    fn rule_ms(&self, key: &str) -> Result<i64, ConfigError> {
        self.with(key, rule_ms)
    }

    fn retention_ms(&self, key: &str) -> Result<Option<i64>, ConfigError> {
        self.with(key, |text| unless_off(text, rule_ms))
    }

    fn log(&self) -> Result<LogSettings, ConfigError> {
        let interval = self.duration("store.sync_interval", Duration::from_millis(1))?;
        let sync = self.with("store.sync", |text| match text {
            "always" => Ok(SyncPolicy::Always),
            "interval" => Ok(SyncPolicy::Interval(interval)),
            _ => Err(format!("{text:?} is no policy; write always or interval")),
        })?;
        Ok(LogSettings {
            segment_bytes: self.with("store.segment_bytes", units::some_size)? as u64,
            commit_window: self.duration("store.commit_window", Duration::ZERO)?,
            sync,
            queue_bytes: self.with("store.queue_bytes", |text| match units::size(text)? {
                bytes if bytes < APPEND_BYTES_MAX => Err(format!("{text:?} is less than the largest request")),
                bytes => Ok(bytes),
            })?,
            retention: Retention {
                age: self.with("store.log_retention_age", |text| unless_off(text, units::duration))?,
                bytes: self.with("store.log_retention_bytes", |text| unless_off(text, units::size))?.map(|n| n as u64),
            },
        })
    }

    fn workers(&self) -> Result<usize, ConfigError> {
        match self.layers.get("engine.workers") {
            (keys::CORES, _) => Ok(thread::available_parallelism().map_or(1, NonZeroUsize::get)),
            _ => self.number("engine.workers", 1, WORKERS_MAX),
        }
    }
}

fn rule_ms(text: &str) -> Result<i64, String> {
    let ms = i64::try_from(units::duration(text)?.as_millis()).unwrap_or(i64::MAX);
    if ms > RULE_MS_MAX {
        return Err(format!("{text:?} is over a hundred years"));
    }
    Ok(ms)
}

fn unless_off<T>(text: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Result<Option<T>, String> {
    match text {
        "off" => Ok(None),
        _ => parse(text).map(Some).map_err(|problem| format!("{problem}, or off")),
    }
}

/// The settings of a file that says this, and nothing else.
#[cfg(test)]
fn from_toml(text: &str) -> Result<Config, ConfigError> {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), text).expect("written");
    Config::try_from(&Layers::collect(Some(file.path()), std::iter::empty(), vec![])?)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::io::Write as _;

    use super::layers::Origin;
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> impl Iterator<Item = (OsString, OsString)> {
        let pairs: Vec<_> = pairs.iter().map(|(name, text)| (OsString::from(name), OsString::from(text))).collect();
        pairs.into_iter()
    }

    fn flag(key: &'static str, flag: &'static str, text: &str) -> FlagSetting {
        FlagSetting { key, flag, text: text.into() }
    }

    fn problem(result: Result<Config, ConfigError>) -> String {
        result.expect_err("the settings are broken").to_string()
    }

    #[test]
    fn defaults_fit_together() {
        let layers = Layers::collect(None, env(&[]), vec![]).expect("defaults are known");
        let config = Config::try_from(&layers).expect("defaults fit");
        assert_eq!(config.rules, Rules::default());
        let of_service = Rules { counts_retention_ms: Some(90 * DAY_MS), ..Rules::default() };
        assert_eq!(config.service_rules(), Ok(of_service));
        assert_eq!(config.history.epochs, History::default().epochs);
    }

    #[test]
    fn flags_win_over_environment_over_file() {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(b"[engine]\nworkers = 2\nepoch_records = 7\n[rules]\nallowed_lateness = \"5s\"\n")
            .expect("written");
        let env = env(&[("RECOUNT__ENGINE__WORKERS", "3"), ("RECOUNT__ENGINE__EPOCH_RECORDS", "8"), ("HOME", "/")]);
        let flags = vec![flag("engine.workers", "--workers", "4")];
        let layers = Layers::collect(Some(file.path()), env, flags).expect("all are known");
        let config = Config::try_from(&layers).expect("they fit");
        assert_eq!((config.workers, config.epoch_records, config.rules.allowed_lateness_ms), (4, 8, 5_000));
        assert_eq!(layers.get("engine.workers").1, &Origin::Flag("--workers"));
        assert_eq!(layers.get("rules.allowed_lateness").1, &Origin::File(file.path().into()));
    }

    #[test]
    fn unknown_names_are_refused_with_the_nearest() {
        let refused = Layers::collect(None, env(&[("RECOUNT__ENGINE__WORKER", "3")]), vec![]).err();
        let message = refused.expect("it is unknown").to_string();
        assert!(message.contains("did you mean RECOUNT__ENGINE__WORKERS?"), "{message}");
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(b"[engin]\nworkers = 2\n").expect("written");
        let message = Layers::collect(Some(file.path()), env(&[]), vec![]).err().expect("it is unknown").to_string();
        assert!(message.contains("engin.workers; did you mean engine.workers?"), "{message}");
    }

    #[test]
    fn broken_values_say_where_and_what() {
        let config = |flags| Config::try_from(&Layers::collect(None, env(&[]), flags).expect("known"));
        let message = problem(config(vec![flag("engine.workers", "--workers", "0")]));
        assert_eq!(message, "--workers: engine.workers: \"0\" must be a whole number from 1 to 256");
        let message = problem(config(vec![flag("rules.allowed_lateness", "--allowed-lateness", "30")]));
        assert!(message.contains("as in 500ms, 30s"), "{message}");
        let message = problem(config(vec![flag("rules.correction_horizon", "--correction-horizon", "1s")]));
        assert!(message.contains("shorter than rules.allowed_lateness"), "{message}");
        let short = config(vec![flag("rules.counts_retention", "a file", "1d")]).expect("a replay does not mind");
        let message = short.service_rules().expect_err("rows would be gone").to_string();
        assert!(message.contains("shorter than rules.correction_horizon"), "{message}");
    }
}
