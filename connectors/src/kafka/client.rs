//! Settings of a client as written, and as checked.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use std::{fmt, fs};

use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::KafkaError as Cause;

use super::connection::Connection;
use super::error::KafkaError;
use super::properties::{alias, decided, is_secret, redacted};
use super::wait::wait_for;
use super::watch::Watch;

/// The end of the name of a property whose value is read from a file.
const FILE_END: &str = "_file";

/// How to reach a cluster, as a person writes it. Its `Debug` hides secrets.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ClientSettings {
    /// Brokers to begin with: `host:port`, and more after commas.
    pub bootstrap_servers: String,
    /// Properties of librdkafka, by name. The value of `X_file` is a path, and the file there holds the value of `X`.
    pub properties: BTreeMap<String, String>,
}

impl fmt::Debug for ClientSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientSettings")
            .field("bootstrap_servers", &self.bootstrap_servers)
            .field("properties", &redacted(&self.properties))
            .finish()
    }
}

impl ClientSettings {
    /// A cluster that asks for nothing more.
    pub fn new(bootstrap_servers: impl Into<String>) -> Self {
        ClientSettings { bootstrap_servers: bootstrap_servers.into(), properties: BTreeMap::new() }
    }

    /// The same with one more property.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.properties.insert(name.into(), value.into());
        self
    }
}

/// How to reach a cluster, checked: every property is one that librdkafka takes and that Recount leaves open, and files of
/// secrets have been read. Makes all clients of this room; `Debug` hides secrets.
#[derive(Clone)]
pub struct Client {
    settings: ClientSettings,
    config: ClientConfig,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(&self.settings).finish()
    }
}

impl Client {
    /// Checks the settings and reads the files that they name. Nothing is connected yet.
    ///
    /// # Errors
    /// Where a property is unknown, has a value that is none, is decided by Recount, or its file can not be read.
    pub fn new(settings: &ClientSettings) -> Result<Self, KafkaError> {
        if settings.bootstrap_servers.trim().is_empty() {
            return Err(KafkaError::NoServers);
        }
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &settings.bootstrap_servers).set("client.id", "recount");
        for (name, value) in &settings.properties {
            let (name, value) = match name.strip_suffix(FILE_END) {
                Some(name) => (name, read_value(settings, name, value)?),
                None => (name.as_str(), value.clone()),
            };
            check(name, &value)?;
            if let Some(other) = alias(name).filter(|other| config.get(other).is_some()) {
                return Err(KafkaError::Alias { name: name.to_owned(), other });
            }
            config.set(name, value);
        }
        let is_debugging = settings.properties.contains_key("debug");
        config.set_log_level(if is_debugging { RDKafkaLogLevel::Debug } else { RDKafkaLogLevel::Info });
        Ok(Client { settings: settings.clone(), config })
    }

    /// The bootstrap servers, as given.
    pub fn servers(&self) -> &str {
        &self.settings.bootstrap_servers
    }

    /// A connection that asks after brokers and topics.
    ///
    /// # Errors
    /// Where librdkafka refuses the settings, for example a certificate that is none.
    pub fn connect(&self) -> Result<Connection, KafkaError> {
        Connection::open(self)
    }

    /// Of a consumer whose partitions are assigned by us, from offsets that we know: committed records only, a gap is an error, and
    /// nothing is committed by itself. `group` is what lag tools know it by.
    pub(crate) fn consumer_config(&self, group: &str) -> ClientConfig {
        let mut config = self.config.clone();
        config
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("isolation.level", "read_committed")
            .set("check.crcs", "true")
            .set("enable.partition.eof", "true")
            .set("allow.auto.create.topics", "false");
        config
    }

    /// Of a producer whose messages arrive once and in order, on all replicas in sync.
    pub(crate) fn producer_config(&self) -> ClientConfig {
        let mut config = self.config.clone();
        config.set("enable.idempotence", "true").set("acks", "all").set("allow.auto.create.topics", "false");
        config
    }

    /// Of a producer of transactions under this id, of which only the latest may write.
    pub(crate) fn transactional_config(&self, transactional_id: &str) -> ClientConfig {
        let mut config = self.producer_config();
        config.set("transactional.id", transactional_id);
        config
    }

    /// What asks for, makes and changes topics.
    ///
    /// # Errors
    /// Where librdkafka refuses the settings.
    pub(crate) fn admin(&self) -> Result<AdminClient<Watch>, KafkaError> {
        self.config.create_with_context(Watch::default()).map_err(creation)
    }

    /// The settings of a topic, its own and inherited ones; none where this user may not see them, and where the topic has only just
    /// been made: rdkafka does not tell why there are none.
    pub(super) fn topic_settings(&self, topic: &str, wait: Duration) -> Result<HashMap<String, String>, KafkaError> {
        let action = || format!("the settings of topic {topic:?} can not be read");
        let options = AdminOptions::new().request_timeout(Some(wait));
        let admin = self.admin()?;
        let described = wait_for(admin.describe_configs([&ResourceSpecifier::Topic(topic)], &options));
        let resources = described.map_err(|cause| KafkaError::call(action(), cause))?;
        let entries = resources.into_iter().flatten().flat_map(|resource| resource.entries);
        Ok(entries.filter_map(|entry| Some((entry.name, entry.value?))).collect())
    }

    /// A setting of a topic that is a whole number; `None` where it is none or this user may not see it.
    pub(super) fn topic_number(&self, topic: &str, name: &str, wait: Duration) -> Result<Option<i64>, KafkaError> {
        Ok(self.topic_settings(topic, wait)?.get(name).and_then(|value| value.parse().ok()))
    }

    /// Whether Kafka takes records from a topic that later ones replace; false where this user may not see it.
    pub(super) fn is_compacted(&self, topic: &str, wait: Duration) -> Result<bool, KafkaError> {
        Ok(self.topic_settings(topic, wait)?.get("cleanup.policy").is_some_and(|policy| policy.contains("compact")))
    }

    /// Of a client that only asks.
    pub(crate) fn asking_config(&self) -> ClientConfig {
        let mut config = self.config.clone();
        config.set("allow.auto.create.topics", "false");
        config
    }
}

