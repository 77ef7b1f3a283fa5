//! Feeds the records of a history to an engine.

use std::sync::Arc;
use std::time::Duration;

use recount_dataflow::domain::fingerprint::HashKey;
use recount_dataflow::engine::{Engine, EngineError, History as Kept, Settings, StreamName};
use recount_dataflow::intake::{Batch, Intake, RawRecords, unreadable};
use recount_dataflow::read::Reader;
use recount_dataflow::store::EpochBinding;

use crate::history::{Cut, History};
use crate::model::Delivered;

/// An engine that was fed a whole history, and drained.
pub struct Fed {
    /// The engine.
    pub engine: Engine,
    /// A reader of it.
    pub reader: Reader,
}

/// The lines of one stream.
struct Lines {
    bytes: Vec<u8>,
}

impl RawRecords for Lines {
    fn record(&self, offset: u64) -> (&[u8], u64) {
        let from = &self.bytes[offset as usize..];
        let length = from.iter().position(|&byte| byte == b'\n').expect("every line ends");
        (&from[..length], offset + length as u64 + 1)
    }
}

/// The wall clock that the harness binds to an epoch: the same for all where the engine cuts epochs by itself.
pub fn wall_ms(history: &History, epoch: u64) -> i64 {
    match history.plan.cut {
        Cut::Labels => 1_800_000_000_000 + epoch as i64,
        Cut::Every(_) => 1_800_000_000_000,
    }
}

/// The settings that a history is run by.
pub fn settings(history: &History) -> Settings {
    let plan = &history.plan;
    let mut secret = [0; 16];
    secret[..8].copy_from_slice(&history.seed.to_le_bytes());
    Settings {
        rules: history.rules,
        workers: plan.workers,
        epoch_records: match plan.cut {
            Cut::Labels => usize::MAX,
            Cut::Every(records) => records,
        },
        kept: plan.kept,
        history: Kept { epochs: plan.history_epochs, age: Duration::from_secs(1 << 30), bytes: usize::MAX },
        epochs_in_flight: plan.epochs_in_flight,
        // All merges beside the workers, some, or none.
        merge_beside_min: [0, 100, usize::MAX][(history.seed % 3) as usize],
        key: HashKey::new(secret),
        stream_set_aside: true,
        ..Settings::default()
    }
}

/// The names of a history's streams.
pub fn streams(history: &History) -> Vec<StreamName> {
    let stream = |partition| StreamName { source: "history".to_owned(), partition };
    (0..history.plan.streams as i32).map(stream).collect()
}

/// An engine for a history.
///
/// # Errors
/// Where it does not start.
pub fn start(history: &History) -> Result<Engine, EngineError> {
    Engine::start(settings(history), streams(history))
}

/// Starts an engine, feeds it all epochs, and waits until they are complete.
///
/// # Errors
/// Where it stops.
pub fn feed(history: &History, epochs: &[Vec<Delivered>]) -> Result<Fed, EngineError> {
    let mut engine = start(history)?;
    let reader = engine.reader();
    push_all(&mut engine, history, epochs)?;
    engine.drain()?;
    Ok(Fed { engine, reader })
}

/// Feeds all epochs and does not wait.
///
/// # Errors
/// Where the engine stops.
pub fn push_all(engine: &mut Engine, history: &History, epochs: &[Vec<Delivered>]) -> Result<(), EngineError> {
    let mut feeder = Feeder::new(history, epochs);
    match history.plan.cut {
        Cut::Labels => {
            for (epoch, records) in (1..).zip(epochs) {
                feeder.push_epoch(engine, epoch, records)?;
            }
        }
        Cut::Every(_) => {
            let records: Vec<&Delivered> = epochs.iter().flatten().collect();
            feeder.push(engine, &records, wall_ms(history, 0))?;
            engine.close_epoch(Some(wall_ms(history, 0)))?;
        }
    }
    Ok(())
}

/// What makes batches of a history's records.
pub struct Feeder {
    history: History,
    raw: Vec<Arc<Lines>>,
    intakes: Vec<Intake>,
}

impl Feeder {
    /// A feeder of a whole history.
    pub fn new(history: &History, epochs: &[Vec<Delivered>]) -> Feeder {
        let plan = &history.plan;
        let intakes = if plan.intake_per_stream { plan.streams as usize } else { 1 };
        let key = settings(history).key;
        Feeder {
            history: history.clone(),
            raw: (0..plan.streams).map(|stream| Arc::new(lines(epochs, stream))).collect(),
            intakes: (0..intakes).map(|_| Intake::new(key, history.rules)).collect(),
        }
    }

    /// Pushes the records of one epoch, and closes it.
    ///
    /// # Errors
    /// Where the engine stops.
    pub fn push_epoch(&mut self, engine: &mut Engine, epoch: u64, records: &[Delivered]) -> Result<(), EngineError> {
        let records: Vec<&Delivered> = records.iter().collect();
        let wall_ms = wall_ms(&self.history, epoch);
        self.push(engine, &records, wall_ms)?;
        engine.close_epoch(Some(wall_ms))?;
        Ok(())
    }

    /// Pushes the records of one epoch again, and closes it as it was bound.
    ///
    /// # Errors
    /// Where the engine stops.
    pub fn replay_epoch(
        &mut self,
        engine: &mut Engine,
        binding: &EpochBinding,
        records: &[Delivered],
    ) -> Result<(), EngineError> {
        let records: Vec<&Delivered> = records.iter().collect();
        for batch in self.batches(&records) {
            engine.push_bound(batch);
        }
        engine.close_bound(binding)
    }

    /// Feeds records, in their order.
    ///
    /// # Errors
    /// Where the engine stops.
    pub fn push(&mut self, engine: &mut Engine, records: &[&Delivered], wall_ms: i64) -> Result<(), EngineError> {
        self.batches(records).into_iter().try_for_each(|batch| engine.push(batch, Some(wall_ms)))
    }

    fn batches(&mut self, records: &[&Delivered]) -> Vec<Batch> {
        let mut batches = Vec::new();
        let by_stream = |one: &&Delivered, next: &&Delivered| one.position.stream == next.position.stream;
        for run in records.chunk_by(by_stream) {
            for batch in run.chunks(self.history.plan.batch_records) {
                let stream = batch[0].position.stream;
                let intake = stream as usize % self.intakes.len();
                let raw = self.raw[stream as usize].clone();
                let mut builder = self.intakes[intake].batch(stream, batch.len(), raw);
                batch.iter().for_each(|delivered| push_record(&mut builder, delivered));
                batches.push(builder.finish());
            }
        }
        batches
    }
}

fn push_record(builder: &mut recount_dataflow::intake::BatchBuilder<'_>, delivered: &Delivered) {
    let payload = delivered.record.to_json();
    let offset = delivered.position.offset;
    match delivered.record.body.to_event() {
        Some(event) => builder.push(&event, offset, payload.as_bytes(), delivered.record.arrival_ms),
        None => builder.push_broken(unreadable("cut short"), offset, payload.as_bytes(), payload.len() as u64),
    }
}

fn lines(epochs: &[Vec<Delivered>], stream: u16) -> Lines {
    let mut bytes = Vec::new();
    for delivered in epochs.iter().flatten().filter(|delivered| delivered.position.stream == stream) {
        assert_eq!(bytes.len() as u64, delivered.position.offset, "a stream's records follow each other");
        bytes.extend_from_slice(delivered.record.to_json().as_bytes());
        bytes.push(b'\n');
    }
    Lines { bytes }
}
