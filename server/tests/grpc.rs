//! Every call over a real socket: answers, pages, refusals, deadlines, and how the service ends.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use recount_proto::v1::read_at::At;
use recount_proto::v1::{self as wire, Granularity, ReadAt};
use recount_server::api::ingest_token;
use recount_server::server::Input;
use support::{MINUTE_MS, NOON_MS, Service, click, settings, verdict};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

fn counts_request(ads: &[&str]) -> wire::GetCountsRequest {
    wire::GetCountsRequest {
        ad_ids: ads.iter().map(|ad| ad.to_string()).collect(),
        start_ms: NOON_MS - 60 * MINUTE_MS,
        end_ms: NOON_MS + 60 * MINUTE_MS,
        granularity: Granularity::Minute.into(),
        ..Default::default()
    }
}

fn as_of(epoch: u64) -> Option<ReadAt> {
    Some(ReadAt { at: Some(At::AsOf(epoch)) })
}

fn reason(status: &Status) -> String {
    status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default()
}

fn metadata(status: &Status, name: &str) -> String {
    status.get_error_details().error_info().unwrap().metadata[name].clone()
}

/// Two ads, a duplicate, a verdict, a broken line.
async fn small() -> (Service, wire::GetStatusResponse) {
    let mut service = Service::start(settings()).await;
    let status = service
        .append(&[
            click("c1", "ad-a", NOON_MS),
            click("c1", "ad-a", NOON_MS + 1),
            click("c2", "ad-a", NOON_MS + MINUTE_MS),
            click("c3", "ad-b", NOON_MS),
            verdict("c2", "INVALID", NOON_MS + MINUTE_MS),
            verdict("never", "INVALID", NOON_MS),
            "{oops".to_string(),
        ])
        .await;
    (service, status)
}

#[tokio::test]
async fn counts_are_exact_and_name_their_epoch() {
    let (mut service, _) = small().await;
    let answer = service.client.get_counts(counts_request(&["ad-b", "ad-a", "none"])).await.unwrap().into_inner();
    let rows: Vec<_> = answer
        .rows
        .iter()
        .map(|row| {
            let m = row.metrics.unwrap();
            (row.ad_id.as_str(), row.window_start_ms - NOON_MS, m.received, m.duplicates, m.clicks, m.invalid_clicks)
        })
        .collect();
    assert_eq!(rows, [("ad-a", 0, 2, 1, 1, 0), ("ad-a", MINUTE_MS, 1, 0, 0, 1), ("ad-b", 0, 1, 0, 1, 0)]);
    let snapshot = answer.snapshot.unwrap();
    assert!(snapshot.since <= snapshot.as_of && snapshot.as_of < snapshot.upper);
    assert_eq!(snapshot.positions[0].source, service.path.to_str().unwrap());
    service.stop().await.unwrap();
}

#[tokio::test]
async fn the_status_accounts_for_every_record() {
    let (service, status) = small().await;
    assert_eq!((status.records_in, status.received, status.verdicts), (7, 4, 2));
    assert_eq!((status.parked, status.quarantined), (0, 1));
    assert_eq!(status.quarantined_by_reason["unreadable"], 1);
    service.stop().await.unwrap();
}

#[tokio::test]
async fn pages_are_all_read_at_the_epoch_of_the_first() {
    let mut service = Service::start(settings()).await;
    let clicks: Vec<_> = (0..50).map(|n| click(&format!("c{n}"), "ad", NOON_MS + n * MINUTE_MS / 2)).collect();
    service.append(&clicks).await;
    let whole = service.client.get_counts(counts_request(&["ad"])).await.unwrap().into_inner();
    let mut request = wire::GetCountsRequest { page_size: 7, ..counts_request(&["ad"]) };
    let mut rows = Vec::new();
    loop {
        let page = service.client.get_counts(request.clone()).await.unwrap().into_inner();
        assert!(page.rows.len() <= 7);
        assert_eq!(page.snapshot.unwrap().as_of, whole.snapshot.as_ref().unwrap().as_of);
        rows.extend(page.rows);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
        // The state moves on between two pages; the listing does not.
        let number = rows.len();
        service.append(&[click(&format!("late-{number}"), "ad", NOON_MS)]).await;
    }
    assert_eq!(rows, whole.rows);
    service.stop().await.unwrap();
}

