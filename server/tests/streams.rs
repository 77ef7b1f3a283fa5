//! Subscriptions and corrections over a real socket: nothing lost, nothing repeated, and how they end.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use recount_proto::v1::{self as wire, CountRow, Granularity, SubscribeResponse};
use support::{MINUTE_MS, NOON_MS, PATIENCE, Service, click, settings, verdict};
use tokio::time::timeout;
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt as _;

type State = BTreeMap<(String, i64), CountRow>;

fn all() -> wire::SubscribeRequest {
    wire::SubscribeRequest { granularity: Granularity::Minute.into(), snapshot: true, ..Default::default() }
}

fn reason(status: &Status) -> String {
    status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default()
}

async fn next(stream: &mut Streaming<SubscribeResponse>) -> Result<SubscribeResponse, Status> {
    let message = timeout(PATIENCE, stream.message()).await.expect("a message comes");
    message.map(|message| message.expect("the stream goes on"))
}

/// Applies changes; each must fit the state it changes.
fn apply(state: &mut State, message: &SubscribeResponse) {
    for change in &message.changes {
        let row = change.after.as_ref().or(change.before.as_ref()).unwrap();
        let key = (row.ad_id.clone(), row.window_start_ms);
        let metrics = |row: Option<&CountRow>| row.and_then(|row| row.metrics);
        assert_eq!(metrics(state.get(&key)), metrics(change.before.as_ref()), "{key:?}");
        match &change.after {
            Some(row) => state.insert(key, row.clone()),
            None => state.remove(&key),
        };
    }
}

/// Reads whole epochs until one at or past `epoch`; returns the last token.
async fn follow(stream: &mut Streaming<SubscribeResponse>, state: &mut State, epoch: u64) -> Vec<u8> {
    let mut last_epoch = None;
    loop {
        let message = next(stream).await.unwrap();
        assert!(last_epoch.is_none_or(|last| last <= message.epoch));
        last_epoch = Some(message.epoch);
        apply(state, &message);
        if !message.resume_token.is_empty() && message.epoch >= epoch {
            return message.resume_token;
        }
    }
}

async fn state_of(service: &mut Service, ads: &[&str]) -> State {
    let request = wire::GetCountsRequest {
        ad_ids: ads.iter().map(|ad| ad.to_string()).collect(),
        start_ms: NOON_MS - 600 * MINUTE_MS,
        end_ms: NOON_MS + 600 * MINUTE_MS,
        granularity: Granularity::Minute.into(),
        ..Default::default()
    };
    let rows = service.client.get_counts(request).await.unwrap().into_inner().rows;
    rows.into_iter().map(|row| ((row.ad_id.clone(), row.window_start_ms), row)).collect()
}

fn metrics(state: &State) -> Vec<(&(String, i64), wire::Metrics)> {
    state.iter().map(|(key, row)| (key, row.metrics.unwrap())).collect()
}

fn as_of(status: &wire::GetStatusResponse) -> u64 {
    status.snapshot.as_ref().unwrap().as_of
}

#[tokio::test]
async fn a_subscription_is_a_snapshot_and_then_every_change() {
    let mut service = Service::start(settings()).await;
    service.append(&[click("c1", "a", NOON_MS), click("c2", "b", NOON_MS)]).await;
    let mut stream = service.client.subscribe(all()).await.unwrap().into_inner();
    let mut state = State::new();
    follow(&mut stream, &mut state, 1).await;
    assert_eq!(state.len(), 2);
    for n in 0..10 {
        service
            .append(&[click(&format!("d{n}"), "a", NOON_MS + n * 10_000), verdict("c1", "INVALID", NOON_MS + n)])
            .await;
    }
    let status = service.append(&[verdict("c1", "VALID", NOON_MS + 99)]).await;
    follow(&mut stream, &mut state, as_of(&status)).await;
    let expected = state_of(&mut service, &["a", "b"]).await;
    assert_eq!(metrics(&state), metrics(&expected));
    drop(stream);
    service.stop().await.unwrap();
}

#[tokio::test]
async fn a_resumed_subscription_loses_and_repeats_nothing() {
    let mut service = Service::start(settings()).await;
    service.append(&[click("c1", "a", NOON_MS)]).await;
    let request = wire::SubscribeRequest { ad_ids: vec!["a".into()], ..all() };
    let mut stream = service.client.subscribe(request.clone()).await.unwrap().into_inner();
    let mut state = State::new();
    let token = follow(&mut stream, &mut state, 1).await;
    drop(stream);
    service.append(&[click("c2", "a", NOON_MS), click("c3", "b", NOON_MS)]).await;
    let status = service.append(&[click("c4", "a", NOON_MS)]).await;
    let resumed = wire::SubscribeRequest { resume_token: token.clone(), ..request.clone() };
    let mut stream = service.client.subscribe(resumed).await.unwrap().into_inner();
    follow(&mut stream, &mut state, as_of(&status)).await;
    let expected = state_of(&mut service, &["a"]).await;
    assert_eq!(metrics(&state), metrics(&expected));

    let other = wire::SubscribeRequest { resume_token: token, ad_ids: vec!["b".into()], ..request };
    let status = service.client.subscribe(other).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "RESUME_TOKEN_INVALID"));
    drop(stream);
    service.stop().await.unwrap();
}

#[tokio::test]
async fn a_token_that_left_the_history_is_refused() {
    let mut settings = settings();
    settings.engine.history.epochs = 2;
    settings.engine.epochs_in_flight = 1;
    let mut service = Service::start(settings).await;
    service.append(&[click("c", "a", NOON_MS)]).await;
    let mut stream = service.client.subscribe(all()).await.unwrap().into_inner();
    let token = follow(&mut stream, &mut State::new(), 1).await;
    drop(stream);
    for n in 0..6 {
        service.append(&[click(&format!("c{n}"), "a", NOON_MS)]).await;
    }
    let resumed = wire::SubscribeRequest { resume_token: token, ..all() };
    let status = service.client.subscribe(resumed).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::OutOfRange, "RESUME_TOO_OLD"));
    service.stop().await.unwrap();
}

