//! Events in, through the real binary: acknowledged when durable, readable by their token, refused one by one.

#![allow(clippy::unwrap_used)]

mod support;

use std::io::Write as _;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use prost::Message as _;
use recount_proto::v1 as wire;
use serde_json::{Value, json};
use support::daemon::{Daemon, click};
use support::{NOON_MS, PATIENCE};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

const JSON: (&str, &str) = ("content-type", "application/json");
const LINES: (&str, &str) = ("content-type", "application/x-ndjson");
const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");

type Headers = Vec<(&'static str, &'static str)>;

fn reason(status: &Status) -> String {
    status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default()
}

fn line(click_id: &str, ad_id: &str) -> String {
    support::click(click_id, ad_id, NOON_MS)
}

fn token(answer: &Value) -> Vec<u8> {
    BASE64.decode(answer["token"].as_str().unwrap()).unwrap()
}

#[tokio::test]
async fn what_is_acknowledged_is_read_with_its_token() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(dir.path()).await;
    for n in 0..20 {
        let answer = daemon.append(vec![click(&format!("c{n}"), "ad", NOON_MS)]).await;
        assert_eq!((answer.request_id.as_str(), answer.accepted, answer.refusals.len()), ("r", 1, 0));
        assert_eq!(daemon.received("ad", answer.token).await, n + 1, "the read includes what was acknowledged");
    }
    let none = daemon.append(vec![]).await;
    assert_eq!(none.accepted, 0);
    assert_eq!(daemon.received("ad", none.token).await, 20);
    let status = daemon.status().await;
    let positions = &status.snapshot.unwrap().positions;
    assert!(positions.len() == 4 && positions.iter().all(|position| position.source == "log"), "{positions:?}");
    let (code, stderr) = daemon.stop().await;
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
}

#[tokio::test]
async fn every_form_of_body_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(dir.path()).await;
    let lines = format!("{}\n\n{}\n", line("l1", "ad"), line("l2", "ad"));
    let message = wire::AppendRequest { request_id: "mine".into(), events: vec![click("p1", "ad", NOON_MS)] };
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let bodies: Vec<(Headers, Vec<u8>, u64)> = vec![
        (vec![JSON], line("j1", "ad").into_bytes(), 1),
        (
            vec![("content-type", "application/json; charset=utf-8")],
            format!("[{},\n {}]", line("a1", "ad"), line("a2", "ad")).into(),
            2,
        ),
        (vec![JSON], b"[]".to_vec(), 0),
        (vec![LINES], lines.clone().into_bytes(), 2),
        (vec![LINES, ("content-encoding", "gzip")], gzip(lines.replace("\"l", "\"g").as_bytes()), 2),
        (
            vec![LINES, ("content-encoding", "zstd")],
            zstd::encode_all(lines.replace("\"l", "\"z").as_bytes(), 3).unwrap(),
            2,
        ),
        (vec![PROTOBUF], message.encode_to_vec(), 1),
    ];
    let mut expected = 0;
    for (headers, body, events) in bodies {
        let answer = daemon.http.post("/v1/events", &headers, body).await;
        assert_eq!(answer.status, 202, "{}", answer.text());
        let answer = answer.json();
        assert_eq!((&answer["accepted"], &answer["refusals"]), (&json!(events), &json!([])));
        if headers[0] == PROTOBUF {
            assert_eq!(answer["request_id"], "mine");
        }
        expected += events as i64;
        assert_eq!(daemon.received("ad", token(&answer)).await, expected);
    }
    // The same token, as a client of HTTP has it.
    let answer = daemon.http.post("/v1/events", &[JSON], line("last", "ad")).await.json();
    let token = answer["token"].as_str().unwrap();
    let path = format!("/v1/counts?ad_id=ad&granularity=day&start=2023-11-14T00:00:00Z&end={NOON_MS}&at_least={token}");
    assert_eq!(daemon.http.get(&path).await.json()["rows"][0]["metrics"]["received"], expected + 1);
    let explain = format!("/v1/explain?ad_id=ad&granularity=hour&window_start={NOON_MS}");
    let clicks = daemon.http.get(&explain).await.json()["clicks"].as_array().unwrap().len();
    assert_eq!(clicks as i64, expected + 1, "the log has the words behind every click");
    daemon.stop().await;
}