#[tokio::test]
async fn page_tokens_serve_their_own_request_alone() {
    let (mut service, _) = small().await;
    let request = wire::GetCountsRequest { page_size: 1, ..counts_request(&["ad-a"]) };
    let token = service.client.get_counts(request.clone()).await.unwrap().into_inner().next_page_token;
    let refused = |request: wire::GetCountsRequest| {
        let mut client = service.client.clone();
        async move { client.get_counts(request).await.unwrap_err() }
    };
    let other = refused(wire::GetCountsRequest { page_token: token.clone(), ..counts_request(&["ad-b"]) }).await;
    assert_eq!((other.code(), reason(&other).as_str()), (Code::InvalidArgument, "PAGE_TOKEN_INVALID"));
    let mut damaged = token.clone();
    damaged[5] ^= 1;
    let damaged = refused(wire::GetCountsRequest { page_token: damaged, ..request.clone() }).await;
    assert_eq!(reason(&damaged), "PAGE_TOKEN_INVALID");
    // Another page size is no other request.
    let next = wire::GetCountsRequest { page_token: token, page_size: 100, ..request };
    assert_eq!(service.client.get_counts(next).await.unwrap().into_inner().rows.len(), 1);
    service.stop().await.unwrap();
}

#[tokio::test]
async fn broken_requests_are_refused_with_a_reason_and_a_field() {
    let (mut service, _) = small().await;
    let good = counts_request(&["ad-a"]);
    let many: Vec<String> = (0..1_001).map(|n| n.to_string()).collect();
    let cases = [
        (wire::GetCountsRequest { ad_ids: vec![], ..good.clone() }, "ADS_MISSING", "ad_ids"),
        (wire::GetCountsRequest { ad_ids: many, ..good.clone() }, "TOO_MANY_ADS", "ad_ids"),
        (wire::GetCountsRequest { ad_ids: vec!["x".repeat(129)], ..good.clone() }, "AD_ID_INVALID", "ad_ids"),
        (wire::GetCountsRequest { ad_ids: vec![String::new()], ..good.clone() }, "AD_ID_INVALID", "ad_ids"),
        (wire::GetCountsRequest { granularity: 0, ..good.clone() }, "GRANULARITY_INVALID", "granularity"),
        (wire::GetCountsRequest { granularity: 99, ..good.clone() }, "GRANULARITY_INVALID", "granularity"),
        (wire::GetCountsRequest { end_ms: i64::MAX, ..good.clone() }, "RANGE_TOO_LONG", "end_ms"),
        (wire::GetCountsRequest { end_ms: good.start_ms - 1, ..good.clone() }, "RANGE_INVALID", "end_ms"),
        (wire::GetCountsRequest { page_size: 100_001, ..good.clone() }, "PAGE_SIZE_INVALID", "page_size"),
        (wire::GetCountsRequest { page_size: -1, ..good.clone() }, "PAGE_SIZE_INVALID", "page_size"),
    ];
    for (request, expected, field) in cases {
        let status = service.client.get_counts(request).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, expected));
        assert_eq!(status.get_error_details().bad_request().unwrap().field_violations[0].field, field);
    }
    service.stop().await.unwrap();
}

