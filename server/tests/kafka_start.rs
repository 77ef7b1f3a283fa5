//! A start over Kafka that is refused: the directory is as it was but for its lock and its fence, whoever runs goes on running, and
//! nothing is published.

#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used)]

mod published;
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use published::{Sinks, copy};
use recount_tests::kafka::{Broker, Record, Topics};
use support::daemon::{Daemon, manifests, signal};
use support::http::Http;
use support::{NOON_MS, PATIENCE, click};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

const JSON: &str = r#"[{ name = "clicks", format = "json" }]"#;

struct Place {
    broker: Broker,
    topics: Topics,
    home: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        let broker = Broker::start();
        let topics = Topics::of(broker.servers());
        topics.create("clicks", 2, &[("retention.ms", "-1")]);
        Place { broker, topics, home: tempfile::tempdir().unwrap() }
    }

    fn dir(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn sinks<'a>(&self, name: &'a str) -> Sinks<'a> {
        Sinks { servers: self.broker.servers(), name, delivery: "exactly-once" }
    }

    /// A start that accepts what is gone counts a hundred records more than the three hundred before.
    async fn goes_on_without(&self, accepting: &[&str], dir: &Path) {
        self.produce(1_000..1_100);
        let servers = self.broker.servers();
        let mut command = self.sinks("ours").command(dir, &self.settings(&servers, &[]));
        command.args(accepting);
        let mut daemon = Daemon::run(command, dir).await;
        counted(&mut daemon, 400).await;
        self.sinks("ours").published(&daemon).await;
        assert_eq!(daemon.stop().await.0, Some(0));
    }

    /// What every start is given; `more` wins.
    fn settings<'a>(&'a self, servers: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let all = [
            ("SOURCE__KAFKA__BOOTSTRAP_SERVERS", servers),
            ("SOURCE__KAFKA__TOPICS", JSON),
            ("SOURCE__KAFKA__METADATA_INTERVAL", "200ms"),
            // Several epochs: what is damaged in the last binding alone looks like a torn write.
            ("ENGINE__EPOCH_RECORDS", "40"),
        ];
        [&all[..], more].concat()
    }

    async fn start(&self, dir: &Path, more: &[(&str, &str)]) -> Daemon {
        let servers = self.broker.servers();
        self.sinks("ours").start_with(dir, &self.settings(&servers, more)).await
    }

    fn produce(&self, ids: std::ops::Range<i32>) {
        let record = |id: i32| Record::of(click(&format!("c{id}"), "ad", NOON_MS + i64::from(id))).to(id % 2);
        self.topics.produce("clicks", &ids.map(record).collect::<Vec<_>>());
    }

    /// Where the topics of a sink end, which also an open or aborted transaction moves.
    fn ends(&self) -> Vec<i64> {
        let ends = |(topic, partitions): (&str, i32)| {
            (0..partitions).map(|partition| self.topics.offsets(topic, partition).1).collect::<Vec<_>>()
        };
        [("ours.progress", 1), ("ours.counts", 3), ("ours.corrections", 2)].into_iter().flat_map(ends).collect()
    }

    /// Starts over a directory, which is refused: it says `why`, and everything is as it was.
    fn refused(&self, case: &Refusal<'_>, dir: &Path) {
        let (before, published) = (files(dir), self.ends());
        let servers = self.broker.servers();
        let mut command = self.sinks(case.sinks).command(dir, &self.settings(&servers, case.settings));
        let output = command.args(case.args).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && said.contains(case.why), "{}: {said}", case.why);
        assert_eq!(files(dir), before, "{}: {said}", case.why);
        assert_eq!(self.ends(), published, "{}: {said}", case.why);
    }
}

/// Why a start is refused, and what it is given for that.
#[derive(Clone, Copy)]
struct Refusal<'a> {
    why: &'a str,
    sinks: &'a str,
    settings: &'a [(&'a str, &'a str)],
    args: &'a [&'a str],
}

/// A refusal, and what is done to a directory before.
type Case<'a> = (Refusal<'a>, &'a dyn Fn(&Path));

fn refusal(why: &str) -> Refusal<'_> {
    Refusal { why, sinks: "ours", settings: &[], args: &[] }
}

