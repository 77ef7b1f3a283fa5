//! The thread that owns the engine and feeds it from the source, closing epochs as time passes.

use std::io;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use recount_connectors::{Next, Source, SourceError, Stopper};
use recount_dataflow::engine::{Engine, EngineError};
use thiserror::Error;
use tokio::sync::oneshot;

/// Why feeding ended before it was asked to.
#[derive(Debug, Error)]
pub enum FeedError {
    /// The source could not go on.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The engine stopped.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// The running thread.
pub(crate) struct Feed {
    source: Stopper,
    /// Dropped to end a feed that has nothing more to read.
    stop: mpsc::Sender<()>,
    thread: JoinHandle<()>,
    ended: oneshot::Receiver<Result<(), FeedError>>,
}

impl Feed {
    /// Starts the thread. An epoch closes `epoch_interval` after the last one closed, or when the engine finds it full.
    ///
    /// # Errors
    /// Where the thread can not be started.
    pub(crate) fn start(engine: Engine, source: Box<dyn Source>, epoch_interval: Duration) -> io::Result<Feed> {
        let (stop, stopped) = mpsc::channel();
        let (end, ended) = oneshot::channel();
        let stopper = source.stopper();
        let thread = thread::Builder::new().name("feed".into()).spawn(move || {
            let result = feed(engine, source, epoch_interval, &stopped);
            // At shutdown nobody listens any more.
            let _ = end.send(result);
        })?;
        Ok(Feed { source: stopper, stop, thread, ended })
    }

    /// Waits until the feed ends by itself, which it only does where it failed.
    pub(crate) async fn failed(&mut self) -> FeedError {
        match (&mut self.ended).await {
            Ok(Err(error)) => error,
            Ok(Ok(())) => unreachable!("the feed goes on until it is stopped"),
            Err(_) => panic!("the feeding thread panicked; this is a bug in Recount"),
        }
    }

    /// Ends the feed and the engine, after the epochs in flight. Blocks until both are gone.
    pub(crate) fn stop(self) {
        self.source.stop();
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("the feeding thread panicked; this is a bug in Recount");
        }
    }
}

fn feed(
    mut engine: Engine,
    mut source: Box<dyn Source>,
    epoch_interval: Duration,
    stopped: &mpsc::Receiver<()>,
) -> Result<(), FeedError> {
    let mut close_at = Instant::now() + epoch_interval;
    let is_stopped = || matches!(stopped.try_recv(), Err(mpsc::TryRecvError::Disconnected));
    while !is_stopped() {
        match source.next_within(close_at.saturating_duration_since(Instant::now()))? {
            Next::Batch(batch) => engine.push(batch, Some(wall_ms()))?,
            Next::Waiting => {}
            Next::End => {
                let epoch = engine.close_epoch(Some(wall_ms()))?;
                engine.drain()?;
                tracing::info!(epoch, "the source has come to its end; what it held stays readable");
                // Nothing is ever sent: this ends when the other end is dropped.
                let _ = stopped.recv();
                break;
            }
        }
        if Instant::now() >= close_at {
            engine.close_epoch(Some(wall_ms()))?;
            close_at = Instant::now() + epoch_interval;
        }
    }
    engine.close_epoch(Some(wall_ms()))?;
    engine.drain()?;
    engine.shutdown()?;
    Ok(())
}

fn wall_ms() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock stands after 1970");
    since_1970.as_millis() as i64
}