#[tokio::test]
async fn an_epoch_that_can_not_be_read_is_refused_with_the_readable_range() {
    let mut settings = settings();
    settings.engine.history.epochs = 2;
    settings.engine.epochs_in_flight = 1;
    let mut service = Service::start(settings).await;
    let first = wire::GetCountsRequest { page_size: 1, ..counts_request(&["ad"]) };
    service.append(&[click("a", "ad", NOON_MS), click("b", "ad", NOON_MS + MINUTE_MS)]).await;
    let token = service.client.get_counts(first.clone()).await.unwrap().into_inner().next_page_token;
    for n in 0..5 {
        service.append(&[click(&format!("c{n}"), "ad", NOON_MS)]).await;
    }
    let old = wire::GetCountsRequest { read: as_of(1), ..counts_request(&["ad"]) };
    let status = service.client.get_counts(old).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::OutOfRange, "AS_OF_TOO_OLD"));
    let (since, upper) = (metadata(&status, "since"), metadata(&status, "upper"));
    assert!(since.parse::<u64>().unwrap() < upper.parse::<u64>().unwrap());
    let new = wire::GetCountsRequest { read: as_of(1_000_000), ..counts_request(&["ad"]) };
    let status = service.client.get_counts(new).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::OutOfRange, "AS_OF_TOO_NEW"));
    // A page whose epoch has gone is no page of any other epoch.
    let status = service.client.get_counts(wire::GetCountsRequest { page_token: token, ..first }).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::OutOfRange, "AS_OF_TOO_OLD"));
    service.stop().await.unwrap();
}

#[tokio::test]
async fn the_same_epoch_answers_the_same_however_much_comes_later() {
    let (mut service, status) = small().await;
    let epoch = status.snapshot.unwrap().as_of;
    let request = wire::GetCountsRequest { read: as_of(epoch), ..counts_request(&["ad-a", "ad-b"]) };
    let before = service.client.get_counts(request.clone()).await.unwrap().into_inner();
    service.append(&[click("c9", "ad-a", NOON_MS), verdict("c1", "INVALID", NOON_MS)]).await;
    let after = service.client.get_counts(request).await.unwrap().into_inner();
    assert_eq!(before.rows, after.rows);
    service.stop().await.unwrap();
}

#[tokio::test]
async fn top_ads_come_in_order_of_the_metric() {
    let (mut service, _) = small().await;
    let request = wire::ListTopAdsRequest { start_ms: NOON_MS, end_ms: NOON_MS + MINUTE_MS, ..Default::default() };
    let answer = service.client.list_top_ads(request.clone()).await.unwrap().into_inner();
    let ads: Vec<_> = answer.ads.iter().map(|ad| (ad.ad_id.as_str(), ad.metrics.unwrap().clicks)).collect();
    assert_eq!(ads, [("ad-a", 1), ("ad-b", 1)], "ties are broken by the ad");
    assert!(answer.ads.iter().all(|ad| ad.unique_users_known && ad.metrics.unwrap().unique_users == 1));

    let received = wire::ListTopAdsRequest {
        end_ms: NOON_MS + 3 * MINUTE_MS,
        order_by: "received".into(),
        limit: 1,
        ..request.clone()
    };
    let answer = service.client.list_top_ads(received).await.unwrap().into_inner();
    assert_eq!(answer.ads.len(), 1);
    assert_eq!((answer.ads[0].ad_id.as_str(), answer.ads[0].metrics.unwrap().received), ("ad-a", 3));
    assert!(!answer.ads[0].unique_users_known);

    let cases = [
        (wire::ListTopAdsRequest { start_ms: NOON_MS + 1, ..request.clone() }, "RANGE_INVALID"),
        (wire::ListTopAdsRequest { end_ms: NOON_MS, ..request.clone() }, "RANGE_INVALID"),
        (wire::ListTopAdsRequest { order_by: "fame".into(), ..request.clone() }, "METRIC_UNKNOWN"),
        (wire::ListTopAdsRequest { limit: 10_001, ..request.clone() }, "LIMIT_INVALID"),
        (
            wire::ListTopAdsRequest { order_by: "unique_users".into(), end_ms: NOON_MS + 2 * MINUTE_MS, ..request },
            "UNIQUE_USERS_NEED_ONE_WINDOW",
        ),
    ];
    for (request, expected) in cases {
        let status = service.client.list_top_ads(request).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, expected));
    }
    service.stop().await.unwrap();
}

