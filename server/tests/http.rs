//! HTTP over a real socket: the same answers as gRPC's, refusals, streams that resume, and clients that behave badly.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use recount_proto::v1::{self as wire, Granularity};
use recount_server::convert::json::ToJson;
use serde_json::{Value, json};
use support::http::Event;
use support::{MINUTE_MS, NOON_MS, PATIENCE, Service, click, settings, verdict};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// Two ads, a duplicate, verdicts, a late click, broken lines.
async fn small() -> Service {
    let mut service = Service::start(settings()).await;
    let lines = [
        click("c1", "ad/a", NOON_MS),
        click("c1", "ad/a", NOON_MS + 1),
        click("c2", "ad/a", NOON_MS + MINUTE_MS),
        click("c3", "ad-b", NOON_MS),
        verdict("c2", "INVALID", NOON_MS + MINUTE_MS),
        verdict("never", "INVALID", NOON_MS),
        "{oops".to_string(),
        "{again".to_string(),
    ];
    service.append(&lines).await;
    service.append(&[click("m", "ad-b", NOON_MS + 5 * MINUTE_MS)]).await;
    service.append(&[verdict("c1", "INVALID", NOON_MS), click("old", "ad-b", NOON_MS - 8 * 86_400_000)]).await;
    service
}

fn range() -> String {
    format!("start={}&end={}", NOON_MS - 60 * MINUTE_MS, NOON_MS + 60 * MINUTE_MS)
}

fn counts_request() -> wire::GetCountsRequest {
    wire::GetCountsRequest {
        ad_ids: vec!["ad-b".into(), "ad/a".into()],
        start_ms: NOON_MS - 60 * MINUTE_MS,
        end_ms: NOON_MS + 60 * MINUTE_MS,
        granularity: Granularity::Minute.into(),
        ..Default::default()
    }
}

async fn json_of(service: &Service, path: &str) -> Value {
    let answer = service.http.get(path).await;
    assert_eq!((answer.status, answer.headers["content-type"].as_bytes()), (200, &b"application/json"[..]));
    answer.json()
}

#[tokio::test]
async fn every_read_answers_as_grpc_does() {
    let mut service = small().await;
    let path = format!("/v1/counts?ad_id=ad%2Fa&ad_id=ad-b&granularity=minute&{}", range());
    let expected = service.client.get_counts(counts_request()).await.unwrap().into_inner();
    assert!(expected.rows.len() > 3);
    assert_eq!(json_of(&service, &path).await, expected.to_json());

    let body = json!({"ad_ids": ["ad/a", "ad-b"], "startMs": (NOON_MS - 60 * MINUTE_MS).to_string(),
        "end_ms": NOON_MS + 60 * MINUTE_MS, "granularity": "MINUTE"});
    let posted = service.http.post("/v1/counts", &[("content-type", "application/json")], body.to_string()).await;
    assert_eq!(posted.json(), expected.to_json());

    let request = wire::ListTopAdsRequest { start_ms: NOON_MS, end_ms: NOON_MS + MINUTE_MS, ..Default::default() };
    let expected = service.client.list_top_ads(request).await.unwrap().into_inner();
    let path = format!("/v1/top?start={NOON_MS}&end=2023-11-14T12:01:00Z");
    assert_eq!(json_of(&service, &path).await, expected.to_json());

    let request = wire::ExplainCountRequest {
        ad_id: "ad/a".into(),
        granularity: Granularity::Hour.into(),
        window_start_ms: NOON_MS,
        ..Default::default()
    };
    let expected = service.client.explain_count(request).await.unwrap().into_inner();
    assert_eq!(expected.clicks.len(), 2);
    let path = "/v1/explain?ad_id=ad%2Fa&granularity=HOUR&window_start=2023-11-14T12:00:00Z";
    assert_eq!(json_of(&service, path).await, expected.to_json());

    let expected = service.status().await;
    assert_eq!(json_of(&service, "/v1/status").await, expected.to_json());
    let request = wire::ListSetAsideRequest::default();
    let expected = service.client.list_quarantined(request.clone()).await.unwrap().into_inner();
    assert_eq!(expected.records.len(), 2);
    assert_eq!(json_of(&service, "/v1/quarantine").await, expected.to_json());
    let expected = service.client.list_parked(request).await.unwrap().into_inner();
    assert_eq!(expected.records.len(), 1);
    assert_eq!(json_of(&service, "/v1/parked").await, expected.to_json());

    let request = wire::StreamCorrectionsRequest::default();
    let mut stream = service.client.stream_corrections(request).await.unwrap().into_inner();
    let mut expected = String::new();
    while let Some(message) = stream.message().await.unwrap() {
        expected += &format!("{}\n", message.to_json());
    }
    let answer = service.http.get("/v1/corrections").await;
    assert_eq!(answer.headers["content-type"], "application/x-ndjson");
    assert!(expected.contains("VERDICT"));
    assert_eq!(answer.text(), expected);
    service.stop().await.unwrap();
}

