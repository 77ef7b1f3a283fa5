//! The real binary over a data directory.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use recount_proto::v1::admin_service_client::AdminServiceClient;
use recount_proto::v1::counts_service_client::CountsServiceClient;
use recount_proto::v1::ingest_service_client::IngestServiceClient;
use recount_proto::v1::read_at::At;
use recount_proto::v1::{self as wire, Granularity, ReadAt};
use serde_json::Value;
use tonic::transport::Channel;

use super::http::Http;
use super::{MINUTE_MS, NOON_MS};

/// How long a start may take, brokers that are started again included.
const START_MAX: Duration = Duration::from_secs(180);

/// A running process; it is killed where it is dropped.
pub struct Daemon {
    child: Child,
    pub dir: PathBuf,
    pub grpc: SocketAddr,
    pub http: Http,
    pub counts: CountsServiceClient<Channel>,
    pub ingest: IngestServiceClient<Channel>,
}

/// The command, with what every test wants. Settings are named as in the environment, without the prefix.
pub fn command(dir: &Path, settings: &[(&str, &str)]) -> Command {
    let free = "127.0.0.1:0";
    let mut command = Command::new(env!("CARGO_BIN_EXE_recount"));
    command.args(["serve", "--grpc", free, "--http", free, "--workers", "2", "--epoch-interval", "10ms", "--data-dir"]);
    command.arg(dir).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env("RECOUNT__LOG__LEVEL", "warn");
    command.envs(settings.iter().map(|(name, value)| (format!("RECOUNT__{name}"), value)));
    command
}

impl Daemon {
    pub async fn start(dir: &Path) -> Daemon {
        Daemon::start_with(dir, &[]).await
    }

    pub async fn start_with(dir: &Path, settings: &[(&str, &str)]) -> Daemon {
        Daemon::run(command(dir, settings), dir).await
    }

