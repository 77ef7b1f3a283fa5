//! The embedded log: what was accepted, durable before anybody is told.
//!
//! ```text
//! clients ──append──▶ │ bounded queue │ ──▶ committer ──write, sync──▶ segments ──▶ sources, raw stores
//!    ▲                                         │ fence checked                          (what is durable)
//!    └───────────── acknowledged ◀─────────────┘
//! ```
//!
//! One thread commits: it takes all that waits, writes it to one partition, syncs once, makes sure that it is still the one
//! that writes, lets readers see it, and acknowledges. Partitions take turns by commit. The `format` of the bytes, where the
//! log ends after a crash (`recovery`) and what goes in the end (`retention`) each have a file.
//!
//! An append is taken at least once: one that was not acknowledged may be in the log, and its client sends it again.

mod append;
mod committer;
mod error;
mod format;
mod queue;
mod reader;
mod records;
mod recovery;
mod retention;
mod settings;
mod source;
mod stats;
mod view;
mod window;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use committer::Committer;
use queue::{Queue, Waiting};
use stats::Counters;

use crate::checksum::Checksum;
use crate::data_dir::DataDir;
use crate::disk::DiskError;

pub use append::{Append, Appended};
pub use error::{AppendError, LogError, LogFailure};
pub use format::APPEND_BYTES_MAX;
pub use settings::{LogSettings, Retention, SyncPolicy};
pub use source::{LOG_SOURCE, LogSource};
pub use stats::LogStats;
pub use view::LogView;

/// The log, open for appending. For any thread. Dropping it closes it.
pub struct Log {
    view: Arc<LogView>,
    queue: Arc<Queue>,
    counters: Arc<Counters>,
    retention: Retention,
    committer: Option<JoinHandle<()>>,
}

impl Log {
    /// Finds where the log ends, and begins new segments with what is not known to be durable. `on_full` is asked where the disk is full
    /// then: it waits a while and says whether to try again. `on_failure` is called at most once, on a thread of the log, where the log
    /// fails after it was opened: the process ends then.
    ///
    /// # Errors
    /// Where the log is damaged (bytes that were durable do not hold), where the disk fails, and where a later writer came.
    ///
    /// # Panics
    /// Where the directory was opened for reading, or a setting is outside its range.
    pub fn open(
        dir: &DataDir,
        settings: LogSettings,
        mut on_full: impl FnMut(&DiskError) -> bool,
        on_failure: impl FnOnce(Arc<LogFailure>) + Send + 'static,
    ) -> Result<Log, LogError> {
        settings.assert_valid();
        if let SyncPolicy::Interval(interval) = settings.sync {
            tracing::warn!(
                ?interval,
                "store.sync is interval: events are acknowledged BEFORE they are durable, and a power cut or a crash of the \
                 system loses those of the last interval; set it to always unless every client can send them again"
            );
        }
        let (disk, fence) = (dir.disk(), dir.fence());
        let mut recovered = Vec::new();
        let mut heads = Vec::new();
        for partition in 0..dir.partitions() {
            let (found, head) = loop {
                match recovery::take_over(&*disk, dir.checksum(), partition, fence.writer()) {
                    Err(LogError::Disk(full)) if full.is_full() && on_full(&full) => {}
                    taken_over => break taken_over?,
                }
            };
            recovered.push(found);
            heads.push(head);
        }
        fence.notes().begun_in_time(&*disk, heads.iter().map(|head| head.path.as_str()), &mut on_full)?;
        fence.check()?;
        (0..dir.partitions()).try_for_each(|partition| recovery::clear(&*disk, partition))?;
        let view = LogView::new(dir, recovered, true);
        let queue = Arc::new(Queue::new(settings.queue_bytes));
        let counters = Arc::new(Counters::default());
        let retention = settings.retention;
        let committer = Committer {
            view: view.clone(),
            queue: queue.clone(),
            counters: counters.clone(),
            fence,
            settings,
            heads,
            turn: 0,
            buffer: Vec::new(),
        };
        let thread = thread::Builder::new().name("log-commit".to_owned()).spawn(move || committer.run(on_failure));
        let committer = Some(thread.map_err(LogError::Thread)?);
        Ok(Log { view, queue, counters, retention, committer })
    }

    /// Takes an append. `done` is called once, when it is durable or refused, on a thread of the log or on this one: it hands
    /// the outcome on, and neither blocks nor panics.
    ///
    /// # Panics
    /// Where the append holds no record.
    pub fn append(&self, append: Append, done: impl FnOnce(Result<Appended, AppendError>) + Send + 'static) {
        assert!(append.records() > 0, "an append holds at least one record");
        let waiting = Waiting { sealed: append.seal(), done: Box::new(done) };
        if let Err((waiting, refusal)) = self.queue.push(waiting) {
            if refusal.retry_after().is_some() {
                Counters::add(&self.counters.refused_busy, 1);
            }
            (waiting.done)(Err(refusal));
        }
    }

    /// Appends, and waits until it is durable.
    ///
    /// # Errors
    /// Where it is refused.
    ///
    /// # Panics
    /// As [`Log::append`].
    pub fn append_and_wait(&self, append: Append) -> Result<Appended, AppendError> {
        let (done, outcome) = mpsc::sync_channel(1);
        self.append(append, move |appended| {
            // The receiver waits below.
            let _ = done.send(appended);
        });
        outcome.recv().expect("the committer tells the outcome of every append")
    }

    /// What can be read of it.
    pub fn view(&self) -> Arc<LogView> {
        Arc::clone(&self.view)
    }

    /// What it has done, and what it holds.
    pub fn stats(&self) -> LogStats {
        let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let (queue_appends, queue_bytes) = self.queue.depth();
        let partitions = 0..self.view.partitions();
        LogStats {
            appends: read(&self.counters.appends),
            records: read(&self.counters.records),
            bytes: read(&self.counters.bytes),
            refused_busy: read(&self.counters.refused_busy),
            refused_full: read(&self.counters.refused_full),
            syncs: self.counters.syncs.read(),
            queue_appends: queue_appends as u64,
            queue_bytes: queue_bytes as u64,
            partition_bytes: partitions.clone().map(|partition| self.view.bytes(partition)).collect(),
            segments: partitions.map(|partition| self.view.segments(partition).len() as u64).sum(),
        }
    }

    /// Deletes what retention takes, and returns how many bytes that were. Nothing at or behind `floor`, an offset for each
    /// partition, goes: the oldest checkpoint that is kept replays from there. `now_ms` is the wall clock.
    ///
    /// # Errors
    /// Where the disk fails. What is left is whole.
    ///
    /// # Panics
    /// Where `floor` does not name every partition.
    pub fn retain(&self, floor: &[u64], now_ms: i64) -> Result<u64, LogError> {
        retention::retain(&self.view, self.retention, floor, now_ms)
    }

    /// Takes nothing more, commits what waits, and ends. Sources end when they have read everything.
    pub fn close(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.queue.close();
        if let Some(committer) = self.committer.take()
            && committer.join().is_err()
        {
            tracing::error!("the log's thread panicked; this is a bug in Recount");
        }
    }

    fn checksum(&self) -> Checksum {
        self.view.checksum()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.end();
    }
}