#[tokio::test]
async fn broken_events_are_refused_alone() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(dir.path()).await;
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    let events = vec![
        click("", "ad", NOON_MS),
        click("good", "ad", NOON_MS),
        click("future", "ad", now_ms + 400_000),
        wire::Event { body: None },
        click("soon", "ad", now_ms + 200_000),
        click(&"x".repeat(129), "ad", NOON_MS),
    ];
    let answer = daemon.append(events).await;
    let refusals: Vec<_> = answer.refusals.iter().map(|refusal| (refusal.index, refusal.reason.as_str())).collect();
    let expected = [(0, "click_id_missing"), (2, "timestamp_in_future"), (3, "body_missing"), (5, "click_id_too_long")];
    assert_eq!((answer.accepted, &refusals[..]), (2, &expected[..]));
    assert!(answer.refusals.iter().all(|refusal| !refusal.detail.is_empty()));

    let body = format!("{{oops\n{}\n{}\n[1]\n", line("c", "ad"), line("d", "ad").replace("1000000", "-1"));
    let answer = daemon.http.post("/v1/events", &[LINES], body).await;
    assert_eq!(answer.status, 202);
    let answer = answer.json();
    let refusals: Vec<_> =
        answer["refusals"].as_array().unwrap().iter().map(|one| (&one["index"], &one["reason"])).collect();
    let (unreadable, price) = (json!("unreadable"), json!("price_out_of_range"));
    assert_eq!(refusals, [(&json!(0), &unreadable), (&json!(2), &price), (&json!(3), &unreadable)]);
    // Readable, and broken: there is something to tell of each.
    let answer = daemon.http.post("/v1/events", &[JSON], "[{},7]").await;
    assert_eq!((answer.status, &answer.json()["accepted"]), (202, &json!(0)));

    let long = format!("{{\"click\":{{\"x\":\"{}\"}}}}", "x".repeat(1 << 20));
    let answer = daemon.http.post("/v1/events", &[JSON], long).await.json();
    assert_eq!(answer["refusals"][0]["reason"], "record_too_long");
    let status = daemon.status().await;
    assert_eq!(status.quarantined, 0, "what is refused never enters the log");
    let metrics = daemon.http.get("/metrics").await;
    for line in [
        "recount_refused_events_total{reason=\"click_id_missing\"} 1",
        "recount_ingested_events_total 3",
        "recount_log_sync_seconds_count ",
    ] {
        assert!(metrics.text().contains(line), "{line} is missing in\n{}", metrics.text());
    }
    daemon.stop().await;
}

#[tokio::test]
async fn bodies_that_are_none_are_refused_whole() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path()).await;
    let big = vec![b' '; (16 << 20) + 1];
    let bomb = zstd::encode_all(&big[..], 3).unwrap();
    let coded = |coding| [LINES, ("content-encoding", coding)];
    let cases: Vec<(Headers, Vec<u8>, u16, &str)> = vec![
        (vec![JSON], b"not json".to_vec(), 400, "BODY_INVALID"),
        (vec![JSON], b"".to_vec(), 400, "BODY_INVALID"),
        (vec![JSON], b"[{},".to_vec(), 400, "BODY_INVALID"),
        (vec![LINES], b"garbage\nand more\n".to_vec(), 400, "BODY_INVALID"),
        (vec![LINES], vec![0xff; 1_000], 400, "BODY_INVALID"),
        (vec![PROTOBUF], vec![0xff; 1_000], 400, "BODY_INVALID"),
        (coded("gzip").to_vec(), b"no gzip".to_vec(), 400, "BODY_INVALID"),
        (coded("zstd").to_vec(), b"no zstd".to_vec(), 400, "BODY_INVALID"),
        (coded("br").to_vec(), b"{}".to_vec(), 415, "MEDIA_TYPE_UNKNOWN"),
        (vec![("content-type", "text/plain")], b"{}".to_vec(), 415, "MEDIA_TYPE_UNKNOWN"),
        (vec![], b"{}".to_vec(), 415, "MEDIA_TYPE_UNKNOWN"),
        (vec![LINES], big, 413, "BODY_TOO_LARGE"),
        (coded("zstd").to_vec(), bomb, 413, "BODY_TOO_LARGE"),
        (vec![LINES], b"{}\n".repeat(10_001), 400, "TOO_MANY_REFUSALS"),
    ];
    for (headers, body, status, reason) in cases {
        let answer = daemon.http.post("/v1/events", &headers, body).await;
        assert_eq!(answer.refusal(), (status, reason.into()), "{headers:?}: {}", answer.text());
    }
    let mut ingest = daemon.ingest.clone();
    let many = wire::AppendRequest { events: vec![wire::Event::default(); 10_001], ..Default::default() };
    let status = ingest.append(many).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "TOO_MANY_EVENTS"));
    let large = wire::AppendRequest { request_id: "x".repeat(5 << 20), ..Default::default() };
    assert_eq!(ingest.append(large).await.unwrap_err().code(), Code::OutOfRange);
    // A client that never ends its body is let go, and nobody waits for it.
    let mut slow = TcpStream::connect(daemon.http.addr).await.unwrap();
    let head = "POST /v1/events?timeout=300ms HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{";
    slow.write_all(head.as_bytes()).await.unwrap();
    let started = Instant::now();
    let mut answer = [0; 12];
    timeout(PATIENCE, slow.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"HTTP/1.1 504");
    assert!(started.elapsed() < Duration::from_secs(3));
    daemon.stop().await;
}

