//! The service from start to end, in one visible order. [`backend`] is what stands behind its listeners.

mod backend;
mod entrance;

use std::io;
use std::net::SocketAddr;
use std::panic::resume_unwind;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use recount_connectors::FileSource;
use recount_connectors::log::LogFailure;
use recount_dataflow::engine::{EngineError, Settings};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use self::backend::Backend;
use self::entrance::Entrance;
use crate::api::Shared;
use crate::evidence::Evidence;
pub use crate::feed::FeedError;
use crate::limits::Bounds;
use crate::lineage::Lineage;
use crate::metrics::Metrics;
pub use crate::sinks::{SinkError, SinksError, SinksSettings};
pub use crate::store::{Pace, StoreError, StoreSettings};
use crate::watcher::Watcher;
use crate::{grpc, http};

/// What the service runs with.
#[derive(Clone)]
pub struct ServerSettings {
    /// The engine's.
    pub engine: Settings,
    /// Time after which an epoch closes.
    pub epoch_interval: Duration,
    /// Where gRPC listens; port 0 takes a free one.
    pub grpc_addr: SocketAddr,
    /// Where HTTP listens; port 0 takes a free one.
    pub http_addr: SocketAddr,
    /// Calls at the same time on one connection.
    pub concurrent_streams: u32,
    /// The bounds of calls.
    pub bounds: Bounds,
    /// How long calls may still run at shutdown.
    pub drain: Duration,
    /// The identity of this run's epochs.
    pub lineage: Lineage,
    /// What is published of a data directory; `None` where nothing is.
    pub sinks: Option<SinksSettings>,
}

/// Where records come from.
pub enum Input {
    /// Files, read at every start.
    Files(Box<FileSource>),
    /// Clients, whose events are kept in a data directory; or Kafka, with a data directory for everything else.
    Store(Box<StoreSettings>),
}

/// The service answers from now on.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    /// The address that gRPC has taken.
    pub grpc: SocketAddr,
    /// The address that HTTP has taken.
    pub http: SocketAddr,
}

/// Why the service could not start, or ended before it was asked to.
#[derive(Debug, Error)]
pub enum ServerError {
    /// The engine could not start.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The data directory can not be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log failed. What was acknowledged is safe.
    #[error("the log has failed: {0}")]
    Log(Arc<LogFailure>),
    /// Feeding failed.
    #[error(transparent)]
    Feed(#[from] FeedError),
    /// Publishing failed. What was not published is published after the next start.
    #[error(transparent)]
    Sink(#[from] SinksError),
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

impl ServerError {
    /// Whether the state is right all the same, up to where records could not be read on.
    fn is_of_source(&self) -> bool {
        matches!(self, ServerError::Feed(error) if error.is_of_source())
    }
}

/// Runs the service until `shutdown` completes. `ready` is called once, when the first call can be answered.
///
/// It takes the addresses, says there that it starts, starts the backend (directory, log, checkpoint, engine, feed), waits until
/// what was readable before is readable again, and starts the watcher and the listeners. It ends the listeners and all streams
/// first, gives running calls the drain time, and stops the backend (feed, engine, a last checkpoint unless something failed, log,
/// directory) when nobody asks any more.
///
/// # Errors
/// Where something could not start, or failed on the way.
pub async fn run(
    settings: ServerSettings,
    input: Input,
    ready: impl FnOnce(Ready),
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServerError> {
    let mut shutdown = pin!(shutdown);
    let (grpc_listener, grpc) = bind(settings.grpc_addr).await?;
    let (http_listener, http) = bind(settings.http_addr).await?;
    let (down, is_down) = watch::channel(false);
    let (http_entrance, grpc_entrance) = (Entrance::default(), Entrance::default());
    let streams = settings.concurrent_streams;
    let http_router = http_entrance.router(http::starting);
    let http_serving = tokio::spawn(http::serve(http_listener, http_router, streams, is_down.clone()));
    let grpc_router = grpc_entrance.router(grpc::starting);
    let mut grpc_serving = tokio::spawn(grpc::serve(grpc_listener, grpc_router, streams, is_down.clone()));
    let stopping = Arc::new(AtomicBool::new(false));
    let Some(mut backend) = start(input, &settings, &stopping, shutdown.as_mut()).await? else { return Ok(()) };
    let (reader, lineage) = (backend.reader.clone(), backend.lineage);
    let (watcher, progress) = Watcher::start(reader.clone()).map_err(ServerError::Thread)?;

    let shared =
        Shared::new(reader, lineage, Evidence::new(backend.raw.clone()), settings.bounds, progress, is_down.clone());
    let door = backend.door(settings.engine.rules);
    let metrics = backend.measure(Metrics::new(shared.clone(), &door));
    http_entrance.open(http::router(shared.clone(), Arc::new(metrics), door.clone()));
    grpc_entrance.open(grpc::router(shared, door, backend.trigger(), is_down).await);
    ready(Ready { grpc, http });

    let ended = tokio::select! {
        () = shutdown => Ok(()),
        error = backend.failed() => Err(error),
        end = &mut grpc_serving => Err(end.expect("serving does not panic").err().map_or_else(
            || unreachable!("the listener goes on until it is told to end"),
            ServerError::from,
        )),
    };

    tracing::info!("shutting down");
    down.send_replace(true);
    let drained_by = Instant::now() + settings.drain;
    drain(grpc_serving, drained_by).await;
    drain(http_serving, drained_by).await;
    stopping.store(true, Ordering::Relaxed);
    let ends_well = ended.as_ref().err().is_none_or(ServerError::is_of_source);
    blocking(move || {
        backend.stop(ends_well);
        watcher.stop();
    })
    .await;
    ended
}

/// Starts the backend, and waits until what was readable before is readable again; `None` where it is told to end before that.
async fn start(
    input: Input,
    settings: &ServerSettings,
    stopping: &Arc<AtomicBool>,
    mut shutdown: Pin<&mut impl Future<Output = ()>>,
) -> Result<Option<Backend>, ServerError> {
    let (starting, waits) = (settings.clone(), stopping.clone());
    let mut started = pin!(blocking(move || Backend::start(input, &starting, waits)));
    let mut backend = tokio::select! {
        backend = &mut started => backend?,
        () = &mut shutdown => {
            stopping.store(true, Ordering::Relaxed);
            if let Ok(backend) = started.await {
                blocking(move || backend.stop(true)).await;
            }
            return Ok(None);
        }
    };
    tokio::select! {
        caught_up = backend.caught_up() => caught_up?,
        () = &mut shutdown => {
            stopping.store(true, Ordering::Relaxed);
            blocking(move || backend.stop(true)).await;
            return Ok(None);
        }
    }
    Ok(Some(backend))
}

/// Runs what blocks on a thread for that.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|failure| resume_unwind(failure.into_panic()))
}

async fn bind(addr: SocketAddr) -> Result<(TcpListener, SocketAddr), ServerError> {
    let bound = async {
        let listener = TcpListener::bind(addr).await?;
        let taken = listener.local_addr()?;
        Ok((listener, taken))
    };
    bound.await.map_err(|cause| ServerError::Bind { addr, cause })
}

/// Waits for the calls that run, and breaks them off where they take too long.
async fn drain<T>(mut serving: JoinHandle<T>, drained_by: Instant) {
    if !serving.is_finished() && timeout_at(drained_by, &mut serving).await.is_err() {
        tracing::warn!("calls were still running when the drain time was over");
        serving.abort();
    }
}
