//! Merging two runs, a measured piece at a time.

use differential_dataflow::trace::implementations::spine_fueled::{Merger, SpineBatch};
use timely::progress::frontier::AntichainRef;

use super::builder::RunBuilder;
use super::layout::CHUNK_RECORDS;
use super::record::Record;
use super::run::Run;

impl<R: Record> SpineBatch for Run<R> {
    type Time = u64;
    type Merger = RunMerger<R>;

    fn len(&self) -> usize {
        Run::len(self)
    }
}

/// A merge in progress. Epochs below the compaction frontier are told apart no more, so records that differ only in them fold.
pub(crate) struct RunMerger<R> {
    since: u64,
    /// The next record of each source: chunk, and place in it.
    next: [(usize, usize); 2],
    builder: RunBuilder<R>,
}

impl<R: Record> Merger<Run<R>> for RunMerger<R> {
    fn new(source1: &Run<R>, source2: &Run<R>, compaction_frontier: AntichainRef<'_, u64>) -> Self {
        let since = compaction_frontier.first().copied().unwrap_or(u64::MAX);
        RunMerger { since, next: [(0, 0); 2], builder: RunBuilder::new(source1.len() + source2.len()) }
    }

    fn work(&mut self, source1: &Run<R>, source2: &Run<R>, fuel: &mut isize) {
        while *fuel > 0 {
            let heads = [self.head(source1, 0), self.head(source2, 1)];
            let limit = (*fuel as usize).min(CHUNK_RECORDS);
            let taken = match heads {
                [Some(a), Some(b)] if R::FOLDS => self.fold_two(a, b, limit),
                [Some(a), Some(b)] => self.merge_two(a, b, limit),
                [Some(a), None] => [self.copy_one(a, limit), 0],
                [None, Some(b)] => [0, self.copy_one(b, limit)],
                [None, None] => return,
            };
            self.step(source1, 0, taken[0]);
            self.step(source2, 1, taken[1]);
            *fuel -= (taken[0] + taken[1]) as isize;
        }
    }

    fn done(self) -> Option<Run<R>> {
        self.builder.finish()
    }
}

impl<R: Record> RunMerger<R> {
    /// The rest of a source's current chunk; `None` at its end.
    fn head<'a>(&self, source: &'a Run<R>, side: usize) -> Option<&'a [R]> {
        let (chunk, place) = self.next[side];
        source.chunks().get(chunk).map(|chunk| &chunk.records()[place..])
    }

    fn step(&mut self, source: &Run<R>, side: usize, taken: usize) {
        let (chunk, place) = &mut self.next[side];
        *place += taken;
        if source.chunks().get(*chunk).is_some_and(|chunk| *place == chunk.records().len()) {
            (*chunk, *place) = (*chunk + 1, 0);
        }
    }

    /// Merges until one side or `limit` ends; for records that never fold, or until the room does. Hashes are uniform, so which
    /// side is next can not be predicted: it is selected, not branched on.
    fn merge_two(&mut self, a: &[R], b: &[R], limit: usize) -> [usize; 2] {
        let (room, len) = self.builder.writer().room();
        let room = &mut room[*len..];
        let end = room.len().min(limit);
        let (mut from_a, mut from_b, mut to) = (0, 0, 0);
        while from_a < a.len() && from_b < b.len() && to < end {
            let (head_a, head_b) = (&a[from_a], &b[from_b]);
            let is_a = comes_first(head_a, head_b);
            room[to] = *if is_a { head_a } else { head_b };
            from_a += is_a as usize;
            from_b += !is_a as usize;
            to += 1;
        }
        *len += to;
        [from_a, from_b]
    }

    /// The same for records that fold into the one before them. What lies in two chunks stays apart: whoever reads adds.
    fn fold_two(&mut self, a: &[R], b: &[R], limit: usize) -> [usize; 2] {
        let (room, len) = self.builder.writer().room();
        let (mut from_a, mut from_b, mut to) = (0, 0, *len);
        while from_a < a.len() && from_b < b.len() && to < room.len() && from_a + from_b < limit {
            let (head_a, head_b) = (&a[from_a], &b[from_b]);
            let is_a = comes_first(head_a, head_b);
            to = fold_onto(room, to, if is_a { head_a } else { head_b }, self.since);
            from_a += is_a as usize;
            from_b += !is_a as usize;
        }
        *len = to;
        [from_a, from_b]
    }

    fn copy_one(&mut self, source: &[R], limit: usize) -> usize {
        let source = &source[..source.len().min(limit)];
        let (room, len) = self.builder.writer().room();
        let taken = source.len().min(room.len() - *len);
        if R::FOLDS {
            let fold = |to, record| fold_onto(room, to, record, self.since);
            *len = source[..taken].iter().fold(*len, fold);
        } else {
            room[*len..*len + taken].copy_from_slice(&source[..taken]);
            *len += taken;
        }
        taken
    }
}

#[inline(always)]
fn comes_first<R: Record>(a: &R, b: &R) -> bool {
    let (rank_a, rank_b) = (a.rank(), b.rank());
    if rank_a == rank_b { a.tie(b).is_le() } else { rank_a < rank_b }
}

/// Folds a record, with its epoch advanced, into the last of the `len` that are written, or writes it after them; returns how
/// many there are then. A sum that came to nothing gives its place up.
#[inline(always)]
fn fold_onto<R: Record>(room: &mut [R], len: usize, record: &R, since: u64) -> usize {
    if let Some(last) = room[..len].last_mut()
        && last.rank() == record.rank()
    {
        let mut record = *record;
        record.advance(since);
        if last.tie(&record).is_eq() && last.fold(&record) {
            return len - usize::from(last.is_zero());
        }
    }
    room[len] = *record;
    room[len].advance(since);
    len + 1
}