/// Commits wait for their time, so that what waits for the disk fills its room.
#[tokio::test]
async fn too_much_at_once_is_refused_with_when_to_come_again() {
    let dir = tempfile::tempdir().unwrap();
    let settings = [("STORE__COMMIT_WINDOW", "2s"), ("STORE__QUEUE_BYTES", "16MiB")];
    let mut daemon = Daemon::start_with(dir.path(), &settings).await;
    let many = |name: &str| -> String {
        let pad = "x".repeat(900);
        let click = |n| {
            format!(
                r#"{{"click":{{"click_id":"{name}-{n}","ad_id":"ad","timestamp":{NOON_MS},"user_agent":"{pad}"}}}}"#
            )
        };
        (0..11_000).map(|n| click(n) + "\n").collect()
    };
    daemon.append(vec![click("first", "ad", NOON_MS)]).await;
    let (http, bodies) = (&daemon.http, [many("a"), many("b")]);
    let send = |body: &String| http.post("/v1/events", &[LINES], body.clone());
    let (a, b) = tokio::join!(send(&bodies[0]), send(&bodies[1]));
    let refused = if a.status == 429 { &a } else { &b };
    assert_eq!(refused.refusal(), (429, "INGEST_BUSY".to_owned()), "{} and {}", a.status, b.status);
    assert!(refused.headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap() >= 1);
    let mut tokens = Vec::new();
    for body in &bodies {
        let answer = send(body).await;
        assert_eq!(answer.status, 202, "{}", answer.text());
        tokens.push(token(&answer.json()));
    }
    let [busy] = daemon.metrics(["log_refused_appends_total"]).await;
    assert!(busy >= 1.0, "{busy} appends were refused");
    daemon.received("ad", tokens.swap_remove(0)).await;
    let day = &daemon.rows("ad", tokens.swap_remove(0)).await[0].metrics.unwrap();
    assert_eq!(day.received - day.duplicates, 22_001, "copies count once");
}

#[tokio::test]
async fn a_stream_answers_every_request_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(dir.path()).await;
    let (sender, requests) = tokio::sync::mpsc::channel(4);
    let mut answers = {
        let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
        let mut ingest = daemon.ingest.clone();
        let opening = tokio::spawn(async move { ingest.append_stream(requests).await });
        for n in 0..3 {
            sender.send(request(n)).await.unwrap();
        }
        opening.await.unwrap().unwrap().into_inner()
    };
    let sending = tokio::spawn(async move {
        for n in 3..300 {
            sender.send(request(n)).await.unwrap();
        }
    });
    let mut last = None;
    for n in 0..300 {
        let answer = timeout(PATIENCE, answers.message()).await.unwrap().unwrap().unwrap();
        assert_eq!((answer.request_id, answer.accepted), (n.to_string(), 50));
        last = Some(answer.token);
    }
    sending.await.unwrap();
    assert!(timeout(PATIENCE, answers.message()).await.unwrap().unwrap().is_none());
    // One token is of one request; the sum of all is there once every one has been waited for.
    daemon.received("ad", last.unwrap()).await;
    let all = async {
        while daemon.status().await.received < 15_000 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, all).await.unwrap();
    daemon.stop().await;
}

fn request(n: usize) -> wire::AppendRequest {
    let events = (0..50).map(|event| click(&format!("{n}-{event}"), "ad", NOON_MS)).collect();
    wire::AppendRequest { request_id: n.to_string(), events }
}

#[tokio::test]
async fn a_stream_ends_with_a_reason_where_the_service_goes_down() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(dir.path()).await;
    let (sender, requests) = tokio::sync::mpsc::channel(4);
    sender.send(request(0)).await.unwrap();
    let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
    let mut answers = daemon.ingest.append_stream(requests).await.unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap().unwrap().accepted, 50);
    let stopping = tokio::spawn(daemon.stop());
    let status = timeout(PATIENCE, answers.message()).await.unwrap().unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "SHUTTING_DOWN"));
    assert_eq!(stopping.await.unwrap().0, Some(0));
}
