//! Merging two runs, a measured piece at a time.

use std::sync::Arc;

use differential_dataflow::trace::implementations::spine_fueled::{Merger, SpineBatch};
use timely::progress::frontier::AntichainRef;

use super::builder::RunBuilder;
use super::chunk::Chunk;
use super::layer::Layer;
use super::layout::CHUNK_RECORDS;
use super::record::{Horizon, Record};
use super::run::Run;

impl<R: Record> SpineBatch for Layer<R> {
    type Time = u64;
    type Merger = LayerMerger<R>;

    fn len(&self) -> usize {
        Layer::len(self)
    }
}

/// A merge in progress. Epochs below the compaction frontier are told apart no more, so records that differ only in them fold.
/// With every chunk that is full, what was read up to there goes back: the older source then holds what was written, and both
/// hold what is left.
pub(crate) struct LayerMerger<R> {
    since: u64,
    /// The next record of each source: chunk of what is left, and place in it.
    next: [(usize, usize); 2],
    builder: RunBuilder<R>,
    /// What is left out; `None` where nothing is so old.
    horizon: Option<Horizon>,
    /// No record written is of a lesser age.
    age_min: i64,
    /// The older source, which holds what is written so far.
    older: Layer<R>,
}

impl<R: Record> Merger<Layer<R>> for LayerMerger<R> {
    fn new(source1: &Layer<R>, source2: &Layer<R>, compaction_frontier: AntichainRef<'_, u64>) -> Self {
        let since = compaction_frontier.first().copied().unwrap_or(u64::MAX);
        let skip = |source: &Layer<R>| source.with_rest(|_, skip| (0, skip));
        let builder = RunBuilder::new(source1.len() + source2.len());
        let horizon = source1.horizon().get();
        let age_min = source1.age_min().min(source2.age_min());
        let forgets = age_min < R::kept_from(&horizon);
        LayerMerger {
            since,
            next: [skip(source1), skip(source2)],
            builder,
            horizon: forgets.then_some(horizon),
            age_min: if forgets { i64::MAX } else { age_min },
            older: source1.clone(),
        }
    }

    fn work(&mut self, source1: &Layer<R>, source2: &Layer<R>, fuel: &mut isize) {
        while *fuel > 0 {
            let heads = [self.head(source1, 0), self.head(source2, 1)];
            let heads = heads.each_ref().map(|head| head.as_ref().map(|(chunk, place)| &chunk.records()[*place..]));
            let limit = (*fuel as usize).min(CHUNK_RECORDS);
            let taken = match heads {
                [a, b] if let Some(horizon) = self.horizon => match self.sift(a, b, limit, &horizon) {
                    Some(taken) => taken,
                    None => return,
                },
                [Some(a), Some(b)] if R::FOLDS => self.fold_two(a, b, limit),
                [Some(a), Some(b)] => self.merge_two(a, b, limit),
                [Some(a), None] => [self.copy_one(a, limit), 0],
                [None, Some(b)] => [0, self.copy_one(b, limit)],
                [None, None] => return,
            };
            self.step(source1, 0, taken[0]);
            self.step(source2, 1, taken[1]);
            *fuel -= (taken[0] + taken[1]) as isize;
            if let Some(full) = self.builder.take_full() {
                self.give_back(source1, 0);
                self.give_back(source2, 1);
                source1.write(full);
            }
        }
    }

    fn done(self) -> Option<Layer<R>> {
        let last = self.builder.finish();
        let last = last.iter().flat_map(|run| run.chunks().iter().cloned());
        let chunks: Vec<_> = self.older.take_merged().into_iter().chain(last).collect();
        Run::from_chunks(chunks, 0).map(|run| Layer::new(run, self.age_min, self.older.horizon()))
    }
}

impl<R: Record> LayerMerger<R> {
    /// A source's current chunk, and the place in it; `None` at its end.
    fn head(&self, source: &Layer<R>, side: usize) -> Option<(Arc<Chunk<R>>, usize)> {
        let (chunk, place) = self.next[side];
        source.with_rest(|rest, _| rest.get(chunk).map(|chunk| (Arc::clone(chunk), place)))
    }

    fn step(&mut self, source: &Layer<R>, side: usize, taken: usize) {
        let (chunk, place) = &mut self.next[side];
        *place += taken;
        if source.with_rest(|rest, _| rest.get(*chunk).is_some_and(|chunk| *place == chunk.records().len())) {
            (*chunk, *place) = (*chunk + 1, 0);
        }
    }

    fn give_back(&mut self, source: &Layer<R>, side: usize) {
        let (chunk, place) = &mut self.next[side];
        source.give_back(std::mem::take(chunk), *place);
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

    /// The same for either kind of record, with those left out that are beyond the horizon; `None` at the end of both sides. It
    /// looks at each record, and is called only where there may be such.
    fn sift(&mut self, a: Option<&[R]>, b: Option<&[R]>, limit: usize, horizon: &Horizon) -> Option<[usize; 2]> {
        let (one_ends, both_end) = (a.is_none() || b.is_none(), a.is_none() && b.is_none());
        if both_end {
            return None;
        }
        let (a, b) = (a.unwrap_or_default(), b.unwrap_or_default());
        let (room, len) = self.builder.writer().room();
        let (mut from_a, mut from_b, mut to) = (0, 0, *len);
        while to < room.len() && from_a + from_b < limit {
            let is_a = match (a.get(from_a), b.get(from_b)) {
                (Some(head_a), Some(head_b)) => comes_first(head_a, head_b),
                (head_a, head_b) if one_ends && (head_a.is_some() || head_b.is_some()) => head_a.is_some(),
                _ => break,
            };
            let head = if is_a { &a[from_a] } else { &b[from_b] };
            from_a += is_a as usize;
            from_b += !is_a as usize;
            if head.is_beyond(horizon) {
                continue;
            }
            self.age_min = self.age_min.min(head.age());
            if R::FOLDS {
                to = fold_onto(room, to, head, self.since);
            } else {
                room[to] = *head;
                to += 1;
            }
        }
        *len = to;
        Some([from_a, from_b])
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