#[tokio::test]
async fn explanations_show_clicks_copies_and_verdicts_with_their_words() {
    let (mut service, _) = small().await;
    let request = |start_ms| wire::ExplainCountRequest {
        ad_id: "ad-a".into(),
        granularity: Granularity::Minute.into(),
        window_start_ms: start_ms,
        ..Default::default()
    };
    let first = service.client.explain_count(request(NOON_MS)).await.unwrap().into_inner();
    assert_eq!(first.row.unwrap().metrics.unwrap().received, 2);
    let [c1] = first.clicks.as_slice() else { panic!("{:?}", first.clicks) };
    assert_eq!((c1.click_id.as_str(), c1.user_id.as_str(), c1.copies), ("c1", "u-c1", 2));
    assert_eq!((c1.timestamp_ms, c1.price_micros, c1.invalid), (NOON_MS, 1_000_000, false));
    assert_eq!(c1.other_copies[0].timestamp_ms, NOON_MS + 1);
    assert!(!c1.other_copies[0].conflicting);

    let second = service.client.explain_count(request(NOON_MS + MINUTE_MS)).await.unwrap().into_inner();
    let c2 = &second.clicks[0];
    assert!(c2.invalid);
    assert_eq!((c2.reason.as_str(), c2.model_version.as_str()), ("givt:datacenter", "m7"));
    assert!(c2.verdicts[0].stands);
    assert_eq!(c2.verdicts[0].decision, "INVALID");

    let none = service.client.explain_count(request(NOON_MS + 9 * MINUTE_MS)).await.unwrap().into_inner();
    assert!(none.row.is_none() && none.clicks.is_empty());
    let status = service.client.explain_count(request(NOON_MS + 1)).await.unwrap_err();
    assert_eq!(reason(&status), "WINDOW_START_INVALID");

    // The file is all the evidence there is: where it is gone, the click still counts and its words have expired.
    std::fs::remove_file(&service.path).unwrap();
    let expired = service.client.explain_count(request(NOON_MS)).await.unwrap().into_inner();
    assert_eq!(expired.clicks[0].reason, "evidence_expired");
    assert_eq!(expired.clicks[0].copies, 2);
    service.stop().await.unwrap();
}

#[tokio::test]
async fn records_set_aside_are_listed_in_pages_that_end() {
    let mut service = Service::start(settings()).await;
    let broken: Vec<String> = (0..7).map(|n| format!("{{broken {n}")).collect();
    service.append(&broken).await;
    service.append(&[click("x", &"a".repeat(129), NOON_MS), verdict("never", "VALID", NOON_MS)]).await;
    let mut request = wire::ListSetAsideRequest { page_size: 3, ..Default::default() };
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    loop {
        let page = service.client.list_quarantined(request.clone()).await.unwrap().into_inner();
        for record in &page.records {
            assert!(record.payload_length as usize == record.payload.len() && !record.detail.is_empty());
            *reasons.entry(record.reason.clone()).or_default() += 1;
        }
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
        service.append(&["more rubbish".to_string()]).await;
    }
    assert_eq!(reasons, BTreeMap::from([("unreadable".into(), 7), ("ad_id_too_long".into(), 1)]));
    let one = wire::ListSetAsideRequest { reason: "ad_id_too_long".into(), ..Default::default() };
    assert_eq!(service.client.list_quarantined(one).await.unwrap().into_inner().records.len(), 1);
    assert!(
        service.client.list_parked(wire::ListSetAsideRequest::default()).await.unwrap().into_inner().records.is_empty()
    );
    let unmatched = wire::ListSetAsideRequest { reason: "unmatched".into(), ..Default::default() };
    let unmatched = service.client.list_parked(unmatched).await.unwrap().into_inner().records;
    assert_eq!(unmatched.len(), 1);
    assert!(String::from_utf8_lossy(&unmatched[0].payload).contains("\"never\""));
    service.stop().await.unwrap();
}

