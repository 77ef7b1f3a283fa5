//! Ingest over gRPC into a data directory: how many events a second become readable, how long an acknowledgement takes, and how
//! long it takes from there until a read shows what was acknowledged.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use prost::bytes::Bytes;
use recount_connectors::workload::{Workload, WorkloadSettings, write_file};
use recount_proto::raw::AppendRequest;
use recount_proto::raw::ingest_service_client::IngestServiceClient;
use recount_proto::v1::counts_service_client::CountsServiceClient;
use recount_proto::v1::read_at::At;
use recount_proto::v1::{GetCountsRequest, GetStatusRequest, Granularity, ReadAt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tonic::transport::Channel;

use crate::Args;
use crate::measure::{cpu_seconds, millis, percentile, touch_memory};
use crate::program::{Background, ready, recount};
use crate::table::Table;

/// What the service uses at most, in bytes an event.
const RUN_BYTES_AN_EVENT: usize = 1_024;
/// Streams that one client keeps busy.
const STREAMS: usize = 4;
/// Events of a request where the most is asked for.
const LARGE: usize = 1_000;
/// Requests of a stream that are sent ahead of their answers.
const AHEAD: usize = 16;
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
    let events = events(args)?;
    let dir = args.dir.join("store");
    // As before every other measurement: a host may hand memory out slowly the first time.
    touch_memory(events.len() * RUN_BYTES_AN_EVENT);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let service = Service::start(&dir, "100ms").await?;
        service.flat_out(&events, table).await?;
        drop(service);
        for (epochs, asked) in [("100ms", "p99 30 ms / 250 ms"), ("10ms", "p99 30 ms / 40 ms")] {
            let service = Service::start(&dir, epochs).await?;
            let (ack_ms, visible_ms) = service.paced(&events).await?;
            let found =
                |mut ms: Vec<f64>| format!("{:.1} / {:.1}", percentile(&mut ms, 0.5), percentile(&mut ms, 0.99));
            let label = format!("{PACED_RATE} events/s, {epochs} epochs: acknowledged, then visible, p50 / p99");
            table.row(label, format!("{}, {} ms", found(ack_ms), found(visible_ms)), asked);
        }
        fs::remove_dir_all(&dir)?;
        Ok(())
    })
}

/// The workload's messages.
fn events(args: &Args) -> Result<Vec<Bytes>, Box<dyn Error>> {
    let path: PathBuf = args.dir.join(format!("ingest-{}.pb", args.events));
    if !path.exists() {
        eprintln!("making {} events", args.events);
        write_file(Workload::new(WorkloadSettings::new(args.events, 1))?, &path, |_| ())?;
    }
    let mut rest = Bytes::from(fs::read(path)?);
    let mut events = Vec::new();
    while !rest.is_empty() {
        let length = prost::decode_length_delimiter(&mut rest)?;
        events.push(rest.split_to(length));
    }
    Ok(events)
}

/// A running service over an empty directory.
struct Service {
    process: Background,
    ingest: IngestServiceClient<Channel>,
    counts: CountsServiceClient<Channel>,
}

impl Service {
    async fn start(dir: &Path, epochs: &str) -> Result<Service, Box<dyn Error>> {
        if dir.exists() {
            fs::remove_dir_all(dir)?;
        }
        let mut command = recount()?;
        command.arg("serve").arg("--data-dir").arg(dir).args(["--epoch-interval", epochs]);
        command.args(["--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
        let (process, address) = ready(command)?;
        let channel = Channel::from_shared(format!("http://{address}"))?.connect().await?;
        let (ingest, counts) = (IngestServiceClient::new(channel.clone()), CountsServiceClient::new(channel));
        Ok(Service { process, ingest, counts })
    }

    async fn records_in(&self) -> Result<u64, tonic::Status> {
        Ok(self.counts.clone().get_status(GetStatusRequest {}).await?.into_inner().records_in)
    }

    /// As many events as the service takes, until all are readable.
    async fn flat_out(&self, events: &[Bytes], table: &mut Table) -> Result<(), Box<dyn Error>> {
        let requests: Vec<Vec<Bytes>> = events.chunks(LARGE).map(<[Bytes]>::to_vec).collect();
        let share = requests.len().div_ceil(STREAMS);
        let (clock, cpu) = (Instant::now(), cpu_seconds(self.process.0.id()));
        let mut streams = JoinSet::new();
        for share in requests.chunks(share) {
            let (mut client, share) = (self.ingest.clone(), share.to_vec());
            streams.spawn(async move {
                let (sender, stream) = mpsc::channel(AHEAD);
                tokio::spawn(async move {
                    for events in share {
                        // A stream that has ended says why to its reader.
                        let _ = sender.send(AppendRequest { request_id: String::new(), events }).await;
                    }
                });
                let mut answers =
                    client.append_stream(tokio_stream::wrappers::ReceiverStream::new(stream)).await?.into_inner();
                let mut accepted = 0;
                while let Some(answer) = answers.message().await? {
                    accepted += answer.accepted;
                }
                Ok::<u64, tonic::Status>(accepted)
            });
        }
        let mut accepted = 0;
        while let Some(stream) = streams.join_next().await {
            accepted += stream??;
        }
        let acknowledged = clock.elapsed().as_secs_f64();
        while self.records_in().await? < accepted {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let seconds = clock.elapsed().as_secs_f64();
        let cpu = cpu_seconds(self.process.0.id()) - cpu;
        eprintln!(
            "{accepted} of {} events: acknowledged in {acknowledged:.1} s, readable in {seconds:.1} s, {cpu:.1} s of processor \
             in the service",
            events.len()
        );
        let label = format!("events a second over {STREAMS} gRPC streams, durable and readable");
        table.row(label, format!("{:.0}", accepted as f64 / seconds), "250,000");
        Ok(())
    }

    /// Events at an even pace: how long each request waits for its acknowledgement, and some of those for a read that shows it.
    async fn paced(&self, events: &[Bytes]) -> Result<(Vec<f64>, Vec<f64>), Box<dyn Error>> {
        let mut pace = interval(Duration::from_secs(1) * PACED_REQUEST as u32 / PACED_RATE as u32);
        pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut calls = JoinSet::new();
        let clock = Instant::now();
        for (number, events) in events.chunks(PACED_REQUEST).enumerate() {
            if clock.elapsed() >= PACED {
                break;
            }
            pace.tick().await;
            let (mut ingest, mut counts) = (self.ingest.clone(), self.counts.clone());
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
