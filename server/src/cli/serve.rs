//! `recount serve`.

use std::future::Future;
use std::io::{self, Write as _};
use std::num::NonZero;
use std::path::{Path, PathBuf};

use clap::Args;
use recount_connectors::data_dir::{NewStore, StoreSource};
use recount_connectors::{FileSource, SourceSettings};
use recount_dataflow::domain::fingerprint::HashKey;
use recount_dataflow::engine::Settings;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use super::settings::{EngineArgs, RulesArgs, given};
use super::{CliError, Global, kafka_source as kafka, logging};
use crate::allocator::give_back;
use crate::config::{Config, FlagSetting};
use crate::lineage::Lineage;
use crate::server::{self, Input, Pace, Ready, ServerSettings, SinksSettings, StoreSettings};

/// What to serve, and where.
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// Files of events, read one after the other; `-` is standard input
    #[arg(long, value_name = "FILE", num_args = 1..)]
    events: Vec<String>,
    /// Wait at the end of the file for more
    #[arg(long, requires = "events")]
    follow: bool,
    /// Take events in over gRPC and HTTP, and keep everything in this directory
    #[arg(long, value_name = "DIR", conflicts_with = "events")]
    data_dir: Option<PathBuf>,
    /// Where gRPC listens; port 0 takes a free one [default: 127.0.0.1:50051]
    #[arg(long, value_name = "ADDR")]
    grpc: Option<String>,
    /// Where HTTP listens; port 0 takes a free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    http: Option<String>,
    /// Time after which an epoch closes [default: 100ms]
    #[arg(long, value_name = "DURATION")]
    epoch_interval: Option<String>,
    /// How far back a read can ask: a time, or a number of epochs [default: 60s]
    #[arg(long, value_name = "DURATION|N")]
    history: Option<String>,
    /// How many epochs stay readable [default: 600]
    #[arg(long, value_name = "N")]
    history_epochs: Option<String>,
    /// Go on where records are missing: exactly this gap of a Kafka topic, as the refusal names it; may be repeated
    #[arg(long, value_name = "TOPIC/PARTITION@OFFSET", requires = "data_dir")]
    accept_gap: Vec<String>,
    #[command(flatten)]
    engine: EngineArgs,
    #[command(flatten)]
    rules: RulesArgs,
}

impl ServeArgs {
    fn flags(&self) -> Vec<FlagSetting> {
        let is_epochs = |text: &String| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let (epochs, age) = self.history.iter().cloned().partition::<Vec<String>, _>(is_epochs);
        let own = given([
            ("grpc.addr", "--grpc", &self.grpc),
            ("http.addr", "--http", &self.http),
            ("engine.epoch_interval", "--epoch-interval", &self.epoch_interval),
            ("engine.history", "--history", &age.into_iter().next()),
            ("engine.history_epochs", "--history", &epochs.into_iter().next()),
            ("engine.history_epochs", "--history-epochs", &self.history_epochs),
        ]);
        [own, self.engine.flags(), self.rules.flags()].concat()
    }
}

/// Runs the service until it is told to end.
pub(super) fn run(global: &Global, args: &ServeArgs) -> Result<(), CliError> {
    if args.data_dir.is_none() && args.events.is_empty() {
        return Err(CliError::usage(
            "name --data-dir DIR, where what comes in is kept, or --events FILE.. that are read and not kept",
        ));
    }
    let config = global.load(args.flags())?;
    logging::start(&config)?;
    for addr in [config.grpc_addr, config.http_addr] {
        if !addr.ip().is_loopback() {
            tracing::warn!(%addr, "the service can be reached from other machines, and asks nobody who they are");
        }
    }
    let settings = server_settings(&config)?;
    if settings.sinks.is_some() && args.data_dir.is_none() {
        let message = "[sink.kafka] and the dlq of a topic need --data-dir: what is published must be bound for good, and files are not";
        return Err(CliError::usage(message));
    }
    let input = match &args.data_dir {
        Some(dir) => Input::Store(Box::new(store_settings(&config, dir, &args.accept_gap)?)),
        None => Input::Files(Box::new(files(args, &config, settings.engine.key)?)),
    };
    let runtime = Builder::new_multi_thread()
        .worker_threads(transport_threads())
        .enable_all()
        .thread_name("serve")
        .build()
        .map_err(|cause| CliError::failed(format!("the runtime can not be started: {cause}")))?;
    runtime.block_on(async {
        let shutdown =
            shutdown_signal().map_err(|cause| CliError::failed(format!("signals can not be heard: {cause}")))?;
        let served = server::run(settings, input, |ready| announce(ready, args.data_dir.as_deref()), shutdown).await;
        served.map_err(|error| CliError::failed(error.to_string()))
    })
}

