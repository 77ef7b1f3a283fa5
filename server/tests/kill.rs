//! The real binary killed under load, by a client that sends again what was not acknowledged; and a writer that was stopped while
//! another took its place.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use recount_connectors::data_dir::DataDir;
use recount_connectors::disk::SystemDisk;
use recount_connectors::log::{LogSource, LogView};
use recount_connectors::{Next, Source as _};
use recount_dataflow::domain::event::Decision;
use recount_dataflow::domain::fact::Position;
use recount_dataflow::domain::rules::Rules;
use recount_dataflow::domain::window::Granularity;
use recount_proto::v1 as wire;
use recount_proto::v1::ingest_service_client::IngestServiceClient;
use recount_tests::model::{Delivered, Eight, Model, RowKey};
use recount_tests::record::{self, Body, Record};
use support::daemon::{Daemon, click};
use support::{MINUTE_MS, NOON_MS, PATIENCE};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

const ADS: u64 = 5;
const USERS: u64 = 300;
const EVENTS: u64 = 20;
/// Requests that are answered before a kill, at most.
const ANSWERS_MAX: u64 = 250;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;
/// How late clicks are. The last are later than any correction.
const LATE_MS: [i64; 8] = [0, 0, 0, 0, 0, 3 * HOUR_MS, 2 * DAY_MS, 9 * DAY_MS];
const INTERVALS: [&str; 4] = ["10ms", "40ms", "150ms", "1h"];
/// The click that comes first, and is the latest of all: it alone moves the watermark, so what is too late does not depend on where
/// epochs are cut.
const FIRST: &str = "first";

/// How often the daemon is killed; a longer run asks for more.
fn kills() -> u64 {
    number("RECOUNT_KILLS", 20)
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |number| number.parse().unwrap())
}

/// What is sent, and when the daemon is killed, follows from a seed.
#[derive(Clone, Copy)]
struct Plan {
    seed: u64,
}