/// The error of making a client.
pub(crate) fn creation(cause: Cause) -> KafkaError {
    match cause {
        Cause::ClientCreation(message) => KafkaError::Client { message },
        Cause::ClientConfig(_, problem, name, _) => property(&name, problem),
        other => KafkaError::call("a client can not be made", other),
    }
}

fn property(name: &str, problem: String) -> KafkaError {
    let problem = if is_secret(name) { "librdkafka refuses its value".to_owned() } else { problem };
    KafkaError::Property { name: name.to_owned(), problem }
}

/// Whether librdkafka takes this property by itself, and Recount leaves it open.
fn check(name: &str, value: &str) -> Result<(), KafkaError> {
    if let Some(reason) = decided(name) {
        return Err(KafkaError::Decided { name: name.to_owned(), reason });
    }
    match ClientConfig::new().set(name, value).create_native_config() {
        Ok(_) => Ok(()),
        Err(Cause::ClientConfig(_, problem, name, _)) => Err(property(&name, problem)),
        Err(other) => Err(property(name, other.to_string())),
    }
}

/// The content of a file that holds the value of property `name`, without the newline at its end.
fn read_value(settings: &ClientSettings, name: &str, file: &str) -> Result<String, KafkaError> {
    if settings.properties.contains_key(name) {
        return Err(KafkaError::Twice { name: name.to_owned() });
    }
    let mut value = fs::read_to_string(file).map_err(|cause| KafkaError::SecretFile {
        name: name.to_owned(),
        file: file.to_owned(),
        cause,
    })?;
    if value.ends_with('\n') {
        value.pop();
    }
    if value.ends_with('\r') {
        value.pop();
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn settings() -> ClientSettings {
        ClientSettings::new("localhost:9092")
    }

    fn problem(settings: &ClientSettings) -> String {
        Client::new(settings).expect_err("the settings are broken").to_string()
    }

    #[test]
    fn any_property_of_librdkafka_passes_through() {
        let client = Client::new(&settings().with("client.rack", "a").with("fetch.wait.max.ms", "20")).unwrap();
        let config = client.consumer_config("recount");
        assert_eq!((config.get("client.rack"), config.get("fetch.wait.max.ms")), (Some("a"), Some("20")));
        assert_eq!(config.get("isolation.level"), Some("read_committed"));
        assert_eq!(client.transactional_config("recount.a.b").get("acks"), Some("all"));
    }

    #[test]
    fn what_recount_decides_is_refused_with_the_reason() {
        let shown = problem(&settings().with("enable.auto.commit", "true"));
        assert!(shown.contains("\"enable.auto.commit\" can not be set: where reading goes on is decided"), "{shown}");
        for name in
            ["auto.offset.reset", "isolation.level", "transactional.id", "group.id", "acks", "bootstrap.servers"]
        {
            assert!(matches!(Client::new(&settings().with(name, "x")), Err(KafkaError::Decided { .. })), "{name}");
        }
    }

    #[test]
    fn unknown_names_and_broken_values_are_refused() {
        let shown = problem(&settings().with("fetch.wait.max", "1"));
        assert!(shown.contains("No such configuration property: \"fetch.wait.max\""), "{shown}");
        let shown = problem(&settings().with("linger.ms", "1").with("queue.buffering.max.ms", "2"));
        assert!(shown.contains("are two names of one property; keep one of them"), "{shown}");
        let shown = problem(&settings().with("fetch.wait.max.ms", "soon"));
        assert!(shown.contains("\"fetch.wait.max.ms\""), "{shown}");
        assert!(matches!(Client::new(&ClientSettings::new(" ")), Err(KafkaError::NoServers)));
    }

    #[test]
    fn secrets_come_from_files_and_are_never_shown() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"hunter 2\r\n").unwrap();
        let path = file.path().to_str().unwrap();
        let client = Client::new(&settings().with("sasl.password_file", path)).unwrap();
        assert_eq!(client.consumer_config("recount").get("sasl.password"), Some("hunter 2"));
        assert!(!format!("{client:?}").contains("hunter"));

        let open = settings().with("sasl.password", "hunter 2").with("ssl.key.pem", "hunter 3");
        let shown = format!("{open:?} {:?}", Client::new(&open).unwrap());
        assert!(!shown.contains("hunter") && shown.contains("[hidden]"), "{shown}");
        let shown = problem(&open.with("sasl.password_file", path));
        assert!(shown.contains("given twice"), "{shown}");
        let shown = problem(&settings().with("sasl.password_file", "/nowhere/to/be/found"));
        assert!(shown.contains("\"sasl.password_file\": /nowhere/to/be/found can not be read"), "{shown}");
    }
}
