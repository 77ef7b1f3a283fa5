//! A broker on free ports of loopback, with a directory of its own.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use tempfile::TempDir;

use super::certificates::Certificates;
use super::settings::{BrokerSettings, Place, Ports, server_properties};
use super::{archive, jars};
use crate::process::Process;

/// How long a broker may take to start. Two to four seconds are usual; a machine that does much else is slow.
const START_MAX: Duration = Duration::from_secs(120);

/// A broker, alone or one of a [`Cluster`](super::Cluster). Dropped, it is killed; so it is if this process ends in any other
/// way. A restart finds its directory and its ports as they were.
pub struct Broker {
    settings: BrokerSettings,
    ports: Ports,
    certificates: Option<Certificates>,
    directory: TempDir,
    process: Mutex<Option<Process>>,
}

impl Broker {
    /// Starts one that listens in the clear.
    pub fn start() -> Self {
        Broker::start_with(BrokerSettings::default())
    }

    /// Starts one, alone in its cluster.
    pub fn start_with(settings: BrokerSettings) -> Self {
        archive::make_once();
        Broker::start_at(settings, free_ports())
    }

    /// Starts one that listens in the clear, and tells its clients another address: the one that `through` returns for its own.
    pub fn start_behind(settings: BrokerSettings, through: impl FnOnce(SocketAddr) -> SocketAddr) -> Self {
        archive::make_once();
        let ports = free_ports();
        let address = through(SocketAddr::from(([127, 0, 0, 1], ports.plain)));
        Broker::start_at(settings.with("advertised.listeners", &format!("PLAINTEXT://{address}")), ports)
    }

    fn start_at(settings: BrokerSettings, ports: Ports) -> Self {
        let broker = Broker::format(settings, &Place { node: 1, nodes: &[ports] });
        broker.run();
        broker.wait_until_ready();
        broker
    }

    /// Makes the directory of a node, and writes what it is to be started with.
    pub(super) fn format(settings: BrokerSettings, place: &Place<'_>) -> Self {
        let directory = TempDir::with_prefix("recount-kafka-").unwrap();
        let certificates = settings.is_secure.then(|| Certificates::make(directory.path()));
        let properties = server_properties(&settings, place, directory.path(), certificates.as_ref());
        fs::write(directory.path().join("server.properties"), properties).unwrap();
        let options = ["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", &archived()];
        let mut format = java(directory.path(), "kafka.tools.StorageTool", &options);
        format.args(["format", "--cluster-id", "cmVjb3VudC1jb3VudHMtMQ", "--config"]);
        format.arg(directory.path().join("server.properties"));
        for (user, password) in &settings.users {
            for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
                format.arg("--add-scram").arg(format!("{mechanism}=[name={user},password={password}]"));
            }
        }
        let output = format.output().expect("java is there");
        assert!(
            output.status.success(),
            "kafka can not be formatted: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        let ports = place.nodes[place.node - 1];
        Broker { settings, ports, certificates, directory, process: Mutex::new(None) }
    }

    /// Where it listens in the clear: `host:port`.
    pub fn servers(&self) -> String {
        format!("127.0.0.1:{}", self.ports.plain)
    }

    /// Where it listens with TLS.
    pub fn tls_servers(&self) -> String {
        format!("localhost:{}", self.ports.tls)
    }

    /// Where it listens with SASL over TLS.
    pub fn sasl_servers(&self) -> String {
        format!("localhost:{}", self.ports.sasl)
    }

    /// The certificates that it listens with.
    ///
    /// # Panics
    /// Where it was not asked to be secure.
    pub fn certificates(&self) -> &Certificates {
        self.certificates.as_ref().expect("the broker is secure")
    }

    /// Kills it, as `kill -9` does, and waits until it is gone.
    pub fn kill(&self) {
        self.process().take();
    }

    /// Asks it to end in order, and waits until it has.
    pub fn stop(&self) {
        if let Some(process) = self.process().take() {
            process.stop();
        }
    }

    /// Starts it again after [`kill`](Broker::kill) or [`stop`](Broker::stop), and waits until it answers.
    pub fn restart(&self) {
        self.run();
        self.wait_until_ready();
    }

    /// Halts it in the middle of what it does; its connections stay.
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on after [`pause`](Broker::pause).
    pub fn resume(&self) {
        self.signal("-CONT");
    }

    /// The number of its process.
    ///
    /// # Panics
    /// Where it is not running.
    pub fn process_id(&self) -> u32 {
        self.process().as_ref().expect("the broker is running").id()
    }

    /// The file in which it keeps the first records of a partition.
    pub fn first_segment(&self, topic: &str, partition: i32) -> PathBuf {
        self.directory.path().join(format!("data/{topic}-{partition}/{:020}.log", 0))
    }

    /// The last lines that it logged.
    pub fn log_tail(&self) -> String {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// Starts the process, without waiting for an answer.
    pub(super) fn run(&self) {
        self.run_with(&archived());
    }

    /// The same, with one more option for the JVM.
    pub(super) fn run_with(&self, option: &str) {
        let mut process = self.process();
        assert!(process.is_none(), "the broker is running already");
        let options: &[&str] = match self.settings.is_for_speed {
            true => &["-Xms256m", "-Xmx512m", "-XX:+UseSerialGC"],
            false => &["-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"],
        };
        let mut broker = java(self.directory.path(), "kafka.Kafka", &[options, &[option]].concat());
        broker.arg(self.directory.path().join("server.properties"));
        *process = Some(Process::start(&broker, &self.log()));
    }

    /// Waits until it answers a client.
    pub(super) fn wait_until_ready(&self) {
        let client: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.servers())
            .set("reconnect.backoff.max.ms", "100")
            .set_log_level(rdkafka::config::RDKafkaLogLevel::Emerg)
            .create()
            .unwrap();
        let deadline = Instant::now() + START_MAX;
        while client.fetch_metadata(None, Duration::from_millis(250)).is_err() {
            let running = self.process().as_ref().is_some_and(Process::is_running);
            assert!(running, "the broker ended:\n{}", self.log_tail());
            assert!(Instant::now() < deadline, "the broker does not answer:\n{}", self.log_tail());
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn signal(&self, signal: &str) {
        self.process().as_ref().expect("the broker is running").signal(signal);
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("broker.log")
    }

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        // A test that failed while it held the broker must not keep others from ending it.
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The option that takes Kafka's classes from their archive. Where there is none yet, or none that this JVM can use, it does without.
fn archived() -> String {
    format!("-XX:SharedArchiveFile={}", jars::archive().display())
}

/// A Java program of Kafka's.
fn java(directory: &Path, class: &str, options: &[&str]) -> Command {
    let mut command = jars::java();
    command
        .args(options)
        .arg("-Dorg.slf4j.simpleLogger.showDateTime=true")
        .arg(format!("-Djava.io.tmpdir={}", directory.display()))
        .args(["-cp", &jars::class_path(), class]);
    command
}

/// Ports below those that the system gives to outgoing connections, or one of those could hold a port while its broker is down.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// Ports that nobody listens at.
pub(super) fn free_ports() -> Ports {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let free = || {
        loop {
            let step = NEXT.fetch_add(1, Ordering::Relaxed);
            // Processes that look for ports at the same time begin at different places.
            let start = std::process::id() as u16;
            let port = PORTS.start + start.wrapping_mul(61).wrapping_add(step) % PORTS.len() as u16;
            if TcpListener::bind(("127.0.0.1", port)).is_ok() {
                return port;
            }
        }
    };
    Ports { plain: free(), controller: free(), tls: free(), sasl: free() }
}
