//! What the tests of the sinks share: clicks and verdicts from a seed, the naive model of them, and what a reader makes of topics.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use recount_dataflow::domain::event::Decision;
use recount_dataflow::domain::fact::Position;
use recount_dataflow::domain::rules::Rules;
use recount_proto::v1 as wire;
use recount_tests::kafka::{Record as Message, Topics};
use recount_tests::model::{Delivered, Model, RowKey, RowValue};
use recount_tests::record::{Body, Click, Record, Verdict};
use serde_json::Value;

use crate::support::daemon::{Daemon, command};
use crate::support::{MINUTE_MS, NOON_MS, PATIENCE};

/// Clicks, copies of them, and verdicts, of a few ads over some hours: many come after their windows have closed.
pub struct Traffic {
    rng: SmallRng,
    clicks: u64,
    sent: Vec<Delivered>,
}

impl Traffic {
    pub fn new(seed: u64) -> Self {
        Traffic { rng: SmallRng::seed_from_u64(seed), clicks: 0, sent: Vec::new() }
    }

    /// The next events; all of them count as sent.
    pub fn next(&mut self, events: usize) -> Vec<wire::Event> {
        (0..events).map(|_| self.event()).collect()
    }

    fn event(&mut self) -> wire::Event {
        let body = match self.rng.random_range(0..10) {
            0 | 1 if self.clicks > 0 => self.verdict(),
            2 if self.clicks > 0 => {
                let copy = self.rng.random_range(0..self.clicks);
                Self::click(copy)
            }
            _ => {
                self.clicks += 1;
                Self::click(self.clicks - 1)
            }
        };
        let event = to_wire(&body);
        let record = Record { label: 1, stream: 0, arrival_ms: None, body };
        let position = Position { stream: 0, offset: self.sent.len() as u64 };
        self.sent.push(Delivered { record, position });
        event
    }

    /// A click that is the same whenever it is made.
    fn click(number: u64) -> Body {
        let mut rng = SmallRng::seed_from_u64(number);
        Body::Click(Click {
            click_id: format!("c{number}").into(),
            ad_id: format!("ad{}", rng.random_range(0..7)).into(),
            user_id: format!("u{}", rng.random_range(0..20)).into(),
            event_ms: NOON_MS + rng.random_range(0..120) * MINUTE_MS,
            price_micros: rng.random_range(0..5) * 1_000_000,
            received_at_ms: 0,
            user_agent_bytes: 0,
        })
    }

    fn verdict(&mut self) -> Body {
        let click = self.rng.random_range(0..self.clicks);
        let decision = if self.rng.random_bool(0.7) { Decision::Invalid } else { Decision::Valid };
        Body::Verdict(Verdict {
            click_id: format!("c{click}").into(),
            decision: Some(decision),
            decided_ms: NOON_MS + (200 + self.rng.random_range(0..200)) * MINUTE_MS,
            reason: "".into(),
        })
    }

    /// The rows after all that was sent: `granularity/window_start_ms/ad_id` and the eight metrics.
    pub fn rows(&self) -> BTreeMap<String, [i64; 8]> {
        let model = Model::new(Rules::default(), std::slice::from_ref(&self.sent));
        model.state(1).rows.iter().map(|(key, value)| (name(key), eight(value))).collect()
    }
}

/// The key of a row's messages.
pub fn name(key: &RowKey) -> String {
    format!("{}/{}/{}", key.granularity.as_str(), key.start_ms, key.ad_id)
}

/// The eight metrics of a row of the model.
pub fn eight(row: &RowValue) -> [i64; 8] {
    let eight = &row.metrics;
    [
        eight.received,
        eight.duplicates,
        eight.gross_clicks,
        eight.invalid_clicks,
        eight.clicks,
        eight.unique_users,
        eight.spend_micros,
        eight.invalid_spend_micros,
    ]
}

/// The same of a row as the contract has it.
pub fn numbers(metrics: &wire::Metrics) -> [i64; 8] {
    [
        metrics.received,
        metrics.duplicates,
        metrics.gross_clicks,
        metrics.invalid_clicks,
        metrics.clicks,
        metrics.unique_users,
        metrics.spend_micros,
        metrics.invalid_spend_micros,
    ]
}