#[tokio::test]
async fn one_epoch_answers_alike_and_gone_ones_name_the_range() {
    let service = small().await;
    let path = format!("/v1/counts?ad_id=ad-b&granularity=MINUTE&as_of=1&{}", range());
    assert_eq!(json_of(&service, &path).await["snapshot"]["as_of"], 1);
    let answer = service.http.get(&path.replace("as_of=1", "as_of=99999")).await;
    assert_eq!(answer.refusal(), (400, "AS_OF_TOO_NEW".into()));
    let error = &answer.json()["error"];
    assert_eq!(error["code"], "OUT_OF_RANGE");
    assert!(error["details"]["since"].as_u64() < error["details"]["upper"].as_u64());
    service.stop().await.unwrap();
}

#[tokio::test]
async fn a_page_token_is_put_into_the_address_as_it_was_given() {
    let mut service = small().await;
    let whole = service.client.get_counts(counts_request()).await.unwrap().into_inner();
    let first = format!("/v1/counts?ad_id=ad-b&ad_id=ad%2Fa&granularity=minute&page_size=1&{}", range());
    for repeated in [true, false] {
        let mut page = json_of(&service, &first).await;
        let mut rows = page["rows"].as_array().unwrap().clone();
        while let Some(token) = page["next_page_token"].as_str().filter(|token| !token.is_empty()) {
            let path = match repeated {
                true => format!("{first}&page_token={token}"),
                false => format!("/v1/counts?page_size=1&page_token={token}"),
            };
            page = json_of(&service, &path).await;
            assert_eq!(page["snapshot"]["as_of"], whole.snapshot.as_ref().unwrap().as_of);
            rows.extend(page["rows"].as_array().unwrap().clone());
        }
        assert_eq!(Value::Array(rows), whole.rows.to_json());
    }
    let page = json_of(&service, &first).await;
    let token = page["next_page_token"].as_str().unwrap();
    let other = format!("/v1/counts?ad_id=other&page_token={token}");
    assert_eq!(service.http.get(&other).await.refusal(), (400, "PAGE_TOKEN_INVALID".into()));

    let page = json_of(&service, "/v1/quarantine?page_size=1&reason=unreadable").await;
    let token = page["next_page_token"].as_str().unwrap();
    let page = json_of(&service, &format!("/v1/quarantine?page_token={token}")).await;
    assert_eq!(page["records"].as_array().unwrap().len(), 1);

    service.append(&[verdict("early-1", "VALID", NOON_MS), verdict("early-2", "VALID", NOON_MS)]).await;
    let page = json_of(&service, "/v1/parked?page_size=1&reason=unmatched").await;
    let token = page["next_page_token"].as_str().unwrap();
    let rest = json_of(&service, &format!("/v1/parked?page_token={token}")).await;
    assert_eq!((page["records"].as_array().unwrap().len(), rest["records"].as_array().unwrap().len()), (1, 2));
    assert_ne!(page["records"], rest["records"]);
    service.stop().await.unwrap();
}