#[tokio::test]
async fn a_slow_subscriber_is_let_go_with_a_token_and_can_resume() {
    let mut service = Service::start(settings()).await;
    service.append(&[click("c", "a", NOON_MS)]).await;
    let mut stream = service.client.subscribe(all()).await.unwrap().into_inner();
    let mut state = State::new();
    follow(&mut stream, &mut state, 1).await;
    // Nobody reads now. Every epoch changes many rows of long names, until all buffers on the way are full.
    let mut status = service.status().await;
    for epoch in 0..40 {
        let ad = |n: usize| format!("{}-{epoch}-{n}", "x".repeat(100));
        let clicks: Vec<_> = (0..1_000).map(|n| click(&format!("{epoch}-{n}"), &ad(n), NOON_MS)).collect();
        status = service.append(&clicks).await;
    }
    tokio::time::sleep(Duration::from_millis(600)).await;
    let refused = loop {
        match next(&mut stream).await {
            Ok(message) => apply(&mut state, &message),
            Err(refused) => break refused,
        }
    };
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::ResourceExhausted, "SLOW_SUBSCRIBER"));
    let details = refused.get_error_details();
    let resume_token = BASE64.decode(&details.error_info().unwrap().metadata["resume_token"]).unwrap();
    let resumed = wire::SubscribeRequest { resume_token, ..all() };
    let mut stream = service.client.subscribe(resumed).await.unwrap().into_inner();
    follow(&mut stream, &mut state, as_of(&status)).await;
    assert_eq!(state.len(), 1 + 40 * 1_000);
    drop(stream);
    service.stop().await.unwrap();
}

#[tokio::test]
async fn too_many_subscribers_are_refused_with_a_time_to_come_back() {
    let mut service = Service::start(settings()).await;
    let mut streams = Vec::new();
    for _ in 0..support::bounds().subscribers {
        streams.push(service.client.subscribe(all()).await.unwrap());
    }
    let status = service.client.subscribe(all()).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "TOO_MANY_SUBSCRIBERS"));
    assert!(status.get_error_details().retry_info().is_some());
    drop(streams);
    service.stop().await.unwrap();
}

#[tokio::test]
async fn corrections_are_streamed_from_an_epoch_on() {
    let mut service = Service::start(settings()).await;
    service.append(&[click("c1", "a", NOON_MS)]).await;
    // Moves the watermark past the first window.
    service.append(&[click("c2", "a", NOON_MS + 10 * MINUTE_MS)]).await;
    service.append(&[verdict("c1", "INVALID", NOON_MS)]).await;
    let status = service.append(&[verdict("c1", "VALID", NOON_MS + 1)]).await;
    let request = wire::StreamCorrectionsRequest { from_epoch: 0, follow: false };
    let mut stream = service.client.stream_corrections(request).await.unwrap().into_inner();
    let mut minutes = Vec::new();
    let mut complete = 0;
    while let Some(part) = timeout(PATIENCE, stream.message()).await.unwrap().unwrap() {
        for correction in part.corrections {
            let after = correction.after.clone().unwrap();
            if after.granularity() == Granularity::Minute {
                minutes.push((correction.cause().as_str_name(), after.revision, after.metrics.unwrap().clicks));
                let expected = format!("{}/MINUTE/{NOON_MS}/{}/a", service.lineage, after.revision);
                assert_eq!(correction.correction_id, expected);
            }
        }
        assert!(part.epoch_complete);
        complete = part.epoch;
    }
    assert_eq!(minutes, [("VERDICT", 1, 0), ("REVERSAL", 2, 1)]);
    assert_eq!(complete, as_of(&status), "the last epoch is told of");

    // Following goes on where the other ended.
    let request = wire::StreamCorrectionsRequest { from_epoch: complete + 1, follow: true };
    let mut stream = service.client.stream_corrections(request).await.unwrap().into_inner();
    service.append(&[click("late", "a", NOON_MS + 1)]).await;
    let part = loop {
        let part = timeout(PATIENCE, stream.message()).await.unwrap().unwrap().unwrap();
        if !part.corrections.is_empty() {
            break part;
        }
    };
    assert!(part.corrections.iter().all(|correction| correction.cause().as_str_name() == "LATE"));
    let request = wire::StreamCorrectionsRequest { from_epoch: 1_000_000, follow: true };
    let status = service.client.stream_corrections(request).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::OutOfRange, "AS_OF_TOO_NEW"));
    drop(stream);
    service.stop().await.unwrap();
}

#[tokio::test]
async fn shutdown_ends_subscriptions_with_a_token_and_within_its_time() {
    let mut service = Service::start(settings()).await;
    service.append(&[click("c", "a", NOON_MS)]).await;
    let mut stream = service.client.subscribe(all()).await.unwrap().into_inner();
    follow(&mut stream, &mut State::new(), 1).await;
    let (_client, run) = service.begin_stop();
    let ended = loop {
        match next(&mut stream).await {
            Ok(_) => {}
            Err(ended) => break ended,
        }
    };
    assert_eq!((ended.code(), reason(&ended).as_str()), (Code::Unavailable, "SHUTTING_DOWN"));
    assert!(!ended.get_error_details().error_info().unwrap().metadata["resume_token"].is_empty());
    timeout(Duration::from_secs(5), run).await.expect("the drain is bounded").unwrap().unwrap();
}
