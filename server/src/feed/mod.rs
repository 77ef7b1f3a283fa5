//! The thread that owns the engine and feeds it from the source: first the epochs that were bound before, cut as they were, then
//! new ones as time passes. [`brake`] holds it back where the state takes too much memory.

mod brake;
mod streams;

use std::io;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use recount_connectors::bindings::BindingError;
use recount_connectors::{Next, Source, SourceError, Stopper, read_up_to};
use recount_dataflow::engine::{Engine, EngineError};
use recount_dataflow::intake::Batch;
use recount_dataflow::read::Reader;
use recount_dataflow::store::EpochBinding;
use thiserror::Error;
use tokio::sync::oneshot;

pub(crate) use self::brake::Brake;
pub(crate) use self::streams::KnownStreams;
use crate::clock::wall_ms;

/// How often the source hears what is bound.
const BOUND_EVERY: Duration = Duration::from_secs(1);
/// How long a replay waits for records before it looks whether to stop.
const REPLAY_STEP: Duration = Duration::from_millis(50);
/// How often it is looked whether those who follow have come closer.
const HELD_STEP: Duration = Duration::from_millis(5);
/// After how long a feed that stands still is spoken of, and how often.
const SAY_AFTER: Duration = Duration::from_secs(1);
const SAY_EVERY: Duration = Duration::from_secs(10);

/// Why feeding ended before it was asked to.
#[derive(Debug, Error)]
pub enum FeedError {
    /// The source could not go on.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The engine stopped.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// What was bound before can not be read.
    #[error(transparent)]
    Bindings(#[from] BindingError),
    /// Records are gone that epochs were bound to, from between others.
    #[error(
        "epoch {epoch} can not be made again: of {topics} Kafka has most likely compacted records that were counted in it, which no \
         checkpoint holds. Bring the records back, or begin a new store; and raise min.compaction.lag.ms of these topics, as \
         recount kafka check says. (It was bound as {bound}, and comes to {found}.)"
    )]
    Compacted {
        /// The epoch.
        epoch: u64,
        /// The topics that are compacted.
        topics: String,
        /// What the binding says.
        bound: String,
        /// What was read again.
        found: String,
    },
}

impl FeedError {
    /// Whether the state is right all the same, up to where the source could not go on.
    pub(crate) fn is_of_source(&self) -> bool {
        matches!(self, FeedError::Source(_))
    }

    /// Why an epoch could not be made again from this source.
    pub(crate) fn of_replay(error: EngineError, source: &dyn Source) -> FeedError {
        match error {
            EngineError::Rebound { epoch, bound, found } => match source.compacted() {
                topics if topics.is_empty() => EngineError::Rebound { epoch, bound, found }.into(),
                topics => FeedError::Compacted { epoch, topics: topics.join(", "), bound, found },
            },
            other => other.into(),
        }
    }
}

/// What was bound to epochs before, in their order.
pub(crate) type Recorded = Box<dyn Iterator<Item = Result<EpochBinding, BindingError>> + Send>;

/// The running thread.
pub(crate) struct Feed {
    source: Stopper,
    /// Dropped to end a feed that has nothing more to read.
    stop: mpsc::Sender<()>,
    thread: JoinHandle<()>,
    caught_up: Option<oneshot::Receiver<()>>,
    ended: oneshot::Receiver<Result<(), FeedError>>,
}

impl Feed {
    /// Starts the thread. It makes the recorded epochs again, then goes on where they end: an epoch closes `epoch_interval`
    /// after the last one closed, or when the engine finds it full. `brake` holds it back where the state takes too much memory, and
    /// nothing more is fed while somebody who follows is more than `behind_max` epochs behind.
    ///
    /// # Errors
    /// Where the thread can not be started.
    pub(crate) fn start(
        engine: Engine,
        source: Box<dyn Source>,
        recorded: Recorded,
        epoch_interval: Duration,
        brake: Option<Brake>,
        behind_max: Option<u64>,
    ) -> io::Result<Feed> {
        let (stop, stopped) = mpsc::channel();
        let (end, ended) = oneshot::channel();
        let (tell_caught_up, caught_up) = oneshot::channel();
        let stopper = source.stopper();
        let known = KnownStreams::new(source.streams().len());
        let followers = behind_max.map(|behind_max| (engine.reader(), behind_max));
        let mut feeding = Feeding { engine, source, known, stopped, brake, followers };
        let thread = thread::Builder::new().name("feed".into()).spawn(move || {
            let replayed = feeding.replay(recorded);
            let result = replayed.and_then(|is_whole| match is_whole {
                true => {
                    // At shutdown nobody listens any more; nor below.
                    let _ = tell_caught_up.send(());
                    feeding.live(epoch_interval)
                }
                false => Ok(()),
            });
            let result = result.and_then(|()| feeding.engine.shutdown().map_err(FeedError::from));
            let _ = end.send(result);
        })?;
        Ok(Feed { source: stopper, stop, thread, caught_up: Some(caught_up), ended })
    }