/// All files with what is in them, and all directories; without the lock, and without the fence, of which every start leaves a file.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(at) = open.pop() {
        for entry in fs::read_dir(&at).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true if path.ends_with("writers") => {}
                true => {
                    found.insert(path.clone(), Vec::new());
                    open.push(path);
                }
                false if path.ends_with("LOCK") => {}
                false => drop(found.insert(path.clone(), fs::read(&path).unwrap())),
            }
        }
    }
    found
}

/// Flips a bit of every file in a directory whose name ends so.
fn damage(dir: &Path, ending: &str) {
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut damaged = 0;
    for path in paths.filter(|path| path.to_str().unwrap().ends_with(ending)) {
        let mut bytes = fs::read(&path).unwrap();
        if let Some(byte) = bytes.get_mut(20) {
            *byte ^= 1;
            damaged += 1;
        }
        fs::write(&path, bytes).unwrap();
    }
    assert!(damaged > 0, "there is nothing to damage in {}", dir.display());
}

async fn counted(daemon: &mut Daemon, records: u64) {
    let deadline = Instant::now() + PATIENCE;
    while daemon.status().await.records_in < records {
        assert!(Instant::now() < deadline, "{records} records do not come in");
        sleep(Duration::from_millis(10)).await;
    }
}

/// A copy of a directory is started, in every way in which that is refused, while the one that it was copied from runs.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_start_leaves_everything_as_it_was_and_everybody_alone() {
    let place = Place::new();
    let (running, stopped) = (place.dir("running"), place.dir("stopped"));
    place.produce(0..300);
    let mut daemon = place.start(&running, &[]).await;
    counted(&mut daemon, 300).await;
    assert_eq!(daemon.stop().await.0, Some(0));
    copy(&running, &stopped, &["LOCK"]);
    // From here on it has the same number as whoever starts over a copy: nothing but what is looked at tells them apart.
    let mut daemon = place.start(&running, &[]).await;
    place.sinks("ours").published(&daemon).await;
    place.topics.create("wrong.counts", 1, &[("cleanup.policy", "delete")]);

    let with_topics = |topics| [("SOURCE__KAFKA__TOPICS", topics)];
    let as_protobuf = with_topics(r#"[{ name = "clicks", format = "event" }]"#);
    let and_nowhere = with_topics(r#"[{ name = "clicks", format = "json" }, { name = "nowhere", format = "json" }]"#);
    let nothing = |_: &Path| {};
    let cases: [Case<'_>; 8] = [
        (refusal("checkpoints can be used"), &|dir: &Path| damage(&dir.join("runs"), ".manifest")),
        (refusal("bindings"), &|dir: &Path| damage(&dir.join("bindings"), ".log")),
        (refusal("is damaged"), &|dir: &Path| damage(&dir.join("streams"), ".json")),
        (refusal("its newest file is missing"), &|dir: &Path| {
            fs::remove_file(dir.join("streams/00000000.json")).unwrap()
        }),
        (Refusal { settings: &as_protobuf, ..refusal("was read as json") }, &nothing),
        (Refusal { settings: &and_nowhere, ..refusal("there is no such topic") }, &nothing),
        (Refusal { args: &["--accept-gap", "clicks/1@7"], ..refusal("nothing is missing there") }, &nothing),
        (Refusal { sinks: "wrong", ..refusal("cleanup.policy is \"delete\"") }, &nothing),
    ];
    for (number, (case, prepare)) in cases.iter().enumerate() {
        let dir = place.dir(&number.to_string());
        copy(&stopped, &dir, &[]);
        prepare(&dir);
        // As often as somebody tries.
        place.refused(case, &dir);
        place.refused(case, &dir);
    }
    let made = place.topics.names();
    assert!(!made.contains("wrong.progress") && !made.contains("wrong.corrections"), "{made:?}");

    // The daemon was never fenced.
    place.produce(300..400);
    counted(&mut daemon, 400).await;
    place.sinks("ours").published(&daemon).await;
    let (exit, said) = daemon.stop().await;
    assert_eq!(exit, Some(0), "{said}");
    assert!(place.sinks("ours").read().is_exact());
}

/// What Kafka does not hold any more is looked for before anything is made and anybody fenced.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_gone_from_topics_is_found_before_anything_is_made() {
    let place = Place::new();
    let (dir, replayed) = (place.dir("dir"), place.dir("replayed"));
    place.produce(0..300);
    // One directory holds a checkpoint of everything, and the other bindings alone.
    let mut daemon = place.start(&replayed, &[("CHECKPOINT__INTERVAL", "1h")]).await;
    counted(&mut daemon, 300).await;
    daemon.kill();
    assert_eq!(manifests(&replayed), Vec::<PathBuf>::new());
    copy(&replayed, &dir, &["LOCK"]);
    let mut daemon = place.start(&dir, &[]).await;
    counted(&mut daemon, 300).await;
    assert_eq!(daemon.stop().await.0, Some(0));

    for partition in 0..2 {
        place.topics.delete_records("clicks", partition, 10);
    }
    place.refused(&refusal("were counted in epochs that no checkpoint holds"), &replayed);
    place.topics.delete("clicks");
    place.refused(&refusal("was deleted"), &dir);
    place.topics.create("clicks", 2, &[("retention.ms", "-1")]);
    place.refused(&refusal("was deleted and made anew"), &dir);
    // A part of what has to be accepted is not enough, and changes nothing.
    let some = ["--accept-gap", "clicks/0@150"];
    place.refused(&Refusal { args: &some, ..refusal("was deleted and made anew") }, &dir);

    // All of it is.
    place.goes_on_without(&["--accept-gap", "clicks/0@150", "--accept-gap", "clicks/1@150"], &dir).await;
}

