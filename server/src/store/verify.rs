//! Everything again, from the log and the bindings, beside whoever writes: is it what was answered?
//!
//! An engine in memory makes every epoch again as it was bound, which must come to the positions, the watermark and the number
//! of records that were bound to it; at the epoch of every checkpoint its whole state must be that of the checkpoint.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use recount_connectors::bindings::{BindingError, Bindings, newest_bound};
use recount_connectors::data_dir::{DataDir, DataDirError, StoreSource};
use recount_connectors::disk::SystemDisk;
use recount_connectors::log::{LogSource, LogView};
use recount_connectors::store::{CheckpointFiles, Place};
use recount_connectors::{Source, read_up_to};
use recount_dataflow::checkpoint::{Checkpoint, Checkpoints, Listed};
use recount_dataflow::domain::fact::Position;
use recount_dataflow::engine::{Engine, EngineError, History, Settings};
use recount_dataflow::intake::Batch;
use recount_dataflow::read::Digest;
use recount_dataflow::store::{BindingSink, EpochBinding};
use thiserror::Error;

use super::{KafkaInput, StoreError, check_rules, kafka};
use crate::feed::{FeedError, KnownStreams};

/// How long to wait for the log's records before looking again.
const STEP: Duration = Duration::from_secs(1);
/// How often checkpoints are listed again where all that were listed have gone.
const HOLD_ATTEMPTS: usize = 16;

/// Why nothing could be verified, or what was found to differ.
#[derive(Debug, Error)]
pub(crate) enum VerifyError {
    /// The directory can not be read.
    #[error(transparent)]
    Store(StoreError),
    /// The engine could not be started, or stopped.
    #[error(transparent)]
    Engine(EngineError),
    /// What was made again is not what was kept.
    #[error("{0}")]
    Mismatch(String),
    /// Checkpoints went before they could be read.
    #[error(
        "the service lets go of checkpoints faster than they can be read; try again with a longer checkpoint.interval"
    )]
    NotHeld,
    /// Somebody has deleted a checkpoint.
    #[error(
        "checkpoint {number} was the newest and is gone: no service lets go of that; was a file deleted? Restore it from a backup"
    )]
    NewestGone {
        /// Its number.
        number: u64,
    },
    /// The only checkpoint is the one that the replay began from.
    #[error(
        "not everything that was read can be read again, and there is no checkpoint but {number}, where this began: there is nothing \
         to hold its state against; try again when the service has written another"
    )]
    NothingCompared {
        /// Its number.
        number: u64,
    },
}

impl From<EngineError> for VerifyError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Rebound { .. } => VerifyError::Mismatch(error.to_string()),
            other => VerifyError::Engine(other),
        }
    }
}

impl<E> From<E> for VerifyError
where
    StoreError: From<E>,
{
    fn from(error: E) -> Self {
        VerifyError::Store(StoreError::from(error))
    }
}

/// What was verified.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Verified {
    /// The checkpoint that it began from; `None` for the log's beginning.
    pub(crate) from: Option<u64>,
    /// The first epoch that was made again.
    pub(crate) first: u64,
    /// The newest.
    pub(crate) newest: u64,
    /// Records in them.
    pub(crate) records: u64,
    /// Checkpoints whose whole state was compared.
    pub(crate) checkpoints: usize,
}

/// Makes every epoch again, on so many workers, from the store's log or from `kafka`, and compares it with the checkpoints at `place`.
/// `progress` hears of each.
///
/// The checkpoints that are kept at the start are held all along: the process that writes may let go of them meanwhile.
pub(crate) fn verify(
    dir: &std::path::Path,
    place: &Place,
    kafka: Option<&KafkaInput>,
    workers: usize,
    mut progress: impl FnMut(u64),
) -> Result<Verified, VerifyError> {
    let dir = DataDir::read_only(Arc::new(SystemDisk::open(dir)?))?;
    dir.check_begun()?;
    let checkpoints = Checkpoints::new(CheckpointFiles::open(&dir, place)?.store());
    let held = Held::all_after(&checkpoints, 0)?;
    held.check_bound(&dir)?;
    let newest_held = held.newest();
    // In this order: the log is looked at when what it is held against is known, and does not grow for who only reads it.
    let bound = newest_bound(&dir)?;
    let mut again = Again::start(&dir, &RecordsAgain::of(&dir, kafka)?, held, workers)?;
    again.follow(&dir, bound, &mut progress)?;
    // Those that came meanwhile have to be whole as well, and bound.
    let came = Held::all_after(&checkpoints, newest_held)?;
    check_newest(&checkpoints, newest_held)?;
    came.check_bound(&dir)?;
    if again.verified.checkpoints == 0 && came.newest() > newest_held {
        let bound = again.go_on(&dir, &RecordsAgain::of(&dir, kafka)?, came)?;
        again.follow(&dir, bound, &mut progress)?;
    }
    again.engine.drain()?;
    match again.verified {
        Verified { from: Some(number), checkpoints: 0, .. } => Err(VerifyError::NothingCompared { number }),
        verified => Ok(verified),
    }
}