#[tokio::test]
async fn broken_requests_are_refused_with_what_is_wrong() {
    let service = small().await;
    let counts = |rest: &str| format!("/v1/counts?{}&{rest}", range());
    let many: String = (0..1_001).map(|n| format!("ad_id={n}&")).collect();
    let cases = [
        ("/v1/nothing".to_string(), 404, "ROUTE_UNKNOWN"),
        ("/v1/counts?ad_id=a".into(), 400, "PARAMETER_INVALID"),
        (counts("granularity=minute"), 400, "ADS_MISSING"),
        (counts("ad_id=a"), 400, "GRANULARITY_INVALID"),
        (counts("ad_id=a&granularity=week"), 400, "PARAMETER_INVALID"),
        (counts("ad_id=a&granularity=minute&ad=b"), 400, "PARAMETER_UNKNOWN"),
        (counts("ad_id=%ff&granularity=minute"), 400, "PARAMETER_INVALID"),
        (counts("ad_id=a&granularity=minute&page_size=100001"), 400, "PAGE_SIZE_INVALID"),
        (counts("ad_id=a&granularity=minute&page_size=x"), 400, "PARAMETER_INVALID"),
        (counts("ad_id=a&granularity=minute&page_token=AAAA"), 400, "PAGE_TOKEN_INVALID"),
        (counts("ad_id=a&granularity=minute&at_least=AAAA"), 400, "INGEST_TOKEN_INVALID"),
        (counts(&format!("{many}granularity=minute")), 400, "TOO_MANY_ADS"),
        ("/v1/top?start=0&end=60001".into(), 400, "RANGE_INVALID"),
        ("/v1/top?start=0&end=60000&order_by=fame".into(), 400, "METRIC_UNKNOWN"),
        ("/v1/explain?ad_id=a&granularity=hour&window_start=1".into(), 400, "WINDOW_START_INVALID"),
        ("/v1/explain?ad_id=a&granularity=hour".into(), 400, "PARAMETER_INVALID"),
        ("/v1/changes".into(), 400, "GRANULARITY_INVALID"),
        ("/v1/corrections?from_epoch=99999".into(), 400, "AS_OF_TOO_NEW"),
        ("/v1/status?x".into(), 400, "PARAMETER_UNKNOWN"),
    ];
    for (path, status, reason) in cases {
        assert_eq!(service.http.get(&path).await.refusal(), (status, reason.into()), "{path:.100}");
    }
    let post = |body: Vec<u8>| service.http.post("/v1/counts", &[], body);
    assert_eq!(post(b"{".to_vec()).await.refusal(), (400, "BODY_INVALID".into()));
    assert_eq!(post(br#"{"ads":[]}"#.to_vec()).await.refusal(), (400, "BODY_INVALID".into()));
    assert_eq!(post(vec![b' '; (1 << 20) + 1]).await.refusal(), (413, "BODY_TOO_LARGE".into()));
    assert_eq!(service.http.post("/v1/top", &[], "").await.refusal(), (405, "METHOD_NOT_ALLOWED".into()));
    service.stop().await.unwrap();
}

#[tokio::test]
async fn a_read_waits_for_its_token_as_long_as_the_caller_says() {
    let service = small().await;
    let token = recount_server::api::ingest_token(service.lineage, &[(0, 1 << 40)]);
    use base64::Engine as _;
    let token = base64::engine::general_purpose::URL_SAFE.encode(token);
    let path = format!("/v1/counts?ad_id=a&granularity=minute&at_least={token}&{}", range());
    let started = Instant::now();
    let answer = service.http.get(&format!("{path}&timeout=200ms")).await;
    assert_eq!(answer.refusal(), (504, "DEADLINE_EXCEEDED".into()));
    let answer = service.http.get_with(&path, &[("prefer", "wait=1")]).await;
    assert_eq!(answer.refusal(), (504, "DEADLINE_EXCEEDED".into()));
    assert!(Duration::from_millis(1_200) <= started.elapsed() && started.elapsed() < Duration::from_secs(5));
    service.stop().await.unwrap();
}

async fn follow(events: &mut support::http::Events, until: u64) -> Vec<Event> {
    let mut seen = Vec::new();
    loop {
        let event = events.next().await.unwrap();
        let epoch = event.data["epoch"].as_u64().unwrap();
        seen.push(event);
        if epoch >= until {
            return seen;
        }
    }
}

#[tokio::test]
async fn changes_come_as_events_and_resume_by_the_last_id() {
    let mut service = small().await;
    let newest = service.status().await.snapshot.unwrap().as_of;
    let path = "/v1/changes?granularity=minute&snapshot=true";
    let mut events = service.http.events(path, &[]).await;
    let first = events.next().await.unwrap();
    assert_eq!(first.data["epoch"], newest);
    assert_eq!(first.data["resume_token"].as_str(), first.id.as_deref());
    let all = wire::GetCountsRequest { ad_ids: vec!["ad/a".into(), "ad-b".into()], ..counts_request() };
    let rows = service.client.get_counts(all).await.unwrap().into_inner().rows;
    assert_eq!(first.data["changes"].as_array().unwrap().len(), rows.len());
    drop(events);

    for n in 0..3 {
        service.append(&[click(&format!("d{n}"), "ad-b", NOON_MS + n * MINUTE_MS)]).await;
    }
    let until = service.status().await.snapshot.unwrap().as_of;
    let id = first.id.unwrap();
    let mut events = service.http.events(path, &[("last-event-id", &id)]).await;
    let epochs: Vec<u64> = follow(&mut events, until).await.iter().map(|e| e.data["epoch"].as_u64().unwrap()).collect();
    assert_eq!(epochs, (newest + 1..=until).collect::<Vec<_>>());
    drop(events);
    let refused = service.http.get_with("/v1/changes?granularity=hour", &[("last-event-id", &id)]).await;
    assert_eq!(refused.refusal(), (400, "RESUME_TOKEN_INVALID".into()));
    service.stop().await.unwrap();
}

#[tokio::test]
async fn an_epoch_of_many_changes_is_one_event() {
    let mut settings = settings();
    settings.engine.epoch_records = 50_000;
    settings.epoch_interval = Duration::from_millis(500);
    let mut service = Service::start(settings).await;
    let ad = |n: usize| format!("{}-{n}", "x".repeat(100));
    let clicks: Vec<_> = (0..5_000).map(|n| click(&format!("c{n}"), &ad(n), NOON_MS)).collect();
    service.append(&clicks).await;
    let mut events = service.http.events("/v1/changes?granularity=day&snapshot", &[]).await;
    let event = events.next().await.unwrap();
    assert_eq!(event.data["changes"].as_array().unwrap().len(), 5_000);
    drop(events);
    service.stop().await.unwrap();
}

#[tokio::test]
async fn corrections_come_as_events_where_the_client_asks_for_them() {
    let mut service = small().await;
    let accept = ("accept", "text/event-stream");
    let mut events = service.http.events("/v1/corrections?follow=true", &[accept]).await;
    let first = events.next().await.unwrap();
    assert_eq!(first.data["corrections"][0]["cause"], "VERDICT");
    assert_eq!(first.id, Some(first.data["epoch"].to_string()));
    drop(events);
    service.append(&[verdict("c1", "VALID", NOON_MS + 9)]).await;
    let id = first.id.unwrap();
    let mut events = service.http.events("/v1/corrections?follow", &[accept, ("last-event-id", &id)]).await;
    let next = events.next().await.unwrap();
    assert!(next.data["epoch"].as_u64() > first.data["epoch"].as_u64());
    assert_eq!(next.data["corrections"][0]["cause"], "REVERSAL");
    drop(events);
    service.stop().await.unwrap();
}

#[tokio::test]
async fn a_slow_reader_of_events_is_let_go_with_its_token() {
    let mut service = Service::start(settings()).await;
    service.append(&[click("c", "a", NOON_MS)]).await;
    let mut events = service.http.events("/v1/changes?granularity=minute&snapshot", &[]).await;
    events.next().await.unwrap();
    for epoch in 0..40 {
        let ad = |n: usize| format!("{}-{epoch}-{n}", "x".repeat(100));
        let clicks: Vec<_> = (0..1_000).map(|n| click(&format!("{epoch}-{n}"), &ad(n), NOON_MS)).collect();
        service.append(&clicks).await;
    }
    sleep(Duration::from_millis(600)).await;
    let last = loop {
        let event = events.next().await.unwrap();
        if event.name == "error" {
            break event;
        }
    };
    assert_eq!(last.data["error"]["reason"], "SLOW_SUBSCRIBER");
    assert!(last.data["error"]["details"]["resume_token"].is_string());
    assert!(events.next().await.is_none());
    service.stop().await.unwrap();
}

#[tokio::test]
async fn metrics_and_probes_say_how_the_service_is() {
    let service = small().await;
    assert_eq!(service.http.get("/livez").await.text(), "alive\n");
    assert_eq!(service.http.get("/readyz").await.text(), "ready\n");
    let answer = service.http.get("/metrics").await;
    let text = answer.text();
    for line in [
        "recount_records_total{kind=\"click\",outcome=\"received\"} 5",
        "recount_records_total{kind=\"click\",outcome=\"parked\"} 1",
        "recount_records_total{kind=\"verdict\",outcome=\"received\"} 3",
        "recount_quarantined_records_total{reason=\"unreadable\"} 2",
        "recount_freshness_seconds{clock=\"event\"} ",
        "recount_corrections_total{cause=\"VERDICT\"} ",
        "recount_clicks ",
        "recount_duplicates_total ",
        "recount_epoch ",
        "# EOF",
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
    assert!(!text.contains("ad-b"), "no label is unbounded");
    service.stop().await.unwrap();
}

#[tokio::test]
async fn garbage_and_silence_hurt_nobody() {
    let service = small().await;
    // Clients that say nothing, half a head, or no HTTP at all.
    let mut silent = TcpStream::connect(service.http.addr).await.unwrap();
    let mut half = TcpStream::connect(service.http.addr).await.unwrap();
    half.write_all(b"GET /v1/status HTTP/1.1\r\nhost: x\r\n").await.unwrap();
    let mut garbage = TcpStream::connect(service.http.addr).await.unwrap();
    garbage.write_all(&[0xff; 4_096]).await.unwrap();
    let mut head = TcpStream::connect(service.http.addr).await.unwrap();
    let long = format!("GET /v1/status?{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(1 << 20));
    let _ = head.write_all(long.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, head.read_to_end(&mut answer)).await.unwrap();
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(service.http.get("/livez").await.status, 200);
    half.write_all(b"\r\n").await.unwrap();
    let mut answer = [0; 12];
    timeout(PATIENCE, half.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    // A service that goes down does not wait for those who say nothing.
    let started = Instant::now();
    service.stop().await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    assert_eq!(timeout(PATIENCE, silent.read(&mut answer)).await.unwrap().unwrap_or(0), 0);
}
