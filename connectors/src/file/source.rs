//! The source: what the caller holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use recount_dataflow::domain::fingerprint::HashKey;
use recount_dataflow::domain::rules::Rules;
use recount_dataflow::domain::validate::RECORD_BYTES_MAX;
use recount_dataflow::engine::StreamName;
use recount_dataflow::intake::{Batch, Intake};

use super::decode::Decoder;
use super::input::Input;
use super::progress::Progress;
use super::reader::{Job, Ordered, Piece, Reader};
use super::shelf::Shelf;
use crate::error::SourceError;
use crate::raw_store::RawStore;
use crate::source::{Ahead, Next, Source, Stopper};

/// Streams are numbered with 16 bits.
const FILES_MAX: usize = 1 << 16;
/// Blocks that may wait for each decode thread.
const BLOCKS_A_THREAD: usize = 2;

/// What a source is opened with.
#[derive(Clone)]
pub struct SourceSettings {
    /// The store's key, from which ids get their fingerprints.
    pub key: HashKey,
    /// What counts.
    pub rules: Rules,
    /// Decode threads, at least 1. Nothing but the speed depends on it.
    pub threads: usize,
    /// Whether to wait at the end of the file for more, until stopped.
    pub follow: bool,
    /// Whether to keep a copy of compressed files and pipes, so that [`RawStore`] finds their records.
    pub spool: bool,
    /// The size of a block in bytes, from 1 to 1 MiB. Nothing but the speed depends on it.
    pub block_bytes: usize,
}

impl SourceSettings {
    /// One decode thread, no following, no spooling.
    pub fn new(key: HashKey, rules: Rules) -> Self {
        SourceSettings { key, rules, threads: 1, follow: false, spool: false, block_bytes: RECORD_BYTES_MAX }
    }
}

/// Batches from files, in the order of their records.
pub struct FileSource {
    streams: Vec<StreamName>,
    order: Option<Receiver<Ordered>>,
    /// The batches of the block at the front.
    pieces: Option<Receiver<Piece>>,
    /// What was read and not yet handed out.
    ahead: Ahead,
    threads: Vec<JoinHandle<()>>,
    can_block: bool,
    progress: Arc<Progress>,
    stopped: Arc<AtomicBool>,
    shelf: Arc<Shelf>,
}

impl FileSource {
    /// Finds the files and starts to read them, one after the other; `-` is standard input. The streams are numbered in this
    /// order.
    ///
    /// # Errors
    /// Where a file can not be opened, before anything is read.
    pub fn open<P: AsRef<str>>(paths: &[P], settings: SourceSettings) -> Result<FileSource, SourceError> {
        if paths.len() > FILES_MAX {
            return Err(SourceError::TooManyFiles { files: paths.len(), max: FILES_MAX });
        }
        let inputs = paths.iter().map(|path| Input::find(path.as_ref())).collect::<Result<Vec<_>, _>>()?;
        if settings.follow
            && let Some(input) = inputs.iter().enumerate().find(|(at, input)| *at > 0 || !input.can_be_followed())
        {
            return Err(SourceError::Follow { file: input.1.path.as_ref().to_owned() });
        }
        let streams = inputs.iter().map(|input| StreamName { source: input.path.as_ref().to_owned(), partition: 0 });
        let streams = streams.collect();
        let names: Arc<[Arc<str>]> = inputs.iter().map(Input::shown_name).collect();
        let total = inputs.iter().map(|input| input.length).sum::<Option<u64>>().filter(|_| !settings.follow);
        let progress = Arc::new(Progress::new(total));
        let stopped = Arc::new(AtomicBool::new(false));
        let places = inputs.iter().map(|input| (input.path.clone(), input.length.is_some()));
        let shelf = Arc::new(Shelf::new(places, settings.spool));
        let can_block = inputs.iter().any(|input| input.length.is_none());

        let waiting = settings.threads.max(1) * BLOCKS_A_THREAD;
        let (jobs, taken_jobs) = bounded(waiting);
        let (order, taken_order) = bounded(waiting);
        let reader = Reader {
            inputs,
            shelf: shelf.clone(),
            progress: progress.clone(),
            block_bytes: settings.block_bytes.clamp(1, RECORD_BYTES_MAX),
            follow: settings.follow,
            stopped: stopped.clone(),
            jobs,
            order,
        };
        let mut source = FileSource {
            streams,
            order: Some(taken_order),
            pieces: None,
            ahead: Ahead::default(),
            threads: Vec::new(),
            can_block,
            progress,
            stopped,
            shelf,
        };
        source.start(reader, taken_jobs, &names, &settings)?;
        Ok(source)
    }