/// The same of a row as JSON has it.
pub fn metrics(row: &Value) -> [i64; 8] {
    let names = [
        "received",
        "duplicates",
        "gross_clicks",
        "invalid_clicks",
        "clicks",
        "unique_users",
        "spend_micros",
        "invalid_spend_micros",
    ];
    names.map(|name| row["metrics"][name].as_i64().unwrap())
}

/// The key of a row as JSON has it.
pub fn name_of(row: &Value) -> String {
    let (granularity, ad_id) = (row["granularity"].as_str().unwrap(), row["ad_id"].as_str().unwrap());
    format!("{granularity}/{}/{ad_id}", row["window_start_ms"])
}

fn to_wire(body: &Body) -> wire::Event {
    let body = match body {
        Body::Click(click) => wire::event::Body::Click(wire::Click {
            click_id: click.click_id.to_string(),
            ad_id: click.ad_id.to_string(),
            user_id: click.user_id.to_string(),
            timestamp_ms: click.event_ms,
            price_micros: click.price_micros,
            ..Default::default()
        }),
        Body::Verdict(verdict) => wire::event::Body::Verdict(wire::Verdict {
            click_id: verdict.click_id.to_string(),
            decision: match verdict.decision.unwrap() {
                Decision::Invalid => wire::verdict::Decision::Invalid.into(),
                Decision::Valid => wire::verdict::Decision::Valid.into(),
            },
            timestamp_ms: verdict.decided_ms,
            ..Default::default()
        }),
        Body::Unreadable => unreachable!("no such record is made here"),
    };
    wire::Event { body: Some(body) }
}

/// Where a daemon publishes, and how.
pub struct Sinks<'a> {
    pub servers: String,
    /// The beginning of the names of its topics.
    pub name: &'a str,
    pub delivery: &'a str,
}

