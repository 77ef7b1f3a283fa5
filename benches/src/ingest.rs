//! Ingest over gRPC into a data directory: how many events a second become readable, how long an acknowledgement takes, and how
//! long it takes from there until a read shows what was acknowledged.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use prost::bytes::Bytes;
use recount_proto::raw::AppendRequest;
use recount_proto::v1::read_at::At;
use recount_proto::v1::{GetCountsRequest, Granularity, ReadAt};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::Args;
use crate::measure::{millis, percentile, touch_memory};
use crate::service::{FlatOut, RUN_BYTES_AN_EVENT, STREAMS, Service, events};
use crate::table::Table;

/// Events a second where the wait is measured, and how many come at once.
const PACED_RATE: usize = 50_000;
const PACED_REQUEST: usize = 500;
/// How long it is measured.
const PACED: Duration = Duration::from_secs(10);
/// Every which acknowledgement is followed by a read.
const READ_EVERY: usize = 5;

/// Takes a workload in through the real service.
///
/// # Errors
/// Where the service can not be started or refuses.
pub(crate) fn measure(args: &Args, table: &mut Table) -> Result<(), Box<dyn Error>> {
    let events = events(&args.dir, args.events)?;
    let dir = args.dir.join("store");
    // As before every other measurement: a host may hand memory out slowly the first time.
    touch_memory(events.len() * RUN_BYTES_AN_EVENT);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let service = fresh(&dir, "100ms").await?;
        let FlatOut { accepted, readable_after } = service.flat_out(&events, 0).await?;
        let label = format!("events a second over {STREAMS} gRPC streams, durable and readable");
        table.row(label, format!("{:.0}", accepted as f64 / readable_after.as_secs_f64()), "250,000");
        service.kill();
        for (epochs, asked) in [("100ms", "p99 30 ms / 250 ms"), ("10ms", "p99 30 ms / 40 ms")] {
            let service = fresh(&dir, epochs).await?;
            let (ack_ms, visible_ms) = paced(&service, &events).await?;
            let found =
                |mut ms: Vec<f64>| format!("{:.1} / {:.1}", percentile(&mut ms, 0.5), percentile(&mut ms, 0.99));
            let label = format!("{PACED_RATE} events/s, {epochs} epochs: acknowledged, then visible, p50 / p99");
            table.row(label, format!("{}, {} ms", found(ack_ms), found(visible_ms)), asked);
        }
        fs::remove_dir_all(&dir)?;
        Ok(())
    })
}

/// A service over an empty directory.
async fn fresh(dir: &Path, epochs: &str) -> Result<Service, Box<dyn Error>> {
    if dir.exists() {
        fs::remove_dir_all(dir)?;
    }
    Service::start(dir, epochs).await
}

/// Events at an even pace: how long each request waits for its acknowledgement, and some of those for a read that shows it.
async fn paced(service: &Service, events: &[Bytes]) -> Result<(Vec<f64>, Vec<f64>), Box<dyn Error>> {
    let mut pace = interval(Duration::from_secs(1) * PACED_REQUEST as u32 / PACED_RATE as u32);
    pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut calls = JoinSet::new();
    let clock = Instant::now();
    for (number, events) in events.chunks(PACED_REQUEST).enumerate() {
        if clock.elapsed() >= PACED {
            break;
        }
        pace.tick().await;
        let (mut ingest, mut counts) = (service.ingest.clone(), service.counts.clone());
        let request = AppendRequest { request_id: String::new(), events: events.to_vec() };
        calls.spawn(async move {
            let sent = Instant::now();
            let token = ingest.append(request).await?.into_inner().token;
            let ack_ms = millis(sent.elapsed());
            let acknowledged = Instant::now();
            let mut visible_ms = None;
            if number.is_multiple_of(READ_EVERY) {
                counts.get_counts(question(token)).await?;
                visible_ms = Some(millis(acknowledged.elapsed()));
            }
            Ok::<_, tonic::Status>((ack_ms, visible_ms))
        });
    }
    let (mut ack_ms, mut visible_ms) = (Vec::new(), Vec::new());
    while let Some(call) = calls.join_next().await {
        let (ack, visible) = call??;
        ack_ms.push(ack);
        visible_ms.extend(visible);
    }
    Ok((ack_ms, visible_ms))
}

/// A small read that includes what a token acknowledges.
fn question(token: Vec<u8>) -> GetCountsRequest {
    GetCountsRequest {
        ad_ids: vec!["ad-000001".into()],
        start_ms: 1_767_225_600_000,
        end_ms: 1_767_225_660_000,
        granularity: Granularity::Minute.into(),
        read: Some(ReadAt { at: Some(At::AtLeast(token)) }),
        ..GetCountsRequest::default()
    }
}
