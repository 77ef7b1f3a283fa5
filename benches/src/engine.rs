//! The engine alone, fed with facts that were decoded before; and with checkpoints beside it.

use std::collections::HashMap;
use std::error::Error;
use std::thread;
use std::time::{Duration, Instant};

use recount_dataflow::checkpoint::Checkpoint;
use recount_dataflow::domain::fingerprint::HashKey;
use recount_dataflow::domain::window::Granularity;
use recount_dataflow::engine::{Engine, EngineError, History, Settings, StreamName};
use recount_dataflow::intake::Batch;
use recount_dataflow::read::{Reader, Snapshot};
use recount_dataflow::store::{BindingSink, EpochBinding};
use recount_server::allocator::give_back;

use crate::checksum::Checksums;
use crate::facts::FactFile;
use crate::keeping::{Keep, Keeping, Kept};
use crate::measure::{millis, resident_bytes};
use crate::outcome::Outcome;

/// Longer than any run.
const RUN_MAX: Duration = Duration::from_secs(3_600);

/// After so long without work, workers have come to rest.
const REST: Duration = Duration::from_millis(2_500);

/// Counts a file of facts with `workers` threads, an epoch every `epoch_records`. `preload` reads all input before the clock
/// starts; without it the memory held at the end is that of the engine's newest state alone.
///
/// # Errors
/// Where the engine stops.
pub(crate) fn run(
    file: &FactFile,
    workers: usize,
    epoch_records: usize,
    preload: bool,
) -> Result<Outcome, Box<dyn Error>> {
    let shape = Shape { workers, epoch_records, preload, keep: None };
    Ok(run_kept(file, &shape)?.0)
}

/// How a file of facts is counted.
pub(crate) struct Shape {
    pub(crate) workers: usize,
    pub(crate) epoch_records: usize,
    pub(crate) preload: bool,
    /// What is kept beside it, where anything is.
    pub(crate) keep: Option<Keep>,
}

/// The same, with what was kept of it.
///
/// # Errors
/// Where the engine or its checkpoints stop.
pub(crate) fn run_kept(file: &FactFile, shape: &Shape) -> Result<(Outcome, Kept), Box<dyn Error>> {
    let &Shape { workers, epoch_records, preload, .. } = shape;
    let start_bytes = resident_bytes();
    let batches = file.batches(epoch_records);
    let batches: Box<dyn Iterator<Item = Batch>> = match preload {
        true => Box::new(batches.collect::<Vec<_>>().into_iter()),
        false => Box::new(batches),
    };
    // What is kept for reading back is bounded apart; the memory of interest is that of the state.
    let history = if preload { History::default() } else { History::newest_only() };
    let settings = Settings { workers, epoch_records, history, at_rest: give_back, ..Settings::default() };
    let key = settings.key;
    let mut engine = start(settings, shape.keep.is_some())?;
    let keeping = shape.keep.as_ref().map(|keep| Keeping::start(keep, engine.reader())).transpose()?;

    let epochs = file.records().expect("the facts have been written").div_ceil(epoch_records as u64);
    let watcher = watch(engine.reader(), epochs);
    let clock = Instant::now();
    let mut closed = Vec::with_capacity(epochs as usize);
    for batch in batches {
        keeping.iter().try_for_each(|keeping| keeping.make_room(&mut engine))?;
        engine.push(batch, None)?;
        closed.push(Instant::now());
    }
    engine.close_epoch(None)?;
    let newest = engine.drain()?;
    let elapsed = clock.elapsed();
    assert!(newest == epochs, "{epochs} epochs went in, {newest} came out");

    let complete = watcher.join().expect("the watcher does not panic");
    let latencies_ms = closed.iter().zip(complete).map(|(closed, complete)| millis(complete - *closed)).collect();
    let kept = keeping.map(Keeping::stop).transpose()?.unwrap_or_default();
    if !preload {
        // Workers that rest give recycled memory back.
        thread::sleep(REST);
    }
    let retained_bytes = resident_bytes().saturating_sub(start_bytes);
    let checksums = checksums(&engine.reader().snapshot(None).expect("the newest epoch can be read"), &key);
    engine.shutdown()?;
    Ok((Outcome::new(elapsed, latencies_ms, retained_bytes, checksums), kept))
}

/// An engine of which nothing is bound anywhere; `kept` where checkpoints are to be written of it.
fn start(settings: Settings, kept: bool) -> Result<Engine, EngineError> {
    let streams = vec![StreamName { source: "facts".into(), partition: 0 }];
    match kept {
        false => Engine::start(settings, streams),
        true => Engine::restore(settings, streams, None::<Checkpoint>, Box::new(BoundNowhere)),
    }
}

/// Takes bindings and forgets them.
struct BoundNowhere;

impl BindingSink for BoundNowhere {
    fn bind(&mut self, _: &EpochBinding) -> std::io::Result<()> {
        Ok(())
    }
}

/// Notes when each epoch becomes complete.
fn watch(reader: Reader, epochs: u64) -> thread::JoinHandle<Vec<Instant>> {
    thread::spawn(move || {
        let deadline = Instant::now() + RUN_MAX;
        let mut complete = Vec::with_capacity(epochs as usize);
        while (complete.len() as u64) < epochs {
            let Ok(readable) = reader.wait_for(complete.len() as u64 + 1, deadline) else { break };
            let now = Instant::now();
            complete.resize(readable.upper as usize - 1, now);
        }
        complete
    })
}

/// What the rows of every granularity come to.
fn checksums(snapshot: &Snapshot, key: &HashKey) -> Checksums {
    let mut sums = Checksums::default();
    let mut ads = HashMap::new();
    for granularity in Granularity::ALL {
        let add = |row: &recount_dataflow::read::Row| {
            let ad = *ads.entry(row.ad_id.clone()).or_insert_with(|| key.ad(&row.ad_id));
            sums.add_row(granularity, ad, granularity.window_of(row.window_start_ms), &row.metrics);
        };
        snapshot.for_each_row(granularity, add).expect("every granularity is kept");
    }
    sums
}
