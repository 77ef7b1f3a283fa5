//! A data directory that is started again, stopped and killed, as it grows; made again from its log alone; and one verdict in it.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prost::Message as _;
use prost::bytes::Bytes;
use recount_connectors::data_dir::DataDir;
use recount_connectors::disk::SystemDisk;
use recount_connectors::log::{LogSource, LogView};
use recount_connectors::{Next, Source as _};
use recount_proto::raw::AppendRequest;
use recount_proto::v1::event::Body;
use recount_proto::v1::read_at::At;
use recount_proto::v1::{Click, Event, GetCountsRequest, Granularity, ReadAt, Verdict, verdict};

use crate::Args;
use crate::contest::engine_rate;
use crate::measure::{millis, percentile, touch_memory};
use crate::service::{RUN_BYTES_AN_EVENT, Service, events};
use crate::table::Table;

/// How large the store is when it is started again, as parts of the whole.
const STAGES: [usize; 3] = [4, 2, 1];
/// The stage at which verdicts come.
const VERDICTS_AT: usize = 2;
/// How many, one after the other.
const VERDICTS: usize = 500;
/// How long a batch of the log may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Epochs of the service, and while verdicts come.
const EPOCHS: &str = "100ms";
const SHORT_EPOCHS: &str = "1ms";
const MINUTE_MS: i64 = 60_000;
/// The workload has its last verdicts a day after its last click.
const VERDICT_AFTER_MS: i64 = 3 * 24 * 60 * MINUTE_MS;

/// Fills a directory through the real service, in stages.
///
/// # Errors
/// Where the service can not be started, refuses, or has not all that it accepted.
pub(crate) fn measure(args: &Args, table: &mut Table) -> Result<(), Box<dyn Error>> {
    let events = events(&args.dir, args.clicks)?;
    let dir = args.dir.join("restored");
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let seconds = runtime.block_on(async {
        let mut store = Filled { dir: &dir, records: 0 };
        for part in STAGES {
            store.stage(&events[..events.len() / part], part, table).await?;
        }
        store.log_alone().await
    })?;
    let decoded = decode_log(&dir, events.len())?;
    fs::remove_dir_all(&dir)?;
    let rate = |seconds: f64| events.len() as f64 / seconds / 1e6;
    let engine = engine_rate(args)?;
    table.row("the whole log, read and decoded, nothing counted", format!("{:.2} M/s", rate(decoded)), "");
    table.row("  against the engine alone, 2 workers", format!("{:.2}", rate(decoded) / engine), "1");
    table.row("its replay, without a checkpoint, on the same cores", format!("{:.2} M/s", rate(seconds)), "");
    table.row("  against the engine alone, 2 workers", format!("{:.2}", rate(seconds) / engine), "1");
    Ok(())
}

/// Reads a log of at least some records as a start does, and returns how many seconds it took.
fn decode_log(dir: &Path, records: usize) -> Result<f64, Box<dyn Error>> {
    let dir = DataDir::read_only(Arc::new(SystemDisk::open(dir)?))?;
    let log = LogView::read_only(&dir)?;
    let started = Instant::now();
    let mut source = LogSource::start(&log, dir.hash_key(), dir.rules(), &[])?;
    let mut read = 0;
    while read < records {
        match source.next_within(PATIENCE)? {
            Next::Batch(batch) => read += batch.records(),
            Next::Waiting | Next::End => return Err(format!("the log ends after {read} of {records} records").into()),
        }
    }
    Ok(started.elapsed().as_secs_f64())
}

/// The directory, and what it was filled with.
struct Filled<'a> {
    dir: &'a Path,
    records: u64,
}