/// A topic that is deleted under a service takes nothing of what was counted with it: what the service accepts as its end is where it
/// had come.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_gone_while_it_is_read_can_be_accepted() {
    let place = Place::new();
    let dir = place.dir("dir");
    place.produce(0..300);
    let mut daemon = place.start(&dir, &[("CHECKPOINT__INTERVAL", "1h")]).await;
    counted(&mut daemon, 300).await;
    assert_eq!(manifests(&dir), Vec::<PathBuf>::new());
    place.topics.delete("clicks");
    let (exit, said) = daemon.wait().await;
    assert_eq!(exit, Some(1), "{said}");
    let accepting = "--accept-gap clicks/0@150 --accept-gap clicks/1@150";
    assert!(said.contains("was deleted") && said.contains(accepting), "{said}");
    place.topics.create("clicks", 2, &[("retention.ms", "-1")]);
    place.goes_on_without(&accepting.split(' ').collect::<Vec<_>>(), &dir).await;
}

/// Sinks wait for brokers before a service is ready: for as long as nobody listens there.
#[tokio::test]
async fn a_service_that_starts_lives_and_is_not_ready() {
    let dir = tempfile::tempdir().unwrap();
    let free = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [http, grpc, nobody] = free.map(|listener| listener.local_addr().unwrap().to_string());
    let http = Http { addr: http.parse().unwrap() };
    let mut command = Command::new(env!("CARGO_BIN_EXE_recount"));
    command.args(["serve", "--grpc", &grpc, "--http", &http.addr.to_string(), "--data-dir"]).arg(dir.path());
    command.env("RECOUNT__SINK__KAFKA__BOOTSTRAP_SERVERS", nobody);
    command.env("RECOUNT__SINK__KAFKA__CORRECTIONS__TOPIC", "corrections");
    let mut starting = command.spawn().unwrap();
    let patience = Instant::now() + PATIENCE;
    while TcpStream::connect(http.addr).await.is_err() {
        assert!(Instant::now() < patience, "nobody listens");
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(http.get("/livez").await.text(), "alive\n");
    for path in ["/readyz", "/v1/status", "/metrics"] {
        assert_eq!(http.get(path).await.refusal(), (503, "STARTING".to_owned()), "{path}");
    }
    let query = ["query", "status", "--addr", &grpc];
    let asked = Command::new(env!("CARGO_BIN_EXE_recount")).args(query).output().unwrap();
    let said = String::from_utf8(asked.stderr).unwrap();
    assert!(asked.status.code() == Some(4) && said.contains("(STARTING)"), "{:?}: {said}", asked.status);
    assert!(starting.try_wait().unwrap().is_none(), "it waits");
    signal(starting.id(), "TERM");
    assert_eq!(starting.wait().unwrap().code(), Some(0));
}