    /// Starts the command, which is about a data directory.
    pub async fn run(mut command: Command, dir: &Path) -> Daemon {
        let mut child = command.spawn().unwrap();
        let (tell, first) = mpsc::channel();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            let mut line = String::new();
            // One that ends first says why elsewhere.
            let _ = stdout.read_line(&mut line);
            let _ = tell.send(line);
        });
        let first = first.recv_timeout(START_MAX).unwrap_or_default();
        let Ok(first) = serde_json::from_str::<Value>(&first) else {
            let _ = child.kill();
            panic!("the daemon did not start: {}", rest(child.stderr.take()));
        };
        assert_eq!(first["data_dir"].as_str(), dir.to_str());
        let addr = |name: &str| first[name].as_str().unwrap().parse::<SocketAddr>().unwrap();
        let (grpc, http) = (addr("grpc"), Http { addr: addr("http") });
        let channel = Channel::from_shared(format!("http://{grpc}")).unwrap().connect().await.unwrap();
        let (counts, ingest) = (CountsServiceClient::new(channel.clone()), IngestServiceClient::new(channel));
        Daemon { child, dir: dir.to_owned(), grpc, http, counts, ingest }
    }

    /// Takes events in, and returns the answer.
    pub async fn append(&mut self, events: Vec<wire::Event>) -> wire::AppendResponse {
        let request = wire::AppendRequest { request_id: "r".into(), events };
        self.ingest.append(request).await.unwrap().into_inner()
    }

    /// The rows of an ad around noon, as of a token.
    pub async fn rows(&mut self, ad_id: &str, token: Vec<u8>) -> Vec<wire::CountRow> {
        let request = wire::GetCountsRequest {
            ad_ids: vec![ad_id.into()],
            start_ms: NOON_MS - 1_000 * MINUTE_MS,
            end_ms: NOON_MS + 600 * MINUTE_MS,
            granularity: Granularity::Day.into(),
            read: Some(ReadAt { at: Some(At::AtLeast(token)) }),
            ..Default::default()
        };
        self.counts.get_counts(request).await.unwrap().into_inner().rows
    }

    /// All received copies of an ad, as of a token.
    pub async fn received(&mut self, ad_id: &str, token: Vec<u8>) -> i64 {
        self.rows(ad_id, token).await.iter().map(|row| row.metrics.unwrap().received).sum()
    }

    /// The rows of `ad0` to `ad6` around noon, at an epoch.
    pub async fn rows_at(&mut self, epoch: u64) -> Vec<wire::CountRow> {
        let request = wire::GetCountsRequest {
            ad_ids: (0..7).map(|n| format!("ad{n}")).collect(),
            start_ms: NOON_MS - 1_000 * MINUTE_MS,
            end_ms: NOON_MS + 1_000 * MINUTE_MS,
            granularity: Granularity::Minute.into(),
            read: Some(ReadAt { at: Some(At::AsOf(epoch)) }),
            ..Default::default()
        };
        self.counts.get_counts(request).await.unwrap().into_inner().rows
    }

    /// The same at the newest epoch.
    pub async fn newest_rows(&mut self) -> Vec<wire::CountRow> {
        let epoch = self.status().await.snapshot.unwrap().as_of;
        self.rows_at(epoch).await
    }

    /// Writes a checkpoint.
    pub async fn checkpoint(&self) -> wire::CheckpointResponse {
        let mut admin = AdminServiceClient::connect(format!("http://{}", self.grpc)).await.unwrap();
        admin.checkpoint(wire::CheckpointRequest {}).await.unwrap().into_inner()
    }

    pub async fn status(&mut self) -> wire::GetStatusResponse {
        self.counts.get_status(wire::GetStatusRequest {}).await.unwrap().into_inner()
    }

    /// What `/metrics` says at one moment, each over all labels; 0 where it says nothing.
    pub async fn metrics<const N: usize>(&self, names: [&str; N]) -> [f64; N] {
        let answer = self.http.get("/metrics").await;
        names.map(|name| {
            let values = answer.text().lines().filter_map(|line| {
                let (series, value) = line.split_once(' ')?;
                let family = series.split('{').next()?;
                (family.strip_prefix("recount_") == Some(name)).then(|| value.parse::<f64>().unwrap())
            });
            values.sum()
        })
    }

    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the process ends by itself.
    pub async fn wait(mut self) -> (Option<i32>, String) {
        ended(&mut self.child).await
    }

    /// Kills the process, as a crash does.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks the process to end, and returns its exit code and what it wrote to standard error.
    pub async fn stop(mut self) -> (Option<i32>, String) {
        self.signal("TERM");
        ended(&mut self.child).await
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the daemon over {} said: {}", self.dir.display(), rest(self.child.stderr.take()));
        }
    }
}

/// A daemon that does not start: its exit code, and what it said.
pub async fn refused(dir: &Path, settings: &[(&str, &str)]) -> (Option<i32>, String) {
    ended(&mut command(dir, settings).spawn().unwrap()).await
}

async fn ended(child: &mut Child) -> (Option<i32>, String) {
    for _ in 0..400 {
        if let Some(status) = child.try_wait().unwrap() {
            return (status.code(), rest(child.stderr.take()));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    child.kill().unwrap();
    panic!("the daemon did not end: {}", rest(child.stderr.take()));
}

/// Runs a command over a data directory: its exit code, and what it wrote to standard output and standard error.
pub fn recount(args: &[&str], dir: &Path) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_recount")).args(args).arg("--data-dir").arg(dir).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// The files of the checkpoints, oldest first.
pub fn manifests(dir: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(dir.join("runs")).unwrap().map(|entry| entry.unwrap().path());
    let mut manifests: Vec<_> = files.filter(|path| path.extension().is_some_and(|ext| ext == "manifest")).collect();
    manifests.sort();
    manifests
}

pub fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().unwrap();
    assert!(sent.success());
}

fn rest(stderr: Option<ChildStderr>) -> String {
    let mut text = String::new();
    stderr.map(|mut stderr| stderr.read_to_string(&mut text));
    text
}

pub fn click(click_id: &str, ad_id: &str, timestamp_ms: i64) -> wire::Event {
    let click = wire::Click {
        click_id: click_id.into(),
        ad_id: ad_id.into(),
        timestamp_ms,
        user_id: format!("u-{click_id}"),
        price_micros: 1_000_000,
        ..Default::default()
    };
    wire::Event { body: Some(wire::event::Body::Click(click)) }
}