#[tokio::test]
async fn unmatched_verdicts_are_listed_in_pages_as_of_the_first() {
    let mut service = Service::start(settings()).await;
    let id = |number: usize| format!("early-{number}");
    let early: Vec<String> = (0..10).map(|number| verdict(&id(number), "INVALID", NOON_MS)).collect();
    service.append(&[early, vec![click("c", "ad-a", NOON_MS), verdict("c", "VALID", NOON_MS)]].concat()).await;
    let unmatched = wire::ListSetAsideRequest { reason: "unmatched".into(), ..Default::default() };
    let whole = service.client.list_parked(unmatched.clone()).await.unwrap().into_inner();
    assert_eq!((whole.records.len(), whole.next_page_token.len()), (10, 0));
    let offsets: Vec<i64> = whole.records.iter().map(|one| one.position.as_ref().unwrap().next_offset).collect();
    assert!(offsets.is_sorted(), "a page is in the order of positions: {offsets:?}");

    let mut request = wire::ListSetAsideRequest { page_size: 3, ..unmatched.clone() };
    let (mut listed, mut pages) = (Vec::new(), Vec::new());
    loop {
        let page = service.client.list_parked(request.clone()).await.unwrap().into_inner();
        pages.push(page.records.len());
        listed.extend(page.records);
        if page.next_page_token.is_empty() {
            break;
        }
        // What a page leaves out is as in the first.
        request = wire::ListSetAsideRequest { page_token: page.next_page_token, page_size: 3, ..Default::default() };
        // Meanwhile one of the clicks comes, and another verdict without one.
        let next = pages.len();
        service.append(&[click(&id(next), "ad-a", NOON_MS), verdict(&format!("later-{next}"), "VALID", NOON_MS)]).await;
    }
    assert_eq!(pages, [3, 3, 3, 1]);
    listed.sort_by_key(|one| one.position.as_ref().unwrap().next_offset);
    assert_eq!(listed, whole.records);
    let now = service.client.list_parked(unmatched).await.unwrap().into_inner().records;
    assert_eq!(now.len(), 10, "three clicks came, and three verdicts without one");

    let of_another_list = wire::ListSetAsideRequest { reason: "late".into(), ..request };
    let status = service.client.list_parked(of_another_list).await.unwrap_err();
    assert_eq!(reason(&status), "PAGE_TOKEN_INVALID");
    service.stop().await.unwrap();
}

#[tokio::test]
async fn late_clicks_are_parked_and_listed() {
    let mut service = Service::start(settings()).await;
    service.append(&[click("new", "ad", NOON_MS)]).await;
    let status = service.append(&[click("old", "ad", NOON_MS - 8 * 86_400_000)]).await;
    assert_eq!(status.parked_by_reason["late"], 1);
    let parked = service.client.list_parked(wire::ListSetAsideRequest::default()).await.unwrap().into_inner().records;
    assert_eq!(parked[0].reason, "late");
    assert!(String::from_utf8_lossy(&parked[0].payload).contains("\"old\""));
    service.stop().await.unwrap();
}

