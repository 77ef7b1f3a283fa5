//! The service from start to end, in one visible order.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use recount_connectors::FileSource;
use recount_dataflow::engine::{Engine, EngineError, Settings};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use crate::convert::FILE_DESCRIPTOR_SET;
use crate::evidence::Evidence;
use crate::feed::Feed;
pub use crate::feed::FeedError;
use crate::grpc::{Bounds, CountsApi};
use crate::lineage::Lineage;
use crate::watcher::Watcher;

/// What the service runs with.
#[derive(Clone)]
pub struct ServerSettings {
    /// The engine's.
    pub engine: Settings,
    /// Time after which an epoch closes.
    pub epoch_interval: Duration,
    /// Where gRPC listens; port 0 takes a free one.
    pub grpc_addr: SocketAddr,
    /// Calls at the same time on one connection.
    pub concurrent_streams: u32,
    /// The bounds of calls.
    pub bounds: Bounds,
    /// How long calls may still run at shutdown.
    pub drain: Duration,
    /// The identity of this run's epochs.
    pub lineage: Lineage,
}

/// The service answers from now on.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    /// The address that gRPC has taken.
    pub grpc: SocketAddr,
}

/// Why the service could not start, or ended before it was asked to.
#[derive(Debug, Error)]
pub enum ServerError {
    /// The engine could not start.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Feeding failed.
    #[error(transparent)]
    Feed(#[from] FeedError),
    /// The address is not to be had.
    #[error("{addr} can not be listened on: {cause}; choose another address, or port 0 for a free one")]
    Bind {
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        cause: io::Error,
    },
    /// A thread could not be started.
    #[error("a thread can not be started: {0}")]
    Thread(io::Error),
    /// The transport failed.
    #[error("the gRPC server failed: {0}")]
    Transport(#[from] tonic::transport::Error),
}

/// Runs the service over a source until `shutdown` completes. `ready` is called once, when the first call can be answered.
///
/// It starts the engine, the feed, the watcher and the listener. It ends the listener and all streams first, gives running
/// calls the drain time, and stops the feed, the engine and the watcher when nobody reads any more.
///
/// # Errors
/// Where something could not start, or failed on the way.
pub async fn run(
    settings: ServerSettings,
    source: FileSource,
    ready: impl FnOnce(Ready),
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServerError> {
    // The address first: it is the only thing here that other programs can hold.
    let addr = settings.grpc_addr;
    let listener = TcpListener::bind(addr).await.map_err(|cause| ServerError::Bind { addr, cause })?;
    let grpc = listener.local_addr().map_err(|cause| ServerError::Bind { addr, cause })?;
    let engine = Engine::start(settings.engine, source.streams())?;
    let (reader, evidence) = (engine.reader(), Evidence::new(source.raw_store()));
    let mut feed = Feed::start(engine, source, settings.epoch_interval).map_err(ServerError::Thread)?;
    let (watcher, progress) = Watcher::start(reader.clone()).map_err(ServerError::Thread)?;

    let (down, is_down) = watch::channel(false);
    let counts = CountsApi::server(reader, settings.lineage, evidence, settings.bounds, progress, is_down.clone());
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<CountsServer>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .expect("the descriptors were encoded by our own build");
    let router = Server::builder()
        .max_concurrent_streams(settings.concurrent_streams)
        .http2_keepalive_interval(Some(Duration::from_secs(30)))
        .add_service(health_service)
        .add_service(reflection)
        .add_service(counts);
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let mut serving = tokio::spawn(router.serve_with_incoming_shutdown(incoming, turns_true(is_down)));
    ready(Ready { grpc });

    let ended = tokio::select! {
        () = shutdown => Ok(()),
        error = feed.failed() => Err(ServerError::from(error)),
        end = &mut serving => Err(end.expect("serving does not panic").err().map_or_else(
            || unreachable!("the listener goes on until it is told to end"),
            ServerError::from,
        )),
    };

    tracing::info!("shutting down");
    health.set_not_serving::<CountsServer>().await;
    down.send_replace(true);
    if !serving.is_finished() && timeout(settings.drain, &mut serving).await.is_err() {
        tracing::warn!(drain = ?settings.drain, "calls were still running when the drain time was over");
        serving.abort();
    }
    let stopping = tokio::task::spawn_blocking(move || {
        feed.stop();
        watcher.stop();
    });
    stopping.await.expect("stopping only joins threads");
    ended
}

type CountsServer = crate::convert::wire::counts_service_server::CountsServiceServer<CountsApi>;

async fn turns_true(mut flag: watch::Receiver<bool>) {
    // A sender that is gone means the same.
    let _ = flag.wait_for(|&on| on).await;
}
