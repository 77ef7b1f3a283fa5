//! A merge of two runs on its way, a measured piece at a time.

use std::sync::Arc;

use super::chunk::Chunk;
use super::layout::CHUNK_RECORDS;
use super::record::{Horizon, Record};
use super::run::Run;
use super::weaver::Weaver;

/// A run as a spine holds it.
pub(crate) struct Layer<R> {
    /// The records.
    pub(crate) run: Run<R>,
    /// No record is of a lesser [`age`](Record::age).
    pub(crate) age_min: i64,
}

impl<R: Record> Layer<R> {
    /// Takes the chunks that files hold in place of those that memory does.
    pub(super) fn settle(&mut self) {
        if self.run.chunks().iter().any(|chunk| chunk.successor().is_some()) {
            let settled = self.run.chunks().iter().map(|chunk| chunk.successor().unwrap_or(chunk).clone());
            self.run = Run::from_chunks(settled, self.run.skip()).expect("a settled run has the chunks it had");
        }
    }
}

/// Two runs that become one. With every chunk that is full, what was read up to there goes back, and readers see what is written
/// together with what is left: a merge of any size takes hardly more memory than its sources.
pub(crate) struct Merge<R> {
    /// The older source, and the newer.
    sources: [Source<R>; 2],
    written: Vec<Arc<Chunk<R>>>,
    weaver: Weaver<R>,
    /// Records of both sources when the merge began.
    len: usize,
    /// What is written and what is left, as runs that nobody changes.
    runs: Vec<Run<R>>,
    is_done: bool,
}

/// What is left to read of a source.
struct Source<R> {
    chunks: Vec<Arc<Chunk<R>>>,
    /// Records at the front of `chunks` that are written in a full chunk.
    skip: usize,
    /// The next record to read: its chunk, and its place in that.
    next: (usize, usize),
}

impl<R: Record> Merge<R> {
    /// Begins the merge of an older run and a newer one. Epochs below `since` are told apart no more, so records that differ only
    /// in them fold; what is beyond the horizon is left out.
    pub(crate) fn new([older, newer]: [Layer<R>; 2], since: u64, horizon: &Horizon) -> Self {
        let len = older.run.len() + newer.run.len();
        let age_min = older.age_min.min(newer.age_min);
        Merge {
            sources: [&older, &newer].map(|layer| Source::new(&layer.run)),
            written: Vec::new(),
            weaver: Weaver::new(len, since, age_min, horizon),
            len,
            runs: vec![older.run, newer.run],
            is_done: false,
        }
    }

    /// Records of both sources when the merge began.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// What the merge holds now.
    pub(crate) fn runs(&self) -> &[Run<R>] {
        &self.runs
    }

    /// Whether all is read.
    pub(crate) fn is_done(&self) -> bool {
        self.is_done
    }

    /// Reads some `fuel` more records.
    pub(crate) fn work(&mut self, mut fuel: usize) {
        let mut filled = false;
        while 0 < fuel {
            let [a, b] = self.sources.each_ref().map(Source::head);
            let Some(taken) = self.weaver.weave(a, b, fuel.min(CHUNK_RECORDS)) else {
                self.is_done = true;
                break;
            };
            self.sources.iter_mut().zip(taken).for_each(|(source, taken)| source.step(taken));
            fuel = fuel.saturating_sub(taken[0] + taken[1]);
            if let Some(full) = self.weaver.take_full() {
                self.sources.iter_mut().for_each(Source::give_back);
                self.written.extend(full);
                filled = true;
            }
        }
        if filled {
            self.look_again();
        }
    }

    /// The one run, once all is read; `None` where nothing is left of it.
    pub(crate) fn finish(self) -> Option<Layer<R>> {
        let (last, age_min) = self.weaver.finish();
        let last = last.iter().flat_map(|run| run.chunks().iter().cloned());
        let run = Run::from_chunks(self.written.into_iter().chain(last), 0)?;
        Some(Layer { run, age_min })
    }

    /// Takes the chunks that files hold in place of those that memory does.
    pub(super) fn settle(&mut self) {
        let chunks = self.sources.iter_mut().flat_map(|source| &mut source.chunks).chain(&mut self.written);
        for chunk in chunks {
            let successor = chunk.successor().cloned();
            successor.into_iter().for_each(|successor| *chunk = successor);
        }
        self.look_again();
    }

    fn look_again(&mut self) {
        let written = Run::from_chunks(self.written.iter().cloned(), 0);
        let left = self.sources.iter().map(|source| Run::from_chunks(source.chunks.iter().cloned(), source.skip));
        self.runs = std::iter::once(written).chain(left).flatten().collect();
    }
}

impl<R: Record> Source<R> {
    fn new(run: &Run<R>) -> Self {
        Source { chunks: run.chunks().to_vec(), skip: run.skip(), next: (0, run.skip()) }
    }

    /// The rest of the current chunk; `None` at the end.
    fn head(&self) -> Option<&[R]> {
        let (chunk, place) = self.next;
        self.chunks.get(chunk).map(|chunk| &chunk.records()[place..])
    }

    fn step(&mut self, taken: usize) {
        let (chunk, place) = &mut self.next;
        *place += taken;
        if self.chunks.get(*chunk).is_some_and(|chunk| *place == chunk.records().len()) {
            (*chunk, *place) = (*chunk + 1, 0);
        }
    }

    /// Gives back what was read.
    fn give_back(&mut self) {
        let (chunk, place) = &mut self.next;
        self.chunks.drain(..std::mem::take(chunk));
        self.skip = *place;
    }
}
