//! What the tests of the program share: events as lines, and a service over a file that grows.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

pub mod daemon;
pub mod http;

use std::fs::File;
use std::io::Write as _;
use std::time::Duration;

use recount_connectors::{FileSource, SourceSettings};
use recount_dataflow::domain::fingerprint::HashKey;
use recount_dataflow::engine::{History, Settings};
use recount_proto::v1::counts_service_client::CountsServiceClient;
use recount_proto::v1::{self as wire, GetStatusResponse};
use recount_server::api::Bounds;
use recount_server::lineage::Lineage;
use recount_server::server::{self, Input, Ready, ServerError, ServerSettings};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tonic::transport::Channel;

/// A minute of 2023 at which windows of all sizes are far from their ends: 2023-11-14T12:00:00Z.
pub const NOON_MS: i64 = 1_699_963_200_000;
pub const MINUTE_MS: i64 = 60_000;
pub const PATIENCE: Duration = Duration::from_secs(20);

pub fn click(click_id: &str, ad_id: &str, at_ms: i64) -> String {
    format!(
        r#"{{"click":{{"click_id":"{click_id}","ad_id":"{ad_id}","timestamp":{at_ms},"user_id":"u-{click_id}","price_micros":1000000}}}}"#
    )
}

pub fn verdict(click_id: &str, decision: &str, at_ms: i64) -> String {
    format!(
        r#"{{"verdict":{{"click_id":"{click_id}","decision":"{decision}","timestamp":{at_ms},"reason":"givt:datacenter","model_version":"m7"}}}}"#
    )
}

/// A running service over a file that grows.
pub struct Service {
    pub client: CountsServiceClient<Channel>,
    pub addr: std::net::SocketAddr,
    pub http: http::Http,
    pub lineage: Lineage,
    file: File,
    pub path: std::path::PathBuf,
    _dir: tempfile::TempDir,
    stop: oneshot::Sender<()>,
    run: JoinHandle<Result<(), ServerError>>,
}

pub fn bounds() -> Bounds {
    Bounds { concurrent_reads: 8, subscribers: 4, subscriber_messages: 4, subscriber_stall: Duration::from_millis(300) }
}

pub fn settings() -> ServerSettings {
    let engine = Settings {
        workers: 2,
        epoch_records: 1_000,
        history: History { epochs: 1_000, age: Duration::from_secs(600), bytes: 256 << 20 },
        ..Settings::default()
    };
    ServerSettings {
        engine,
        epoch_interval: Duration::from_millis(20),
        grpc_addr: "127.0.0.1:0".parse().unwrap(),
        http_addr: "127.0.0.1:0".parse().unwrap(),
        concurrent_streams: 64,
        bounds: bounds(),
        drain: Duration::from_secs(2),
        lineage: Lineage::new([7; 8]),
        sinks: None,
    }
}

impl Service {
    pub async fn start(settings: ServerSettings) -> Service {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        let file = File::create(&path).unwrap();
        let key = HashKey::new([0; 16]);
        let source = SourceSettings { follow: true, ..SourceSettings::new(key, settings.engine.rules) };
        let source = FileSource::open(&[path.to_str().unwrap()], source).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let (ready, is_ready) = oneshot::channel::<Ready>();
        let lineage = settings.lineage;
        let run =
            tokio::spawn(server::run(settings, Input::Files(Box::new(source)), |at| ready.send(at).unwrap(), async {
                let _ = stopped.await;
            }));
        let Ok(Ready { grpc: addr, http }) = is_ready.await else { panic!("{:?}", run.await) };
        let client = CountsServiceClient::connect(format!("http://{addr}")).await.unwrap();
        Service { client, addr, http: http::Http { addr: http }, lineage, file, path, _dir: dir, stop, run }
    }

    /// Appends lines and waits until their records are in a complete epoch.
    pub async fn append(&mut self, lines: &[String]) -> GetStatusResponse {
        let before = self.status().await.records_in;
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        self.file.write_all(text.as_bytes()).unwrap();
        self.wait_for_records(before + lines.len() as u64).await
    }

    pub async fn wait_for_records(&mut self, records: u64) -> GetStatusResponse {
        let wait = async {
            loop {
                let status = self.status().await;
                if status.records_in >= records {
                    return status;
                }
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, wait).await.expect("the records are taken in")
    }

    pub async fn status(&self) -> GetStatusResponse {
        self.client.clone().get_status(wire::GetStatusRequest {}).await.unwrap().into_inner()
    }

    /// Shuts down, and returns how the service ended.
    pub async fn stop(self) -> Result<(), ServerError> {
        drop(self.client);
        let _ = self.stop.send(());
        timeout(PATIENCE, self.run).await.expect("the service ends").unwrap()
    }

    /// Asks the service to end, and leaves the client connected.
    pub fn begin_stop(self) -> (CountsServiceClient<Channel>, JoinHandle<Result<(), ServerError>>) {
        let _ = self.stop.send(());
        (self.client, self.run)
    }
}