    fn start(
        &mut self,
        reader: Reader,
        jobs: Receiver<Job>,
        names: &Arc<[Arc<str>]>,
        settings: &SourceSettings,
    ) -> Result<(), SourceError> {
        for number in 0..settings.threads.max(1) {
            let decoder = Decoder { intake: Intake::new(settings.key, settings.rules), names: names.clone() };
            let jobs = jobs.clone();
            self.threads.push(spawn(format!("decode-{number}"), move || decoder.run(jobs))?);
        }
        self.threads.push(spawn("read".to_owned(), move || reader.run())?);
        Ok(())
    }

    /// The streams, by number.
    pub fn streams(&self) -> Vec<StreamName> {
        self.streams.clone()
    }

    /// How far the source has come, for any thread.
    pub fn progress(&self) -> Arc<Progress> {
        self.progress.clone()
    }

    /// What ends the source from another thread.
    pub fn stopper(&self) -> Stopper {
        Stopper::new(self.stopped.clone(), || {})
    }

    /// What reads raw records again.
    pub fn raw_store(&self) -> RawStore {
        RawStore::new(self.shelf.clone())
    }

    /// The next records; `None` at the end. Blocks until there are some. After an error the source is at its end.
    ///
    /// # Errors
    /// Where reading failed. What was read before has been handed out.
    pub fn next_batch(&mut self) -> Result<Option<Batch>, SourceError> {
        match self.next_until(None)? {
            Next::Batch(batch) => Ok(Some(batch)),
            Next::End => Ok(None),
            Next::Waiting => unreachable!("without a deadline there is no waiting"),
        }
    }

    /// The next records, if there are some within `timeout`.
    ///
    /// # Errors
    /// As [`FileSource::next_batch`].
    pub fn next_within(&mut self, timeout: Duration) -> Result<Next, SourceError> {
        self.next_until(Some(Instant::now() + timeout))
    }

    fn next_until(&mut self, deadline: Option<Instant>) -> Result<Next, SourceError> {
        if let Some(batch) = self.ahead.take() {
            return Ok(Next::Batch(batch));
        }
        loop {
            if let Some(pieces) = &self.pieces {
                let Some(piece) = receive(pieces, deadline) else { return Ok(Next::Waiting) };
                if piece.is_last {
                    self.pieces = None;
                }
                // A block of blank lines is no batch.
                if piece.batch.records() > 0 {
                    return Ok(Next::Batch(piece.batch));
                }
                continue;
            }
            let Some(order) = &self.order else { return Ok(Next::End) };
            match receive(order, deadline) {
                None => return Ok(Next::Waiting),
                Some(Ordered::Block(pieces)) => self.pieces = Some(pieces),
                Some(Ordered::End) => self.order = None,
                Some(Ordered::Failed(error)) => {
                    self.order = None;
                    return Err(error);
                }
            }
        }
    }
}

impl Source for FileSource {
    fn streams(&self) -> Vec<StreamName> {
        FileSource::streams(self)
    }

    fn next_within(&mut self, wait: Duration) -> Result<Next, SourceError> {
        FileSource::next_within(self, wait)
    }

    /// Files are read one after the other: a later stream has nothing before the earlier ones are read.
    fn next_of(&mut self, stream: u16, end: u64, wait: Duration) -> Result<Next, SourceError> {
        let next = FileSource::next_within(self, wait)?;
        Ok(match next {
            Next::Batch(batch) => self.ahead.cut(batch, stream, end),
            other => other,
        })
    }

    fn stopper(&self) -> Stopper {
        FileSource::stopper(self)
    }

    fn raw_store(&self) -> RawStore {
        FileSource::raw_store(self)
    }
}

/// The next message; `None` where the deadline passes first.
fn receive<T>(channel: &Receiver<T>, deadline: Option<Instant>) -> Option<T> {
    let received = match deadline {
        Some(deadline) => channel.recv_deadline(deadline),
        None => channel.recv().map_err(|_| RecvTimeoutError::Disconnected),
    };
    match received {
        Ok(message) => Some(message),
        Err(RecvTimeoutError::Timeout) => None,
        Err(RecvTimeoutError::Disconnected) => panic!("a reading thread stopped before its end; its panic is above"),
    }
}

fn spawn(name: String, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, SourceError> {
    thread::Builder::new().name(name).spawn(work).map_err(|cause| SourceError::Thread { cause })
}

impl Drop for FileSource {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.order = None;
        self.pieces = None;
        // A thread that waits for standard input ends when that does; nobody waits for it.
        if !self.can_block {
            for thread in self.threads.drain(..) {
                let _ = thread.join();
            }
        }
    }
}
