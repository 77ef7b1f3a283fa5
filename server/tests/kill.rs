//! The real binary killed under load, by a client that sends again what was not acknowledged; and a writer that was stopped while
//! another took its place.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use recount_proto::v1 as wire;
use support::daemon::{Daemon, click};
use support::{MINUTE_MS, NOON_MS, PATIENCE};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

const ADS: u64 = 5;
const EVENTS: u64 = 20;

/// How often the daemon is killed; a longer run asks for more.
fn kills() -> u64 {
    std::env::var("RECOUNT_KILLS").map_or(20, |kills| kills.parse().unwrap())
}

/// The events of a request: every tenth click comes again, every seventh is judged.
fn request(number: u64) -> wire::AppendRequest {
    let event = |n: u64| {
        let id = if n.is_multiple_of(10) && n > 0 { n - 1 } else { n };
        match n.is_multiple_of(7) {
            true => verdict(&format!("c{}", n.saturating_sub(5))),
            false => click(&format!("c{id}"), &format!("ad{}", id % ADS), NOON_MS + (id as i64 % 60) * MINUTE_MS),
        }
    };
    let events = (number * EVENTS..(number + 1) * EVENTS).map(event).collect();
    wire::AppendRequest { request_id: number.to_string(), events }
}

fn verdict(click_id: &str) -> wire::Event {
    let verdict = wire::Verdict {
        click_id: click_id.into(),
        decision: wire::verdict::Decision::Invalid.into(),
        timestamp_ms: NOON_MS + 90 * MINUTE_MS,
        ..Default::default()
    };
    wire::Event { body: Some(wire::event::Body::Verdict(verdict)) }
}

/// Sends requests over one stream, as fast as they are taken, until the daemon is gone. What was not acknowledged stays in
/// `open`, in order. Returns how many events were.
async fn send(daemon: &Daemon, open: &mut VecDeque<u64>, next: &mut u64) -> u64 {
    let mut acknowledged = 0;
    let (sender, requests) = mpsc::channel(8);
    let mut client = daemon.ingest.clone();
    let resend: Vec<u64> = open.iter().copied().collect();
    let first = *next;
    let feeding = tokio::spawn(async move {
        for number in resend.into_iter().chain(first..) {
            if sender.send(request(number)).await.is_err() {
                return;
            }
        }
    });
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
        }
    }
    feeding.abort();
    // Whatever was sent behind the last answer may have been taken in: it is sent again.
    open.extend(*next..*next + 64);
    *next += 64;
    acknowledged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_row_is_exact_after_any_number_of_kills() {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = SmallRng::seed_from_u64(7);
    let (mut open, mut next, mut acknowledged) = (VecDeque::new(), 0, 0);
    for _ in 0..kills() {
        let daemon = Daemon::start_with(dir.path(), &[("CHECKPOINT__INTERVAL", "40ms")]).await;
        let pid = daemon.pid();
        let delay = Duration::from_millis(rng.random_range(5..200));
        let killing = tokio::spawn(async move {
            sleep(delay).await;
            support::daemon::signal(pid, "KILL");
        });
        acknowledged += timeout(PATIENCE, send(&daemon, &mut open, &mut next)).await.unwrap();
        killing.await.unwrap();
    }
    assert!(acknowledged > kills() * 1_000, "{acknowledged} events came in between {} kills", kills());
    let mut daemon = Daemon::start(dir.path()).await;
    let mut tokens = Vec::new();
    for number in open {
        tokens.push(daemon.ingest.append(request(number)).await.unwrap().into_inner().token);
    }
    // The same clicks, once each, tell what every row must be.
    let (mut clicks, mut judged) = (BTreeMap::new(), Vec::new());
    for event in (0..next).flat_map(|number| request(number).events) {
        match event.body.unwrap() {
            wire::event::Body::Click(click) => {
                clicks.entry(click.click_id).or_insert(click.ad_id);
            }
            wire::event::Body::Verdict(verdict) => judged.push(verdict.click_id),
        }
    }
    let mut expected: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    for ad in clicks.values() {
        expected.entry(ad.clone()).or_default().0 += 1;
    }
    judged.sort();
    judged.dedup();
    for ad in judged.iter().filter_map(|click_id| clicks.get(click_id)) {
        expected.get_mut(ad).unwrap().1 += 1;
    }
    for token in tokens {
        daemon.received("ad0", token).await;
    }
    for (ad, expected) in expected {
        let token = daemon.append(vec![]).await.token;
        let rows = daemon.rows(&ad, token).await;
        let metrics: Vec<_> = rows.iter().map(|row| row.metrics.unwrap()).collect();
        let sum = |of: fn(&wire::Metrics) -> i64| metrics.iter().map(of).sum::<i64>();
        assert_eq!((sum(|m| m.gross_clicks), sum(|m| m.invalid_clicks)), expected, "{ad}");
    }
    daemon.stop().await;
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