/// The newest checkpoint is never let go of; it can only have been deleted.
fn check_newest(checkpoints: &Checkpoints, newest_held: u64) -> Result<(), VerifyError> {
    let newest = checkpoints.list()?.last().map_or(0, |listed| listed.number);
    match newest < newest_held {
        true => Err(VerifyError::NewestGone { number: newest_held }),
        false => Ok(()),
    }
}

/// Checkpoints that stay readable, by epoch.
struct Held {
    checkpoints: VecDeque<Checkpoint>,
}

impl Held {
    /// Those of a number above `after`, every byte of which is checked.
    fn all_after(checkpoints: &Checkpoints, after: u64) -> Result<Held, VerifyError> {
        for _ in 0..HOLD_ATTEMPTS {
            let mut held = Vec::new();
            let list = checkpoints.list()?;
            // The newest stays longest.
            for Listed { number, info } in list.into_iter().rev().take_while(|listed| after < listed.number) {
                held.push(info.and_then(|_| checkpoints.load_kept(number))?);
            }
            let had_any = !held.is_empty();
            let mut held: Vec<Checkpoint> = held.into_iter().flatten().collect();
            if held.is_empty() && had_any {
                continue;
            }
            // A writer that was replaced may have left one of a higher epoch under a lower number.
            held.sort_by_key(|checkpoint| (checkpoint.epoch(), checkpoint.number()));
            return Ok(Held { checkpoints: held.into() });
        }
        Err(VerifyError::NotHeld)
    }

    /// The greatest number; 0 where there is none.
    fn newest(&self) -> u64 {
        self.checkpoints.iter().map(Checkpoint::number).max().unwrap_or(0)
    }

    /// What is of an epoch was bound before: that it is not bound says that bindings are missing.
    fn check_bound(&self, dir: &DataDir) -> Result<(), VerifyError> {
        match self.checkpoints.back() {
            Some(last) => Ok(Bindings::read(dir, last.epoch() + 1).map(drop)?),
            None => Ok(()),
        }
    }
}

/// Where the records of a store are.
enum RecordsAgain<'a> {
    Log(Arc<LogView>),
    Kafka(&'a KafkaInput),
}

impl<'a> RecordsAgain<'a> {
    fn of(dir: &DataDir, kafka: Option<&'a KafkaInput>) -> Result<Self, VerifyError> {
        let place = || dir.disk().place("");
        match (dir.source(), kafka) {
            (StoreSource::Log, _) => Ok(RecordsAgain::Log(LogView::read_only(dir)?)),
            (StoreSource::Kafka, Some(kafka)) => Ok(RecordsAgain::Kafka(kafka)),
            (StoreSource::Kafka, None) => Err(DataDirError::OfKafka { dir: place() }.into()),
        }
    }

    /// Whether everything that was ever read can be read again.
    fn are_whole(&self, dir: &DataDir) -> Result<bool, VerifyError> {
        Ok(match self {
            RecordsAgain::Log(view) => (0..view.partitions()).all(|partition| view.start(partition) == 0),
            RecordsAgain::Kafka(input) => kafka::is_whole(input, dir)?,
        })
    }

    fn read(&self, dir: &DataDir, positions: &[Position]) -> Result<Box<dyn Source>, VerifyError> {
        Ok(match self {
            RecordsAgain::Log(view) => Box::new(LogSource::start(view, dir.hash_key(), dir.rules(), positions)?),
            RecordsAgain::Kafka(input) => kafka::start(input, dir, positions, &[])?.1,
        })
    }
}

/// The engine that makes epochs again, and what it is held against.
struct Again {
    source: Box<dyn Source>,
    engine: Engine,
    settings: Settings,
    known: KnownStreams,
    /// Checkpoints of epochs to come.
    held: Held,
    verified: Verified,
}