impl Filled<'_> {
    /// Adds events up to all of `events`, and starts the service again, killed and stopped.
    async fn stage(&mut self, events: &[Bytes], part: usize, table: &mut Table) -> Result<(), Box<dyn Error>> {
        touch_memory(events.len() * RUN_BYTES_AN_EVENT / 2);
        let service = Service::start(self.dir, EPOCHS).await?;
        self.records += service.flat_out(&events[self.records as usize..], self.records).await?.accepted;
        service.kill();
        let service = self.again(EPOCHS).await?;
        let (killed, snapshot) = (service.ready_after, service.status().await?.snapshot.unwrap_or_default());
        let epochs = snapshot.upper - snapshot.since - 1;
        service.stop().await?;
        let service = self.again(EPOCHS).await?;
        let label = format!("{:.1} M records: ready after a clean stop", self.records as f64 / 1e6);
        let asked = if part == 1 { "2 s" } else { "" };
        table.row(label, format!("{:.2} s", service.ready_after.as_secs_f64()), asked);
        let label = format!("  after a kill amid full load, with {epochs} epochs since the checkpoint");
        table.row(label, format!("{:.2} s", killed.as_secs_f64()), "");
        service.stop().await?;
        if part == VERDICTS_AT {
            self.verdicts(events, table).await?;
        }
        Ok(())
    }

    /// Starts the service again; it has every record.
    async fn again(&self, epochs: &str) -> Result<Service, Box<dyn Error>> {
        let service = Service::start(self.dir, epochs).await?;
        match service.status().await?.records_in {
            records if records == self.records => Ok(service),
            records => Err(format!("{} records were accepted, and {records} are counted", self.records).into()),
        }
    }

    /// One verdict after the other, each read back.
    async fn verdicts(&mut self, events: &[Bytes], table: &mut Table) -> Result<(), Box<dyn Error>> {
        let service = self.again(SHORT_EPOCHS).await?;
        let (mut from_ack_ms, mut from_send_ms) = (Vec::new(), Vec::new());
        let clicks = events.iter().filter_map(|event| match Event::decode(event.clone()).ok()?.body {
            Some(Body::Click(click)) => Some(click),
            _ => None,
        });
        // Not next to each other in time, nor on one ad.
        for click in clicks.step_by(events.len() / VERDICTS / 2).take(VERDICTS) {
            let request = AppendRequest { request_id: String::new(), events: vec![reject(&click)] };
            let sent = Instant::now();
            let token = service.ingest.clone().append(request).await?.into_inner().token;
            let acknowledged = Instant::now();
            let answer = service.counts.clone().get_counts(row_of(&click, token)).await?.into_inner();
            from_ack_ms.push(millis(acknowledged.elapsed()));
            from_send_ms.push(millis(sent.elapsed()));
            if answer.rows.first().and_then(|row| row.metrics).is_none_or(|metrics| metrics.invalid_clicks == 0) {
                return Err(format!("the verdict about {} is not in the answer", click.click_id).into());
            }
            self.records += 1;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let label = format!("a verdict on {:.1} M records, {SHORT_EPOCHS} epochs", self.records as f64 / 1e6);
        let found = |ms: &mut Vec<f64>| format!("{:.1} / {:.1} ms", percentile(ms, 0.5), percentile(ms, 0.99));
        table.row(format!("{label}: acknowledged to read, p50 / p99"), found(&mut from_ack_ms), "1.6 ms");
        table.row("  from sending it to the answer that has it", found(&mut from_send_ms), "");
        service.stop().await
    }

    /// Starts the service with no checkpoint at all, and returns how many seconds it took.
    async fn log_alone(&self) -> Result<f64, Box<dyn Error>> {
        for file in fs::read_dir(self.dir.join("runs"))? {
            fs::remove_file(file?.path())?;
        }
        touch_memory(self.records as usize * RUN_BYTES_AN_EVENT / 2);
        let service = self.again(EPOCHS).await?;
        let seconds = service.ready_after.as_secs_f64();
        service.kill();
        Ok(seconds)
    }
}

/// A verdict about a click, decided after every other about it.
fn reject(click: &Click) -> Bytes {
    let verdict = Verdict {
        click_id: click.click_id.clone(),
        decision: verdict::Decision::Invalid.into(),
        timestamp_ms: click.timestamp_ms + VERDICT_AFTER_MS,
        ..Verdict::default()
    };
    Event { body: Some(Body::Verdict(verdict)) }.encode_to_vec().into()
}

/// Asks for the row that a click is in.
fn row_of(click: &Click, token: Vec<u8>) -> GetCountsRequest {
    let start_ms = click.timestamp_ms - click.timestamp_ms.rem_euclid(MINUTE_MS);
    GetCountsRequest {
        ad_ids: vec![click.ad_id.clone()],
        start_ms,
        end_ms: start_ms + MINUTE_MS,
        granularity: Granularity::Minute.into(),
        read: Some(ReadAt { at: Some(At::AtLeast(token)) }),
        ..GetCountsRequest::default()
    }
}