    /// Waits until every recorded epoch is readable again.
    ///
    /// # Errors
    /// Where the feed failed before.
    pub(crate) async fn caught_up(&mut self) -> Result<(), FeedError> {
        match self.caught_up.take() {
            None => Ok(()),
            Some(caught_up) => match caught_up.await {
                Ok(()) => Ok(()),
                Err(_) => Err(self.failed().await),
            },
        }
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

/// What the thread has.
struct Feeding {
    engine: Engine,
    source: Box<dyn Source>,
    known: KnownStreams,
    stopped: mpsc::Receiver<()>,
    brake: Option<Brake>,
    /// Who may hold the feed back: how many epochs somebody who follows may be behind.
    followers: Option<(Reader, u64)>,
}

impl Feeding {
    /// Whether too much is in memory: then the open epoch is to be closed, and the brake put on.
    fn is_too_large(&self) -> bool {
        self.brake.as_ref().is_some_and(Brake::is_due)
    }

    /// Waits for a checkpoint, where what is complete takes too much memory yet.
    fn put_brake_on(&mut self) -> Result<(), EngineError> {
        // What files hold goes with the next epoch that completes.
        self.engine.drain()?;
        let stopped = &self.stopped;
        self.brake.iter_mut().for_each(|brake| brake.hold(|| is_stopped(stopped)));
        Ok(())
    }

    fn is_stopped(&self) -> bool {
        is_stopped(&self.stopped)
    }

    /// Waits for those who follow; false where it was told to stop.
    fn wait_for_followers(&self) -> bool {
        let Some((reader, behind_max)) = &self.followers else { return true };
        let began = Instant::now();
        let mut said = None;
        while reader.is_held_back(*behind_max) {
            if self.is_stopped() {
                return false;
            }
            if said.is_none_or(|said: Instant| SAY_EVERY <= said.elapsed()) && SAY_AFTER <= began.elapsed() {
                let upper = reader.readable().upper;
                tracing::warn!(
                    upper,
                    "the feed waits for a sink that is too far behind; what is acknowledged is safe, and reads go on"
                );
                said = Some(Instant::now());
            }
            thread::sleep(HELD_STEP);
        }
        true
    }

    /// Tells the source what every complete epoch has bound.
    fn tell_bound(&mut self) {
        if let Ok(snapshot) = self.engine.reader().snapshot(None) {
            self.source.bound(&snapshot.positions());
        }
    }

    /// Makes epochs again as they were bound; false where it was told to stop before the last.
    fn replay(&mut self, recorded: Recorded) -> Result<bool, FeedError> {
        for binding in recorded {
            let binding = binding?;
            let take = |source: &dyn Source, batch: Batch| {
                self.known.tell(source, batch.stream, &self.engine);
                self.engine.push_bound(batch);
            };
            let go_on = || !is_stopped(&self.stopped);
            let is_read = read_up_to(&mut *self.source, &binding.positions, REPLAY_STEP, take, go_on)?;
            if !is_read || self.is_stopped() || !self.wait_for_followers() {
                return Ok(false);
            }
            let closed = self.engine.close_bound(&binding);
            closed.map_err(|error| FeedError::of_replay(error, &*self.source))?;
            if self.is_too_large() {
                self.put_brake_on()?;
            }
        }
        self.engine.drain()?;
        Ok(true)
    }

    /// Feeds records as they come, until it is told to stop.
    fn live(&mut self, epoch_interval: Duration) -> Result<(), FeedError> {
        let mut close_at = Instant::now() + epoch_interval;
        let mut tell_at = Instant::now() + BOUND_EVERY;
        while !self.is_stopped() && self.wait_for_followers() {
            if self.is_too_large() {
                self.engine.close_epoch(Some(wall_ms()))?;
                self.put_brake_on()?;
            }
            let next = self.source.next_within(close_at.saturating_duration_since(Instant::now()));
            let next = match next {
                Ok(next) => next,
                Err(error) => {
                    // What came before is right, and the next start is to go on exactly from there.
                    self.engine.close_epoch(Some(wall_ms()))?;
                    self.engine.drain()?;
                    return Err(error.into());
                }
            };
            match next {
                Next::Batch(batch) => {
                    self.known.tell(&*self.source, batch.stream, &self.engine);
                    self.engine.push(batch, Some(wall_ms()))?;
                }
                Next::Waiting => {}
                Next::End => {
                    let epoch = self.engine.close_epoch(Some(wall_ms()))?;
                    self.engine.drain()?;
                    tracing::info!(epoch, "the source has come to its end; what it held stays readable");
                    // Nothing is ever sent: this ends when the other end is dropped.
                    let _ = self.stopped.recv();
                    break;
                }
            }
            if Instant::now() >= close_at {
                self.engine.close_epoch(Some(wall_ms()))?;
                close_at = Instant::now() + epoch_interval;
            }
            if Instant::now() >= tell_at {
                self.tell_bound();
                tell_at = Instant::now() + BOUND_EVERY;
            }
        }
        self.engine.close_epoch(Some(wall_ms()))?;
        self.engine.drain()?;
        self.tell_bound();
        Ok(())
    }
}

/// Whether the other end of a thread's `stop` is gone.
fn is_stopped(stopped: &mpsc::Receiver<()>) -> bool {
    matches!(stopped.try_recv(), Err(mpsc::TryRecvError::Disconnected))
}