impl Again {
    /// Begins with the log's beginning, or where that is gone, with the oldest checkpoint.
    fn start(dir: &DataDir, records: &RecordsAgain<'_>, mut held: Held, workers: usize) -> Result<Again, VerifyError> {
        held.checkpoints.iter().try_for_each(|checkpoint| check_rules(dir, checkpoint))?;
        let settings = Settings {
            rules: dir.rules(),
            workers,
            key: dir.hash_key(),
            history: History::newest_only(),
            ..Settings::default()
        };
        let oldest = if records.are_whole(dir)? { None } else { held.checkpoints.pop_front() };
        let from = oldest.as_ref().map(Checkpoint::number);
        let (epoch, positions) = oldest.as_ref().map_or((0, Vec::new()), |oldest| (oldest.epoch(), oldest.positions()));
        let source = records.read(dir, &positions)?;
        let streams = source.streams();
        let engine = Engine::restore(settings.clone(), streams.clone(), oldest, Box::new(NoBindings))?;
        let verified = Verified { from, first: epoch + 1, newest: epoch, records: 0, checkpoints: 0 };
        let mut again = Again { source, engine, settings, known: KnownStreams::new(streams.len()), held, verified };
        again.compare(epoch)?;
        Ok(again)
    }

    /// Makes epochs again as they were bound, up to one.
    fn follow(&mut self, dir: &DataDir, bound: u64, progress: &mut impl FnMut(u64)) -> Result<(), VerifyError> {
        let is_due = |binding: &Result<EpochBinding, BindingError>| {
            binding.as_ref().map_or(true, |binding| binding.epoch <= bound)
        };
        for binding in Bindings::read(dir, self.verified.newest + 1)?.take_while(is_due) {
            let binding = binding?;
            self.make(&binding)?;
            self.verified.newest = binding.epoch;
            self.verified.records += binding.records_in;
            self.compare(binding.epoch)?;
            progress(self.verified.records);
        }
        match self.held.checkpoints.front().map(Checkpoint::epoch) {
            None => Ok(()),
            Some(epoch) => {
                let newest = self.verified.newest;
                let what = format!("epoch {epoch} has a checkpoint, and the bindings end with epoch {newest}");
                Err(VerifyError::Mismatch(what))
            }
        }
    }

    /// Goes on to checkpoints that came meanwhile: those that are ahead are compared. Returns the last epoch among them.
    fn go_on(&mut self, dir: &DataDir, records: &RecordsAgain<'_>, came: Held) -> Result<u64, VerifyError> {
        self.engine.drain()?;
        let newest = self.verified.newest;
        self.held.checkpoints = came.checkpoints.into_iter().filter(|came| newest < came.epoch()).collect();
        let positions = self.engine.reader().snapshot(None).map(|snapshot| snapshot.positions()).unwrap_or_default();
        let positions: Vec<Position> =
            positions.into_iter().map(|(stream, offset)| Position { stream, offset }).collect();
        self.source = records.read(dir, &positions)?;
        Ok(self.held.checkpoints.back().map_or(newest, Checkpoint::epoch))
    }

    fn make(&mut self, binding: &EpochBinding) -> Result<(), VerifyError> {
        // The process that writes may have begun streams meanwhile.
        let take = |source: &dyn Source, batch: Batch| {
            self.known.tell(source, batch.stream, &self.engine);
            self.engine.push_bound(batch);
        };
        read_up_to(&mut *self.source, &binding.positions, STEP, take, || true)?;
        let closed = self.engine.close_bound(binding);
        closed.map_err(|error| match FeedError::of_replay(error, &*self.source) {
            FeedError::Engine(error) => error.into(),
            other => VerifyError::Mismatch(other.to_string()),
        })
    }

    /// Holds the checkpoints of an epoch against the state that was made again.
    fn compare(&mut self, epoch: u64) -> Result<(), VerifyError> {
        while self.held.checkpoints.front().is_some_and(|kept| kept.epoch() == epoch)
            && let Some(kept) = self.held.checkpoints.pop_front()
        {
            let number = kept.number();
            self.engine.drain()?;
            let made = digest(&self.engine);
            let streams = self.source.streams();
            let restored = Engine::restore(self.settings.clone(), streams, Some(kept), Box::new(NoBindings))?;
            let kept = digest(&restored);
            if made != kept {
                return Err(VerifyError::Mismatch(format!(
                    "epoch {epoch}: the log comes to {made:?}, but checkpoint {number} holds {kept:?}"
                )));
            }
            self.verified.checkpoints += 1;
        }
        Ok(())
    }
}

fn digest(engine: &Engine) -> Digest {
    engine.reader().snapshot(None).expect("the newest complete epoch can be read").digest()
}

/// What nothing is bound in: every epoch was bound before.
struct NoBindings;

impl BindingSink for NoBindings {
    fn bind(&mut self, binding: &EpochBinding) -> std::io::Result<()> {
        unreachable!("epoch {} was bound before, and is only made again", binding.epoch)
    }
}