impl Plan {
    fn random(self, n: u64) -> SmallRng {
        SmallRng::seed_from_u64(self.seed ^ n.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// Some events: every tenth or so is a click that was sent before, every seventh a verdict about one.
    fn request(self, number: u64) -> wire::AppendRequest {
        let event = |n: u64| {
            let mut random = self.random(n);
            let earlier = n.saturating_sub(random.random_range(0..200));
            match random.random_range(0..70) {
                0..10 => verdict(earlier, &mut random),
                10..17 => self.click(earlier),
                _ => self.click(n),
            }
        };
        let events = (number * EVENTS..(number + 1) * EVENTS).map(event).collect();
        wire::AppendRequest { request_id: number.to_string(), events }
    }

    fn click(self, id: u64) -> wire::Event {
        let mut random = self.random(!id);
        let late_ms = LATE_MS[random.random_range(0..LATE_MS.len())];
        let click = wire::Click {
            click_id: format!("c{id}"),
            ad_id: format!("ad{}", random.random_range(0..ADS)),
            user_id: format!("u{}", random.random_range(0..USERS)),
            timestamp_ms: NOON_MS + random.random_range(0..60) * MINUTE_MS - late_ms,
            price_micros: random.random_range(0..5_000_000),
            ..Default::default()
        };
        wire::Event { body: Some(wire::event::Body::Click(click)) }
    }
}

fn verdict(id: u64, random: &mut SmallRng) -> wire::Event {
    let decision = [wire::verdict::Decision::Invalid, wire::verdict::Decision::Valid][random.random_range(0..2)];
    let verdict = wire::Verdict {
        click_id: format!("c{id}"),
        decision: decision.into(),
        timestamp_ms: NOON_MS + random.random_range(90..120) * MINUTE_MS,
        ..Default::default()
    };
    wire::Event { body: Some(wire::event::Body::Verdict(verdict)) }
}

/// The signal that a daemon gets, so long after so many answers.
struct Kill {
    pid: u32,
    signal: &'static str,
    answers: u64,
    delay: Duration,
}

/// Sends requests over one stream, as fast as they are taken, until the daemon has got its signal and ended. What was not acknowledged
/// stays in `open`, in order. Returns how many events were.
async fn send(
    mut client: IngestServiceClient<Channel>,
    plan: Plan,
    open: &mut VecDeque<u64>,
    next: &mut u64,
    mut kill: Kill,
) -> u64 {
    let mut acknowledged = 0;
    let (due, killed) = mpsc::channel::<()>(1);
    let mut due = Some(due);
    let killing = tokio::spawn(async move {
        let mut killed = killed;
        // It is due when the other end is dropped.
        killed.recv().await;
        sleep(kill.delay).await;
        support::daemon::signal(kill.pid, kill.signal);
    });
    let (sender, requests) = mpsc::channel(8);
    let resend: Vec<u64> = open.iter().copied().collect();
    let first = *next;
    let feeding = tokio::spawn(async move {
        for number in resend.into_iter().chain(first..) {
            if sender.send(plan.request(number)).await.is_err() {
                return;
            }
        }
    });
    if kill.answers == 0 {
        due = None;
    }
    if let Ok(answers) = client.append_stream(tokio_stream::wrappers::ReceiverStream::new(requests)).await {
        let mut answers = answers.into_inner();
        while let Ok(Some(answer)) = answers.message().await {
            let number: u64 = answer.request_id.parse().unwrap();
            assert_eq!(answer.accepted, EVENTS);
            acknowledged += answer.accepted;
            // What is new was sent in order, behind what was sent again.
            if number >= *next {
                open.extend(*next..=number);
                *next = number + 1;
            }
            assert_eq!(open.pop_front(), Some(number), "answers come in the order of their requests");
            kill.answers = kill.answers.saturating_sub(1);
            if kill.answers == 0 {
                due = None;
            }
        }
    }
    feeding.abort();
    assert!(due.is_none(), "the daemon ended by itself");
    killing.await.unwrap();
    // Whatever was sent behind the last answer may have been taken in: it is sent again.
    open.extend(*next..*next + 64);
    *next += 64;
    acknowledged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_row_is_exact_after_any_number_of_kills() {
    let dir = tempfile::tempdir().unwrap();
    let plan = Plan { seed: number("RECOUNT_SEED", 7) };
    println!("RECOUNT_SEED={}", plan.seed);
    let mut random = plan.random(0);
    let mut daemon = Daemon::start(dir.path()).await;
    let token = daemon.append(vec![click(FIRST, "ad0", NOON_MS + HOUR_MS)]).await.token;
    daemon.received("ad0", token).await;
    daemon.kill();
    let (mut open, mut next, mut acknowledged) = (VecDeque::new(), 0, 0);
    for _ in 0..kills() {
        let interval = INTERVALS[random.random_range(0..INTERVALS.len())];
        let daemon = Daemon::start_with(dir.path(), &[("CHECKPOINT__INTERVAL", interval)]).await;
        let answers = random.random_range(0..ANSWERS_MAX);
        let delay = Duration::from_micros(random.random_range(0..20_000));
        let kill = Kill { pid: daemon.pid(), signal: "KILL", answers, delay };
        let sending = send(daemon.ingest.clone(), plan, &mut open, &mut next, kill);
        acknowledged += timeout(PATIENCE, sending).await.unwrap();
    }
    assert!(acknowledged > 0, "nothing came in between {} kills", kills());
    let mut daemon = Daemon::start(dir.path()).await;
    for number in open {
        daemon.ingest.append(plan.request(number)).await.unwrap();
    }
    check(daemon, dir.path(), (0..next).flat_map(|number| plan.request(number).events)).await;
}

/// Everything that was sent lies in the log, and every row is what the model says of what lies there. Ends the daemon.
async fn check(mut daemon: Daemon, dir: &Path, sent: impl Iterator<Item = wire::Event>) {
    let held = held(dir);
    let epoch = timeout(PATIENCE, all_readable(&mut daemon, held.len() as u64)).await.unwrap();
    let rows = rows_at(&mut daemon, epoch).await;
    let status = daemon.status().await;
    let (code, said) = daemon.stop().await;
    assert_eq!(code, Some(0), "{said}");

    let events: BTreeSet<Vec<u8>> = held.iter().map(|(_, event)| event.encode_to_vec()).collect();
    assert!(sent.map(|event| event.encode_to_vec()).all(|event| events.contains(&event)), "an event is lost");
    let (first, rest): (Vec<_>, Vec<_>) = held
        .iter()
        .map(delivered)
        .partition(|one| matches!(&one.record.body, Body::Click(click) if &*click.click_id == FIRST));
    let model = Model::new(Rules::default(), &[first, rest]);
    let state = model.state(model.last_epoch());
    assert_eq!((status.records_in, status.parked), (held.len() as u64, state.totals.parked_total()));
    assert!(status.parked > 0 && status.received > 0 && status.verdicts > 0, "{status:?}");
    let expected: BTreeMap<RowKey, Eight> = state.rows.iter().map(|(key, row)| (key.clone(), row.metrics)).collect();
    assert_eq!(rows.len(), expected.len());
    for (key, metrics) in expected {
        assert_eq!(rows.get(&key), Some(&metrics), "{key:?}");
    }
}

/// Waits until so many records are readable, and returns the newest epoch.
async fn all_readable(daemon: &mut Daemon, records: u64) -> u64 {
    loop {
        let status = daemon.status().await;
        if status.records_in >= records {
            return status.snapshot.unwrap().as_of;
        }
    }
}

/// Every row of every granularity at an epoch.
async fn rows_at(daemon: &mut Daemon, epoch: u64) -> BTreeMap<RowKey, Eight> {
    let mut rows = BTreeMap::new();
    let ads: Vec<String> = (0..ADS).map(|n| format!("ad{n}")).collect();
    for (granularity, of_wire) in Granularity::ALL.into_iter().zip([
        wire::Granularity::Minute,
        wire::Granularity::FiveMinutes,
        wire::Granularity::Hour,
        wire::Granularity::Day,
    ]) {
        let request = wire::GetCountsRequest {
            ad_ids: ads.clone(),
            start_ms: NOON_MS - 20 * DAY_MS,
            end_ms: NOON_MS + 2 * DAY_MS,
            granularity: of_wire.into(),
            page_size: 100_000,
            read: Some(wire::ReadAt { at: Some(wire::read_at::At::AsOf(epoch)) }),
            ..Default::default()
        };
        let answer = daemon.counts.get_counts(request).await.unwrap().into_inner();
        assert!(answer.next_page_token.is_empty());
        for row in answer.rows {
            let key = RowKey { ad_id: row.ad_id.into(), granularity, start_ms: row.window_start_ms };
            rows.insert(key, eight(&row.metrics.unwrap()));
        }
    }
    rows
}

fn eight(metrics: &wire::Metrics) -> Eight {
    Eight {
        received: metrics.received,
        duplicates: metrics.duplicates,
        gross_clicks: metrics.gross_clicks,
        invalid_clicks: metrics.invalid_clicks,
        clicks: metrics.clicks,
        unique_users: metrics.unique_users,
        spend_micros: metrics.spend_micros,
        invalid_spend_micros: metrics.invalid_spend_micros,
    }
}

/// Everything that lies in the log.
fn held(dir: &Path) -> Vec<(Position, wire::Event)> {
    let dir = DataDir::read_only(Arc::new(SystemDisk::open(dir).unwrap())).unwrap();
    let view = LogView::read_only(&dir).unwrap();
    let mut source = LogSource::start(&view, dir.hash_key(), dir.rules(), &[]).unwrap();
    let mut held = Vec::new();
    for partition in 0..view.partitions() {
        while let Next::Batch(batch) = source.next_of(partition, view.end(partition), PATIENCE).unwrap() {
            assert!(batch.broken.is_empty());
            for position in batch.facts.iter().map(|fact| fact.position()) {
                let (payload, _) = batch.raw.record(position.offset);
                held.push((position, wire::Event::decode(payload).unwrap()));
            }
        }
    }
    held
}

/// A record of the log, as the model takes it.
fn delivered((position, event): &(Position, wire::Event)) -> Delivered {
    let body = match event.body.as_ref().unwrap() {
        wire::event::Body::Click(click) => Body::Click(record::Click {
            click_id: click.click_id.as_str().into(),
            ad_id: click.ad_id.as_str().into(),
            user_id: click.user_id.as_str().into(),
            event_ms: click.timestamp_ms,
            price_micros: click.price_micros,
            received_at_ms: click.received_at_ms,
            user_agent_bytes: 0,
        }),
        wire::event::Body::Verdict(verdict) => Body::Verdict(record::Verdict {
            click_id: verdict.click_id.as_str().into(),
            decision: Some(match verdict.decision() {
                wire::verdict::Decision::Invalid => Decision::Invalid,
                _ => Decision::Valid,
            }),
            decided_ms: verdict.timestamp_ms,
            reason: verdict.reason.as_str().into(),
        }),
    };
    let record = Record { label: 0, stream: position.stream, arrival_ms: None, body };
    Delivered { record, position: *position }
}

/// The files of the checkpoints.
fn runs(dir: &Path) -> BTreeSet<OsString> {
    fs::read_dir(dir.join("runs")).unwrap().map(|entry| entry.unwrap().file_name()).collect()
}

#[tokio::test]
async fn a_writer_that_was_replaced_acknowledges_nothing_and_ends() {
    let dir = tempfile::tempdir().unwrap();
    let seldom = [("CHECKPOINT__INTERVAL", "1h")];
    let mut old = Daemon::start_with(dir.path(), &seldom).await;
    let token = old.append(vec![click("c1", "ad", NOON_MS)]).await.token;
    old.received("ad", token.clone()).await;
    assert!(old.checkpoint().await.written);
    // The checkpoints hold less than it would write at its end.
    let more = old.append(vec![click("more", "other", NOON_MS)]).await.token;
    old.received("other", more).await;
    let files = runs(dir.path());
    old.signal("STOP");
    // A lock that does not hold, as on a shared directory.
    fs::remove_file(dir.path().join("LOCK")).unwrap();
    let mut new = Daemon::start_with(dir.path(), &seldom).await;
    assert_eq!(new.received("ad", token).await, 1);

    let mut client = old.ingest.clone();
    let late = tokio::spawn(async move {
        client.append(wire::AppendRequest { events: vec![click("c2", "ad", NOON_MS)], ..Default::default() }).await
    });
    old.signal("CONT");
    let status: Status = timeout(PATIENCE, late).await.unwrap().unwrap().unwrap_err();
    let reason = status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default();
    assert!(status.code() == Code::Unavailable && (reason == "LOG_STOPPED" || reason.is_empty()), "{status:?}");
    let (code, said) = old.wait().await;
    assert_eq!(code, Some(1));
    assert!(said.contains("was replaced by a later one"), "{said}");
    assert_eq!(runs(dir.path()), files, "it writes no checkpoint any more, and deletes none");

    let token = new.append(vec![click("c3", "ad", NOON_MS)]).await.token;
    assert_eq!(new.received("ad", token).await, 2, "what the old writer wrote counts for nothing");
    new.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_is_replaced_under_load_adds_nothing_to_what_the_other_holds() {
    let dir = tempfile::tempdir().unwrap();
    let (plan, later) = (Plan { seed: 11 }, Plan { seed: 12 });
    let often = [("CHECKPOINT__INTERVAL", "40ms")];
    let mut old = Daemon::start_with(dir.path(), &often).await;
    let token = old.append(vec![click(FIRST, "ad0", NOON_MS + HOUR_MS)]).await.token;
    old.received("ad0", token).await;
    let (client, pid) = (old.ingest.clone(), old.pid());
    let sending = tokio::spawn(async move {
        let (mut open, mut next) = (VecDeque::new(), 0);
        let kill = Kill { pid, signal: "STOP", answers: 100, delay: Duration::from_millis(7) };
        send(client, plan, &mut open, &mut next, kill).await;
        (open, next)
    });
    timeout(PATIENCE, stopped(pid)).await.unwrap();
    // A lock that does not hold, as on a shared directory.
    fs::remove_file(dir.path().join("LOCK")).unwrap();
    let mut new = Daemon::start_with(dir.path(), &often).await;
    for number in 0..100 {
        if number == 50 {
            old.signal("CONT");
        }
        new.ingest.append(later.request(number)).await.unwrap();
    }
    let (open, next) = timeout(PATIENCE, sending).await.unwrap().unwrap();
    let (code, said) = old.wait().await;
    assert!(code == Some(1) && said.contains("was replaced by a later one"), "{code:?}: {said}");
    for number in open {
        new.ingest.append(plan.request(number)).await.unwrap();
    }
    let of = |plan: Plan, requests| (0..requests).flat_map(move |number| plan.request(number).events);
    check(new, dir.path(), of(plan, next).chain(of(later, 100))).await;
}

/// Waits until a process stands still.
async fn stopped(pid: u32) {
    while !fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().contains(") T ") {
        sleep(Duration::from_millis(1)).await;
    }
}