#[tokio::test]
async fn a_read_waits_for_what_its_token_acknowledges() {
    let (mut service, status) = small().await;
    let next = status.snapshot.unwrap().positions[0].next_offset as u64;
    let line = click("c8", "ad-c", NOON_MS);
    let token = ingest_token(service.lineage, &[(0, next + line.len() as u64 + 1)]);
    let read = Some(ReadAt { at: Some(At::AtLeast(token)) });
    let request = wire::GetCountsRequest { read, ..counts_request(&["ad-c"]) };

    let mut hurried = Request::new(request.clone());
    hurried.set_timeout(Duration::from_millis(200));
    let started = Instant::now();
    let status = service.client.get_counts(hurried).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"));
    assert!(started.elapsed() < Duration::from_secs(2));

    let mut client = service.client.clone();
    let waiting = tokio::spawn(async move { client.get_counts(request).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!waiting.is_finished());
    service.append(&[line]).await;
    let answer = waiting.await.unwrap().unwrap().into_inner();
    assert_eq!(answer.rows[0].metrics.unwrap().clicks, 1);

    let read = Some(ReadAt { at: Some(At::AtLeast(b"nonsense".to_vec())) });
    let status =
        service.client.get_counts(wire::GetCountsRequest { read, ..counts_request(&["a"]) }).await.unwrap_err();
    assert_eq!(reason(&status), "INGEST_TOKEN_INVALID");
    service.stop().await.unwrap();
}

#[tokio::test]
async fn health_and_reflection_answer() {
    let (service, _) = small().await;
    let channel =
        tonic::transport::Endpoint::from_shared(format!("http://{}", service.addr)).unwrap().connect().await.unwrap();
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel.clone());
    for name in ["", "recount.v1.CountsService"] {
        let request = tonic_health::pb::HealthCheckRequest { service: name.into() };
        assert_eq!(health.check(request).await.unwrap().into_inner().status, 1, "{name:?} is serving");
    }
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    let request = tonic_reflection::pb::v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = ServerReflectionClient::new(channel)
        .server_reflection_info(tokio_stream::iter([request]))
        .await
        .unwrap()
        .into_inner();
    let Some(MessageResponse::ListServicesResponse(list)) = answers.message().await.unwrap().unwrap().message_response
    else {
        panic!("a list was asked for");
    };
    assert!(list.service.iter().any(|service| service.name == "recount.v1.CountsService"));
    service.stop().await.unwrap();
}

#[tokio::test]
async fn an_address_that_is_taken_is_a_clear_error() {
    let (service, _) = small().await;
    let mut taken = settings();
    taken.grpc_addr = service.addr;
    let key = recount_dataflow::domain::fingerprint::HashKey::new([0; 16]);
    let source = recount_connectors::SourceSettings::new(key, taken.engine.rules);
    let source = recount_connectors::FileSource::open(&[service.path.to_str().unwrap()], source).unwrap();
    let ended =
        recount_server::server::run(taken, Input::Files(Box::new(source)), |_| (), std::future::pending()).await;
    let message = ended.unwrap_err().to_string();
    assert!(message.contains(&service.addr.to_string()) && message.contains("port 0"), "{message}");
    service.stop().await.unwrap();
}

#[tokio::test]
async fn a_page_never_outgrows_a_message() {
    let mut settings = settings();
    settings.engine.epoch_records = 50_000;
    let mut service = Service::start(settings).await;
    let ads: Vec<String> = (0..500).map(|n| format!("{n:0>128}")).collect();
    let clicks =
        ads.iter().flat_map(|ad| (0..60).map(move |n| click(&format!("{n}{ad:.20}"), ad, NOON_MS + n * MINUTE_MS)));
    // Ids must differ between ads, and a click's id has at most 128 bytes.
    let clicks: Vec<String> = clicks
        .enumerate()
        .map(|(n, line)| line.replacen("\"click_id\":\"", &format!("\"click_id\":\"{n}-"), 1))
        .collect();
    service.append(&clicks).await;
    let ads: Vec<&str> = ads.iter().map(String::as_str).collect();
    let mut request =
        wire::GetCountsRequest { page_size: 100_000, end_ms: NOON_MS + 60 * MINUTE_MS, ..counts_request(&ads) };
    let (mut rows, mut pages) = (0, 0);
    loop {
        // The client's own limit is 4 MiB, so a larger answer would fail here.
        let page = service.client.get_counts(request.clone()).await.unwrap().into_inner();
        rows += page.rows.len();
        pages += 1;
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!(rows, 500 * 60);
    assert!(pages > 1, "{pages} pages");
    service.stop().await.unwrap();
}
