//! A random history that is produced to real brokers and counted by the real daemon while both are killed; and the naive model of
//! the same records in the same epochs.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

pub mod company;
mod compare;

use std::collections::{HashMap, VecDeque};
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use recount_dataflow::engine::KeptWindows;
use recount_tests::history::History;
use recount_tests::kafka::{Broker, Cluster, Record as Message, Topics};
use recount_tests::record::{Body, Record};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep};

use self::company::Companion;
use crate::published::Sinks;
use crate::support::PATIENCE;
use crate::support::daemon::Daemon;

/// The least records of a history: it has to last through its faults.
const RECORDS_MIN: usize = 60;
const PARTITIONS: i32 = 3;
/// How long a daemon takes to start at most, where no transaction is lost: its predecessor's end with it, or with their time-out.
const LOST_AFTER: Duration = Duration::from_secs(75);

/// How often a start waited for transactions that the broker had lost.
static LOST: AtomicU64 = AtomicU64::new(0);
/// How many of a hundred histories may, and how many of a few: a broker that is killed in the moment between a decision and its
/// markers is rare, and anything more often is ours.
const LOST_PERCENT_MAX: u64 = 10;
const LOST_MIN: u64 = 2;

/// Says how many of some histories met transactions that the broker had lost, and fails where they were more than a few.
pub fn check_lost(histories: u64) {
    let lost = LOST.load(Ordering::Relaxed);
    say(&format!("{lost} starts of {histories} histories waited for transactions that the broker had lost"));
    let max = LOST_MIN.max(histories * LOST_PERCENT_MAX / 100);
    assert!(lost <= max, "{lost} starts found lost transactions; at most {max} are put down to the broker");
}

/// Says something whether the test fails or not: what is printed is shown of a failed one alone.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Where a history is produced to, and what is killed there.
pub enum Kafka {
    One(Broker),
    Three(Cluster),
}

impl Kafka {
    pub fn servers(&self) -> String {
        match self {
            Kafka::One(broker) => broker.servers(),
            Kafka::Three(cluster) => cluster.servers(),
        }
    }

    /// The one broker there is.
    fn only(&self) -> &Broker {
        match self {
            Kafka::One(broker) => broker,
            Kafka::Three(_) => panic!("there are three"),
        }
    }

    /// The broker that leads the first partition of a topic.
    fn leader(&self, topic: &str) -> &Broker {
        match self {
            Kafka::One(broker) => broker,
            Kafka::Three(cluster) => cluster.broker(Topics::of(cluster.servers()).leader(topic, 0)),
        }
    }
}

/// What happens while records come in.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// The daemon is killed, and started again.
    Daemon,
    /// A broker is killed, and started again.
    Broker,
    /// The daemon is killed when the broker of all histories is, and finds nobody to ask at first. Where that is killed no more, the
    /// daemon is alone.
    Both,
    /// Partitions that are read and that are written get another leader.
    Leaders,
}

/// One history on its way.
pub struct Chaos {
    history: History,
    kafka: Arc<Kafka>,
    name: String,
    rng: SmallRng,
    /// When its records arrive.
    arrival_ms: i64,
    bodies: HashMap<String, Body>,
}

impl Chaos {
    /// The history of a seed.
    pub fn new(seed: u64, kafka: Arc<Kafka>) -> Chaos {
        let mut histories = (0..).map(|more| History::from_seed(seed + 1_000_000 * more));
        let mut history = histories.find(|history| RECORDS_MIN <= history.records.len()).unwrap();
        history.plan.kept = KeptWindows::All;
        let rules = &mut history.rules;
        // What the settings of a service ask for; and no row goes, since topics keep rows for a while longer.
        rules.correction_horizon_ms = rules.correction_horizon_ms.max(rules.allowed_lateness_ms);
        rules.counts_retention_ms = None;
        let mut rng = SmallRng::seed_from_u64(seed);
        let latest_ms = history.records.iter().filter_map(event_ms).max().unwrap();
        // Now and then the latest are ahead of their arrival, and are quarantined.
        let early_ms = if rng.random_bool(0.3) { history.rules.max_future_skew_ms + 1 } else { 0 };
        let bodies = history.records.iter().map(|record| (record.to_json(), record.body.clone())).collect();
        Chaos { history, kafka, name: format!("chaos{seed}"), rng, arrival_ms: latest_ms - early_ms, bodies }
    }