/// Whether a service can run with these settings, as far as can be told without starting one.
///
/// # Errors
/// As a start would say.
pub(super) fn check(config: &Config) -> Result<(), CliError> {
    logging::filter(config)?;
    server_settings(config)?;
    store_settings(config, Path::new(""), &[])?;
    Ok(())
}

fn files(args: &ServeArgs, config: &Config, key: HashKey) -> Result<FileSource, CliError> {
    let settings = SourceSettings {
        threads: decode_threads(config),
        follow: args.follow,
        spool: true,
        ..SourceSettings::new(key, config.service_rules()?)
    };
    FileSource::open(&args.events, settings).map_err(|error| CliError::failed(error.to_string()))
}

fn store_settings(config: &Config, dir: &Path, accepted: &[String]) -> Result<StoreSettings, CliError> {
    let kafka = kafka::input(config, accepted)?;
    let source = if kafka.is_some() { StoreSource::Kafka } else { StoreSource::Log };
    let (id, hash_secret, partitions) = (u64::from_le_bytes(random()?), random()?, config.partitions);
    let new = NewStore { id, hash_secret, source, partitions };
    Ok(StoreSettings {
        dir: dir.to_owned(),
        new,
        log: config.log.clone(),
        kafka,
        checkpoints: config.checkpoints()?,
        pace: Pace {
            interval: config.checkpoint_interval,
            records: config.checkpoint_records,
            memory_budget: config.memory_budget,
        },
        checkpoints_kept: config.checkpoints_kept,
    })
}

/// The settings of the service. A data directory has its own key and lineage, and these are not used.
fn server_settings(config: &Config) -> Result<ServerSettings, CliError> {
    let engine = Settings {
        rules: config.service_rules()?,
        workers: config.workers,
        epoch_records: config.epoch_records,
        history: config.history,
        epochs_in_flight: config.epochs_in_flight,
        key: HashKey::new(random()?),
        at_rest: give_back,
        ..Settings::default()
    };
    Ok(ServerSettings {
        engine,
        epoch_interval: config.epoch_interval,
        grpc_addr: config.grpc_addr,
        http_addr: config.http_addr,
        concurrent_streams: config.concurrent_streams,
        bounds: config.bounds,
        drain: config.drain,
        lineage: Lineage::new(random()?),
        sinks: config.kafka_sinks.as_ref().map(|sinks| SinksSettings::new(sinks, config)).transpose()?,
    })
}

/// Tells whoever started us where we are: one line of JSON.
fn announce(ready: Ready, data_dir: Option<&Path>) {
    let line =
        serde_json::json!({"grpc": ready.grpc.to_string(), "http": ready.http.to_string(), "data_dir": data_dir});
    let mut stdout = io::stdout();
    // Who started us may not listen; the service runs all the same.
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
    tracing::info!(grpc = %ready.grpc, http = %ready.http, "ready");
}

/// Completes at the first interrupt or termination signal.
fn shutdown_signal() -> io::Result<impl Future<Output = ()>> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Threads that carry calls: half of the cores. The engine's workers use the cores as well, and a call that is handed from thread
/// to thread costs a tenth more. What takes long has threads of its own.
fn transport_threads() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get).div_ceil(2)
}

/// Decoding keeps up with the workers when it has about as many threads.
pub(super) fn decode_threads(config: &Config) -> usize {
    config.workers.min(8)
}

/// Random bytes from the system.
pub(super) fn random<const N: usize>() -> Result<[u8; N], CliError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|cause| CliError::failed(format!("the system gave no random bytes: {cause}")))?;
    Ok(bytes)
}
