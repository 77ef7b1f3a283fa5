//! Reads over gRPC: how long they take while events come in at full speed, and how many an idle service answers.

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use recount_dataflow::domain::rules::{DAY_MS, HOUR_MS, MINUTE_MS};
use recount_proto::v1::counts_service_client::CountsServiceClient;
use recount_proto::v1::{GetCountsRequest, GetStatusRequest, Granularity, ListTopAdsRequest, ListTopAdsResponse};
use tonic::transport::Channel;

use crate::Args;
use crate::measure::{cpu_seconds, millis, percentile};
use crate::program::{Background, EVENTS_ADS, events_file, lines, ready, recount};
use crate::table::Table;

type Client = CountsServiceClient<Channel>;

/// The share of the clicks that one ad has, so that it has a row in every minute.
const HOT_AD: f64 = 0.1;
/// How long an idle service is asked.
const IDLE: Duration = Duration::from_secs(5);
/// Readers that ask an idle service at once.
const IDLE_READERS: usize = 8;
/// Rest between two listings of the top ads, so that most of the machine is left to the events.
const TOP_REST: Duration = Duration::from_millis(100);

/// Serves a file of events and reads from it, while it comes in and after.
///
/// # Errors
/// Where the service can not be started or asked.
pub(crate) fn measure(args: &Args, table: &mut Table) -> Result<(), Box<dyn Error>> {
    let events = events_file(args, HOT_AD)?;
    let (service, address) = serve(&events)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = CountsServiceClient::connect(format!("http://{address}")).await?;
        while_ingesting(client.clone(), lines(&events)?, table).await?;
        idle(client, service.0.id(), table).await
    })
}

/// Starts the service and waits for the line that says where it listens.
fn serve(events: &Path) -> Result<(Background, String), Box<dyn Error>> {
    eprintln!("reads over gRPC while {} comes in", events.display());
    let mut command = recount()?;
    command.arg("serve").arg("--events").arg(events).args(["--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
    ready(command)
}

/// What is asked for: every other time the ad that has a row in every minute, else one of many, in a span of event time that has
/// been ingested.
#[derive(Clone)]
struct Questions {
    ads: Vec<String>,
    watermark_ms: i64,
    rng: SmallRng,
}

impl Questions {
    fn new(top: &ListTopAdsResponse) -> Self {
        Questions {
            ads: top.ads.iter().map(|ad| ad.ad_id.clone()).collect(),
            watermark_ms: top.snapshot.as_ref().map_or(0, |snapshot| snapshot.watermark_ms),
            rng: SmallRng::seed_from_u64(1),
        }
    }

    /// Moves on to what has been ingested by now.
    fn follow(&mut self, top: ListTopAdsResponse) {
        self.watermark_ms = top.snapshot.map_or(self.watermark_ms, |snapshot| snapshot.watermark_ms);
        if let Some(first) = top.ads.into_iter().next() {
            self.ads[0] = first.ad_id;
        }
    }

    /// One ad, two hours by minute.
    fn next(&mut self) -> GetCountsRequest {
        let ad = if self.rng.random_bool(0.5) { Some(&self.ads[0]) } else { self.ads.choose(&mut self.rng) };
        let ad_id = ad.cloned().unwrap_or_default();
        let back_ms = self.rng.random_range(2..6) * HOUR_MS;
        let start_ms = (self.watermark_ms - back_ms).div_euclid(MINUTE_MS) * MINUTE_MS;
        GetCountsRequest {
            ad_ids: vec![ad_id],
            start_ms,
            end_ms: start_ms + 2 * HOUR_MS,
            granularity: Granularity::Minute as i32,
            ..GetCountsRequest::default()
        }
    }
}

/// The top ads of the day that holds the watermark.
async fn top(client: &mut Client, limit: i32) -> Result<ListTopAdsResponse, tonic::Status> {
    let status = client.get_status(GetStatusRequest {}).await?.into_inner();
    let watermark_ms = status.snapshot.map_or(0, |snapshot| snapshot.watermark_ms);
    let start_ms = watermark_ms.div_euclid(DAY_MS) * DAY_MS;
    let end_ms = start_ms + DAY_MS;
    Ok(client.list_top_ads(ListTopAdsRequest { start_ms, end_ms, limit, ..Default::default() }).await?.into_inner())
}

async fn records_in(client: &mut Client) -> Result<u64, tonic::Status> {
    Ok(client.get_status(GetStatusRequest {}).await?.into_inner().records_in)
}

/// Reads until all `records` have come in.
async fn while_ingesting(mut client: Client, records: u64, table: &mut Table) -> Result<(), Box<dyn Error>> {
    let mut questions = loop {
        let top = top(&mut client, 10_000).await?;
        if !top.ads.is_empty() {
            break Questions::new(&top);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let (mut point_ms, mut top_ms) = (Vec::new(), Vec::new());
    let (mut rows, mut last_top) = (0, Instant::now());
    loop {
        if last_top.elapsed() >= TOP_REST {
            if records_in(&mut client).await? == records {
                break;
            }
            let clock = Instant::now();
            let top = top(&mut client, 100).await?;
            top_ms.push(millis(clock.elapsed()));
            questions.follow(top);
            last_top = Instant::now();
        }
        let request = questions.next();
        let clock = Instant::now();
        rows += client.get_counts(request).await?.into_inner().rows.len();
        point_ms.push(millis(clock.elapsed()));
    }
    let found = |of: &mut [f64]| format!("{:.2} / {:.2} ms", percentile(of, 0.5), percentile(of, 0.99));
    let rows_of_read = rows as f64 / point_ms.len().max(1) as f64;
    let (reads, tops) = (point_ms.len(), top_ms.len());
    eprintln!("{reads} reads of {rows_of_read:.0} rows and {tops} listings while {records} records came in");
    table.row("ingesting: one ad, two hours by minute, p50 / p99", found(&mut point_ms), "p99 5 ms");
    let label = format!("ingesting: 100 top ads of {EVENTS_ADS} over a day, p50 / p99");
    table.row(label, found(&mut top_ms), "50 ms");
    Ok(())
}

/// Counts the reads that an idle service answers, and the processor time that it takes for them.
async fn idle(mut client: Client, service: u32, table: &mut Table) -> Result<(), Box<dyn Error>> {
    let questions = Questions::new(&top(&mut client, 10_000).await?);
    let (clock, cpu) = (Instant::now(), cpu_seconds(service));
    let readers = (0..IDLE_READERS).map(|seed| {
        let mut client = client.clone();
        let mut questions = Questions { rng: SmallRng::seed_from_u64(seed as u64), ..questions.clone() };
        tokio::spawn(async move {
            let (mut reads, mut rows) = (0u64, 0);
            while clock.elapsed() < IDLE {
                rows += client.get_counts(questions.next()).await?.into_inner().rows.len();
                reads += 1;
            }
            Ok::<_, tonic::Status>((reads, rows))
        })
    });
    let (mut reads, mut rows) = (0, 0);
    for reader in readers.collect::<Vec<_>>() {
        let (own_reads, own_rows) = reader.await??;
        reads += own_reads;
        rows += own_rows;
    }
    eprintln!("{reads} reads of {:.0} rows while idle", rows as f64 / reads.max(1) as f64);
    let (seconds, cpu) = (clock.elapsed().as_secs_f64(), cpu_seconds(service) - cpu);
    let found = format!("{:.0} ({:.0} beside this client)", reads as f64 / cpu, reads as f64 / seconds);
    table.row("idle: such reads a second of one core", found, "20,000");
    Ok(())
}