    /// Produces the history while faults come, and then holds everything that can be read against the model.
    pub async fn run(mut self, dir: &Path, faults: &[Fault], mut companion: Companion) {
        let topics = Arc::new(Topics::of(self.kafka.servers()));
        self.make_topic(&topics).await;
        let settings = self.settings();
        let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let (servers, name) = (self.kafka.servers(), self.name.clone());
        let sinks = Sinks { servers, name: &name, delivery: "exactly-once" };
        let mut daemon = self.start(dir, &sinks, &settings).await;
        companion.begun = None;
        let producing = self.produce(&topics, companion.clone());
        for fault in faults {
            sleep(Duration::from_millis(self.rng.random_range(10..400))).await;
            daemon = self.suffer(*fault, daemon, &sinks, &settings, &mut companion).await;
        }
        producing.await.unwrap();
        companion.wait_until(|broker| broker.kills_left == 0 && !broker.is_away).await;
        self.wait_for_all(&mut daemon, &topics).await;
        sinks.published(&daemon).await;
        self.check(daemon, &sinks, dir).await;
    }

    /// Starts the daemon. Where it waits for a transaction that the broker has lost, does what an operator has to do then: no writer of
    /// these topics is alive.
    async fn start(&self, dir: &Path, sinks: &Sinks<'_>, settings: &[(&str, &str)]) -> Daemon {
        let written = ["counts", "corrections", "progress"].map(|sink| sinks.topic(sink));
        let (started, starting) = mpsc::channel::<()>();
        let (servers, is_alone) = (self.kafka.servers(), matches!(*self.kafka, Kafka::One(_)));
        let operator = std::thread::spawn(move || {
            if starting.recv_timeout(LOST_AFTER) == Err(RecvTimeoutError::Timeout) && is_alone {
                let topics = Topics::of(servers);
                let there = topics.names();
                let aborted = written.iter().filter(|topic| there.contains(*topic)).map(|topic| {
                    let aborted = topics.abort_transactions(topic);
                    say(&format!("{topic}: {aborted} transactions were lost by the broker"));
                    aborted
                });
                if aborted.sum::<usize>() > 0 {
                    LOST.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        let daemon = sinks.start_with(dir, settings).await;
        drop(started);
        spawn_blocking(move || operator.join().unwrap()).await.unwrap();
        daemon
    }

    async fn make_topic(&self, topics: &Arc<Topics>) {
        let (topics, name) = (Arc::clone(topics), self.name.clone());
        // The records of histories are years old, or from the future.
        let any_time = [("retention.ms", "-1"), ("message.timestamp.after.max.ms", "9223372036854775807")];
        spawn_blocking(move || topics.create(&name, PARTITIONS, &any_time)).await.unwrap();
    }

    /// What the daemon is started with, beside the sinks' settings.
    fn settings(&mut self) -> Vec<(&'static str, String)> {
        let rules = self.history.rules;
        let ms = |ms: i64| format!("{ms}ms");
        vec![
            ("SOURCE__KAFKA__BOOTSTRAP_SERVERS", self.kafka.servers()),
            ("SOURCE__KAFKA__TOPICS", format!(r#"[{{ name = {:?}, format = "json" }}]"#, self.name)),
            ("SOURCE__KAFKA__METADATA_INTERVAL", "200ms".to_owned()),
            ("SOURCE__KAFKA__PROPERTIES", r#"{ "reconnect.backoff.max.ms" = "200" }"#.to_owned()),
            // A broker that is slow to start again must not end what a transaction began.
            ("SINK__KAFKA__TRANSACTION_TIMEOUT", "60s".to_owned()),
            ("ENGINE__EPOCH_RECORDS", self.rng.random_range(2..40).to_string()),
            ("ENGINE__HISTORY", "1h".to_owned()),
            ("ENGINE__HISTORY_EPOCHS", "100000".to_owned()),
            ("RULES__ALLOWED_LATENESS", ms(rules.allowed_lateness_ms)),
            ("RULES__CORRECTION_HORIZON", ms(rules.correction_horizon_ms)),
            ("RULES__DEDUP_HORIZON", ms(rules.dedup_horizon_ms)),
            ("RULES__MAX_FUTURE_SKEW", ms(rules.max_future_skew_ms)),
            ("RULES__COUNTS_RETENTION", "off".to_owned()),
            ("DEDUP__FALLBACK", rules.dedup_fallback.to_string()),
        ]
    }

    /// Produces all records, some at a time; the last of them when the broker of all has been killed for the last time.
    fn produce(&mut self, topics: &Arc<Topics>, mut companion: Companion) -> JoinHandle<()> {
        let message = |record: &Record, rng: &mut SmallRng| Message {
            timestamp_ms: Some(self.arrival_ms),
            ..Message::of(record.to_json()).to(rng.random_range(0..PARTITIONS))
        };
        let mut rest: VecDeque<Message> = self.history.records.iter().map(|one| message(one, &mut self.rng)).collect();
        let last = self.rng.random_range(1..=rest.len() / 2);
        let (topics, topic) = (Arc::clone(topics), self.name.clone());
        let mut rng = SmallRng::seed_from_u64(self.rng.random());
        tokio::spawn(async move {
            while !rest.is_empty() {
                if rest.len() <= last {
                    companion.wait_until(|broker| broker.kills_left == 0).await;
                }
                let some: Vec<Message> = rest.drain(..rng.random_range(1..=rest.len().min(12))).collect();
                let (topics, topic) = (Arc::clone(&topics), topic.clone());
                spawn_blocking(move || topics.produce(&topic, &some)).await.unwrap();
                sleep(Duration::from_millis(rng.random_range(0..60))).await;
            }
        })
    }

    /// Lets a fault happen; returns the daemon that runs afterwards.
    async fn suffer(
        &mut self,
        fault: Fault,
        daemon: Daemon,
        sinks: &Sinks<'_>,
        settings: &[(&str, &str)],
        companion: &mut Companion,
    ) -> Daemon {
        let dir = daemon.dir.clone();
        let (kafka, topic) = (Arc::clone(&self.kafka), self.name.clone());
        match fault {
            Fault::Daemon => {
                daemon.kill();
                return self.start(&dir, sinks, settings).await;
            }
            Fault::Both => {
                let before = companion.broker.borrow().kills_left;
                companion.wait_until(|broker| broker.kills_left == 0 || broker.kills_left < before).await;
                daemon.kill();
                return self.start(&dir, sinks, settings).await;
            }
            Fault::Broker => {
                let back = spawn_blocking(move || {
                    let broker = kafka.leader(&topic);
                    broker.kill();
                    broker.restart();
                });
                back.await.unwrap();
            }
            Fault::Leaders => {
                let written = [sinks.topic("counts"), sinks.topic("corrections"), sinks.topic("progress")];
                let moved = spawn_blocking(move || {
                    let topics = Topics::of(kafka.servers());
                    for topic in [topic].iter().chain(&written) {
                        topics.move_leader(topic, 0, topics.leader(topic, 0) % 3 + 1);
                    }
                });
                moved.await.unwrap();
            }
        }
        daemon
    }

    /// Waits until every record of the topic is in a complete epoch.
    async fn wait_for_all(&self, daemon: &mut Daemon, topics: &Topics) {
        let held: i64 = (0..PARTITIONS).map(|partition| topics.offsets(&self.name, partition).1).sum();
        assert!(held >= self.history.records.len() as i64, "the topic has {held} records");
        let deadline = Instant::now() + PATIENCE * 3;
        loop {
            let taken = daemon.status().await.records_in;
            if taken == held as u64 {
                return;
            }
            assert!(Instant::now() < deadline && taken < held as u64, "{taken} of {held} records came in");
            sleep(Duration::from_millis(10)).await;
        }
    }
}

fn event_ms(record: &Record) -> Option<i64> {
    match &record.body {
        Body::Click(click) => Some(click.event_ms),
        Body::Verdict(verdict) => Some(verdict.decided_ms),
        Body::Unreadable => None,
    }
}
