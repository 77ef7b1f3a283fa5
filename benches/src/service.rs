//! The real service over a data directory, and events for it.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use prost::bytes::Bytes;
use recount_connectors::workload::{Workload, WorkloadSettings, write_file};
use recount_proto::raw::AppendRequest;
use recount_proto::raw::ingest_service_client::IngestServiceClient;
use recount_proto::v1::counts_service_client::CountsServiceClient;
use recount_proto::v1::{GetStatusRequest, GetStatusResponse};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::transport::Channel;

use crate::measure::cpu_seconds_apart;
use crate::program::{Background, ready, recount};

/// What the service uses at most, in bytes an event.
pub(crate) const RUN_BYTES_AN_EVENT: usize = 1_024;
/// A day of clicks goes by in half a minute here: a second between two streams is most of an hour. With the usual half a minute nearly
/// every click would be late, and correct rows of every size.
const ALLOWED_LATENESS: &str = "3h";
/// Streams that one client keeps busy.
pub(crate) const STREAMS: usize = 4;
/// Events of a request where the most is asked for.
const LARGE: usize = 1_000;
/// Requests of a stream that are sent ahead of their answers.
const AHEAD: usize = 16;

/// The messages of a workload of so many clicks, made where it is not there yet.
///
/// # Errors
/// Where it can not be made or read.
pub(crate) fn events(dir: &Path, clicks: u64) -> Result<Vec<Bytes>, Box<dyn Error>> {
    let path: PathBuf = dir.join(format!("ingest-{clicks}.pb"));
    if !path.exists() {
        eprintln!("making {clicks} events");
        write_file(Workload::new(WorkloadSettings::new(clicks, 1))?, &path, |_| ())?;
    }
    let mut rest = Bytes::from(fs::read(path)?);
    let mut events = Vec::new();
    while !rest.is_empty() {
        let length = prost::decode_length_delimiter(&mut rest)?;
        events.push(rest.split_to(length));
    }
    Ok(events)
}

/// A running service.
pub(crate) struct Service {
    process: Background,
    pub(crate) ingest: IngestServiceClient<Channel>,
    pub(crate) counts: CountsServiceClient<Channel>,
    /// From its start until it was ready.
    pub(crate) ready_after: Duration,
}

/// How long events took.
pub(crate) struct FlatOut {
    pub(crate) accepted: u64,
    pub(crate) readable_after: Duration,
}

impl Service {
    /// Starts one on whatever the directory holds.
    pub(crate) async fn start(dir: &Path, epochs: &str) -> Result<Service, Box<dyn Error>> {
        let mut command = recount()?;
        command.arg("serve").arg("--data-dir").arg(dir).args(["--epoch-interval", epochs]);
        command.args(["--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
        command.env("RECOUNT__RULES__ALLOWED_LATENESS", ALLOWED_LATENESS);
        let clock = Instant::now();
        let (process, address) = ready(command)?;
        let ready_after = clock.elapsed();
        let channel = Channel::from_shared(format!("http://{address}"))?.connect().await?;
        let (ingest, counts) = (IngestServiceClient::new(channel.clone()), CountsServiceClient::new(channel));
        Ok(Service { process, ingest, counts, ready_after })
    }

    /// Ends it as a person does, and waits for its end.
    pub(crate) async fn stop(mut self) -> Result<(), Box<dyn Error>> {
        Command::new("kill").arg(self.process.0.id().to_string()).status()?;
        loop {
            match self.process.0.try_wait()? {
                // The connection ends meanwhile: the service waits for that.
                None => tokio::time::sleep(Duration::from_millis(10)).await,
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(format!("the service ended with {status}").into()),
            }
        }
    }

    /// Ends it as a crash does.
    pub(crate) fn kill(self) {
        drop(self.process);
    }

    pub(crate) async fn status(&self) -> Result<GetStatusResponse, tonic::Status> {
        Ok(self.counts.clone().get_status(GetStatusRequest {}).await?.into_inner())
    }

    /// As many events as the service takes, until all are readable, beside the `before` that it has already.
    pub(crate) async fn flat_out(&self, events: &[Bytes], before: u64) -> Result<FlatOut, Box<dyn Error>> {
        let requests: Vec<Vec<Bytes>> = events.chunks(LARGE).map(<[Bytes]>::to_vec).collect();
        let (clock, cpu) = (Instant::now(), cpu_seconds_apart(self.process.0.id()));
        let mut streams = JoinSet::new();
        // In turns, so that streams are at about the same time of day, as clients are.
        for first in 0..STREAMS {
            let share = requests.iter().skip(first).step_by(STREAMS).cloned();
            streams.spawn(append_all(self.ingest.clone(), share.collect()));
        }
        let mut accepted = 0;
        while let Some(stream) = streams.join_next().await {
            accepted += stream??;
        }
        let acknowledged = clock.elapsed().as_secs_f64();
        while self.status().await?.records_in < before + accepted {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let readable_after = clock.elapsed();
        let [user, system] = cpu_seconds_apart(self.process.0.id());
        let (user, system) = (user - cpu[0], system - cpu[1]);
        eprintln!(
            "{accepted} of {} events: acknowledged in {acknowledged:.1} s, readable in {:.1} s, {user:.1} s of processor in the \
             service and {system:.1} s in the system for it",
            events.len(),
            readable_after.as_secs_f64()
        );
        Ok(FlatOut { accepted, readable_after })
    }
}

/// Sends requests over one stream, and returns how many events were accepted.
async fn append_all(mut client: IngestServiceClient<Channel>, requests: Vec<Vec<Bytes>>) -> Result<u64, tonic::Status> {
    let (sender, stream) = mpsc::channel(AHEAD);
    tokio::spawn(async move {
        for events in requests {
            // A stream that has ended says why to its reader.
            let _ = sender.send(AppendRequest { request_id: String::new(), events }).await;
        }
    });
    let mut answers = client.append_stream(tokio_stream::wrappers::ReceiverStream::new(stream)).await?.into_inner();
    let mut accepted = 0;
    while let Some(answer) = answers.message().await? {
        accepted += answer.accepted;
    }
    Ok(accepted)
}
