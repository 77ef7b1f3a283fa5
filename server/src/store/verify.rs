//! Everything again, from the log and the bindings, beside whoever writes: is it what was answered?
//!
//! An engine in memory makes every epoch again as it was bound, which must come to the positions, the watermark and the number
//! of records that were bound to it; at the epoch of every checkpoint its whole state must be that of the checkpoint.

use std::sync::Arc;
use std::time::Duration;

use recount_connectors::bindings::Bindings;
use recount_connectors::data_dir::{DataDir, DataDirError, StoreSource};
use recount_connectors::disk::SystemDisk;
use recount_connectors::log::{LogSource, LogView};
use recount_connectors::store::{CheckpointFiles, Place};
use recount_connectors::{Next, Source};
use recount_dataflow::checkpoint::{CheckpointError, CheckpointInfo, Checkpoints};
use recount_dataflow::domain::fact::Position;
use recount_dataflow::engine::{Engine, EngineError, History, Settings};
use recount_dataflow::read::Digest;
use recount_dataflow::store::{BindingSink, EpochBinding};
use thiserror::Error;

use super::{KafkaInput, StoreError, kafka};

/// How long to wait for the log's records before looking again.
const STEP: Duration = Duration::from_secs(1);

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
pub(crate) fn verify(
    dir: &std::path::Path,
    place: &Place,
    kafka: Option<&KafkaInput>,
    workers: usize,
    mut progress: impl FnMut(u64),
) -> Result<Verified, VerifyError> {
    let dir = DataDir::read_only(Arc::new(SystemDisk::open(dir)?))?;
    let records = Records::of(&dir, kafka)?;
    let checkpoints = Checkpoints::new(CheckpointFiles::open(&dir, place)?.store());
    let kept = checkpoints.list()?;
    let settings = Settings {
        rules: dir.rules(),
        workers,
        key: dir.hash_key(),
        history: History::newest_only(),
        ..Settings::default()
    };
    let from = match records.are_whole(&dir)? {
        true => None,
        false => kept.first().map(|oldest| oldest.number),
    };
    let checkpoint = from.map(|number| checkpoints.load(number)).transpose()?;
    let (epoch, positions) =
        checkpoint.as_ref().map_or((0, Vec::new()), |checkpoint| (checkpoint.epoch(), checkpoint.positions()));
    let recorded = Bindings::read(&dir, epoch + 1)?;
    let source = records.read(&dir, &positions)?;
    let streams = source.streams();
    let engine = Engine::restore(settings.clone(), streams.clone(), checkpoint, Box::new(NoBindings))?;
    let mut again = Again { source, engine, known: streams.len() };
    let mut verified = Verified { from, first: epoch + 1, newest: epoch, records: 0, checkpoints: 0 };
    for binding in recorded {
        let binding = binding?;
        again.make(&binding)?;
        (verified.newest, verified.records) = (binding.epoch, verified.records + binding.records_in);
        if let Some(kept) = kept.iter().find(|kept| kept.epoch == binding.epoch) {
            verified.checkpoints += usize::from(compare(&mut again, &checkpoints, kept, &settings)?);
        }
        progress(verified.records);
    }
    again.engine.drain()?;
    Ok(verified)
}

/// Where the records of a store are.
enum Records<'a> {
    Log(Arc<LogView>),
    Kafka(&'a KafkaInput),
}

impl<'a> Records<'a> {
    fn of(dir: &DataDir, kafka: Option<&'a KafkaInput>) -> Result<Self, VerifyError> {
        let place = || dir.disk().place("");
        match (dir.source(), kafka) {
            (StoreSource::Log, _) => Ok(Records::Log(LogView::read_only(dir)?)),
            (StoreSource::Kafka, Some(kafka)) => Ok(Records::Kafka(kafka)),
            (StoreSource::Kafka, None) => Err(DataDirError::OfKafka { dir: place() }.into()),
        }
    }

    /// Whether everything that was ever read can be read again.
    fn are_whole(&self, dir: &DataDir) -> Result<bool, VerifyError> {
        Ok(match self {
            Records::Log(view) => (0..view.partitions()).all(|partition| view.start(partition) == 0),
            Records::Kafka(input) => kafka::is_whole(input, dir)?,
        })
    }

    fn read(&self, dir: &DataDir, positions: &[Position]) -> Result<Box<dyn Source>, VerifyError> {
        Ok(match self {
            Records::Log(view) => Box::new(LogSource::start(view, dir.hash_key(), dir.rules(), positions)?),
            Records::Kafka(input) => kafka::start(input, dir, positions, &[])?.1,
        })
    }
}

/// The engine that makes epochs again.
struct Again {
    source: Box<dyn Source>,
    engine: Engine,
    /// Streams that the engine knows.
    known: usize,
}

impl Again {
    fn make(&mut self, binding: &EpochBinding) -> Result<(), VerifyError> {
        for &Position { stream, offset } in &binding.positions {
            loop {
                match self.source.next_of(stream, offset, STEP)? {
                    Next::Batch(batch) => {
                        self.name_streams();
                        self.engine.push_bound(batch);
                    }
                    Next::Waiting => {}
                    Next::End => break,
                }
            }
        }
        Ok(self.engine.close_bound(binding)?)
    }

    /// Names the streams that the process that writes has begun meanwhile.
    fn name_streams(&mut self) {
        for name in self.source.streams().into_iter().skip(self.known) {
            self.engine.add_stream(name);
            self.known += 1;
        }
    }
}

/// Holds a checkpoint against the state that was made again; false where the checkpoint has gone meanwhile.
fn compare(
    again: &mut Again,
    checkpoints: &Checkpoints,
    kept: &CheckpointInfo,
    settings: &Settings,
) -> Result<bool, VerifyError> {
    let checkpoint = match checkpoints.load(kept.number) {
        Err(CheckpointError::NotFound { .. }) => return Ok(false),
        loaded => loaded?,
    };
    again.engine.drain()?;
    let made = digest(&again.engine)?;
    let restored = Engine::restore(settings.clone(), again.source.streams(), Some(checkpoint), Box::new(NoBindings))?;
    let kept_digest = digest(&restored)?;
    if made != kept_digest {
        return Err(VerifyError::Mismatch(format!(
            "epoch {}: the log comes to {made:?}, but checkpoint {} holds {kept_digest:?}",
            kept.epoch, kept.number
        )));
    }
    Ok(true)
}

fn digest(engine: &Engine) -> Result<Digest, VerifyError> {
    let digest = engine.reader().snapshot(None).and_then(|snapshot| snapshot.digest());
    digest.map_err(|error| VerifyError::Mismatch(format!("the state can not be read: {error}")))
}

/// What nothing is bound in: every epoch was bound before.
struct NoBindings;

impl BindingSink for NoBindings {
    fn bind(&mut self, binding: &EpochBinding) -> std::io::Result<()> {
        unreachable!("epoch {} was bound before, and is only made again", binding.epoch)
    }
}