impl Sinks<'_> {
    pub fn topic(&self, sink: &str) -> String {
        format!("{}.{sink}", self.name)
    }

    fn file(&self, dir: &Path) -> PathBuf {
        let Sinks { servers, name, delivery } = self;
        let file = dir.with_extension(format!("{name}.toml"));
        let text = format!(
            "[sink.kafka]\nbootstrap_servers = {servers:?}\nprogress_topic = \"{name}.progress\"\n\
             [sink.kafka.properties]\n\"reconnect.backoff.max.ms\" = 200\n\
             [sink.kafka.corrections]\ntopic = \"{name}.corrections\"\ndelivery = {delivery:?}\npartitions = 2\n\
             [sink.kafka.counts]\ntopic = \"{name}.counts\"\ndelivery = {delivery:?}\npartitions = 3\n"
        );
        fs::write(&file, text).unwrap();
        file
    }

    pub async fn start(&self, dir: &Path) -> Daemon {
        self.start_with(dir, &[]).await
    }

    /// Starts one with more settings, named as in the environment, without the prefix.
    pub async fn start_with(&self, dir: &Path, settings: &[(&str, &str)]) -> Daemon {
        Daemon::run(self.command(dir, settings), dir).await
    }

    /// The same command, not started.
    pub fn command(&self, dir: &Path, settings: &[(&str, &str)]) -> Command {
        let mut command = command(dir, &[&[("CHECKPOINT__INTERVAL", "100ms")], settings].concat());
        command.arg("--config").arg(self.file(dir));
        command
    }

    /// Starts a daemon that refuses to, and returns its exit code and what it said.
    pub fn refused(&self, dir: &Path) -> (Option<i32>, String) {
        let output = self.command(dir, &[]).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    }

    /// Waits until everything that is complete is published.
    pub async fn published(&self, daemon: &Daemon) {
        self.all_published(daemon, 2).await;
    }

    /// The same where there are so many sinks.
    pub async fn all_published(&self, daemon: &Daemon, sinks: u32) {
        let deadline = Instant::now() + PATIENCE * 3;
        loop {
            let [behind, epoch, newest] = daemon.metrics(["sink_epochs_behind", "sink_epoch", "epoch"]).await;
            if behind == 0.0 && epoch >= f64::from(sinks) * newest {
                return;
            }
            assert!(Instant::now() < deadline, "the sinks are {behind} epochs behind epoch {newest}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What a reader of committed messages knows.
    pub fn read(&self) -> Published {
        let topics = Topics::of(&self.servers);
        Published::of(&topics.consume(&self.topic("counts")), &topics.consume(&self.topic("corrections")))
    }
}

/// Sends events, and waits until they are counted.
pub async fn count(daemon: &mut Daemon, events: Vec<wire::Event>) {
    let sent = events.len() as u64;
    let answer = daemon.append(events).await;
    assert_eq!((answer.accepted, answer.refusals.len()), (sent, 0));
    daemon.received("ad0", answer.token).await;
}

/// What a reader of the two topics knows.
#[derive(Debug, PartialEq, Eq)]
pub struct Published {
    /// The last value of every key.
    pub rows: BTreeMap<String, Value>,
    /// Every correction by its id, in the order of its key, and how often it was read.
    pub corrections: BTreeMap<String, (Value, usize)>,
    /// Rows that were read more than once of one epoch.
    pub repeated: usize,
    /// Messages that took a row away.
    pub tombstones: usize,
}

impl Published {
    pub fn of(counts: &[Message], corrections: &[Message]) -> Self {
        let text = |bytes: &Option<Vec<u8>>| String::from_utf8(bytes.clone().unwrap()).unwrap();
        let (mut rows, mut seen) = (BTreeMap::new(), BTreeSet::new());
        for message in counts {
            seen.insert((message.key.clone(), message.header("epoch")));
            match &message.value {
                None => rows.remove(&text(&message.key)),
                Some(value) => rows.insert(text(&message.key), serde_json::from_slice(value).unwrap()),
            };
        }
        let mut by_id: BTreeMap<String, (Value, usize)> = BTreeMap::new();
        for message in corrections {
            let value: Value = serde_json::from_slice(message.value.as_ref().unwrap()).unwrap();
            assert_eq!(value["after"]["ad_id"].as_str(), Some(text(&message.key).as_str()));
            let id = value["correction_id"].as_str().unwrap().to_owned();
            let known = by_id.entry(id).or_insert((value.clone(), 0));
            assert_eq!(known.0, value, "a correction that comes again is the same");
            known.1 += 1;
        }
        let tombstones = counts.iter().filter(|message| message.value.is_none()).count();
        Published { rows, corrections: by_id, repeated: counts.len() - seen.len(), tombstones }
    }

    /// Holds it against the model: the rows are the model's, every row has as many corrections as its revision says, and each goes on
    /// where the one before it ended.
    pub fn check(&self, rows: &BTreeMap<String, [i64; 8]>) {
        let found: BTreeMap<String, [i64; 8]> =
            self.rows.iter().map(|(key, row)| (key.clone(), metrics(row))).collect();
        assert_eq!(&found, rows);
        let mut of_rows: BTreeMap<String, BTreeMap<u64, &Value>> = BTreeMap::new();
        for (correction, _) in self.corrections.values() {
            let after = &correction["after"];
            of_rows.entry(name_of(after)).or_default().insert(after["revision"].as_u64().unwrap(), correction);
        }
        for (key, row) in &self.rows {
            let corrections = of_rows.remove(key).unwrap_or_default();
            let revision = row["revision"].as_u64().unwrap();
            let revisions: BTreeSet<u64> = corrections.keys().copied().collect();
            assert_eq!(revisions, (1..=revision).collect(), "{key}");
            let chain: Vec<&&Value> = corrections.values().collect();
            for pair in chain.windows(2) {
                assert_eq!(metrics(&pair[0]["after"]), metrics(&pair[1]["before"]), "{key}");
            }
            if let Some(last) = chain.last() {
                assert_eq!(metrics(&last["after"]), metrics(row), "{key}");
            }
        }
        assert!(of_rows.is_empty(), "corrections of no row: {of_rows:?}");
    }

    /// Whether every correction was read once, and every row once of an epoch.
    pub fn is_exact(&self) -> bool {
        self.repeated == 0 && self.corrections.values().all(|(_, times)| *times == 1)
    }
}

/// A copy of a data directory; `without` is left out.
pub fn copy(from: &Path, to: &Path, without: &[&str]) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        if without.iter().any(|left_out| name == *left_out) {
            continue;
        }
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to.join(&name), &[]),
            false => drop(fs::copy(entry.path(), to.join(&name)).unwrap()),
        }
    }
}
