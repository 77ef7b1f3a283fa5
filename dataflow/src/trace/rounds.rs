//! Merging the beginnings of several sorted runs, a round after the other.
//!
//! A round takes a window of every run, and of each window all that sorts before whatever was left outside: so it is over when all
//! it took is written. The windows are merged pair by pair in memory that stays in the cache, and the last pair goes to where the
//! merged run is written.

use std::ops::Range;

use super::chunk::ChunkWriter;
use super::record::{Horizon, Record};

/// The size of all windows of a round, where they are merged in more than one step.
const SCRATCH_BYTES: usize = 32 << 10;

/// What is kept from round to round.
pub(super) struct Rounds<R> {
    since: u64,
    /// What is left out; `None` where nothing is so old.
    horizon: Option<Horizon>,
    /// The least age of what was not left out.
    age_min: i64,
    scratch: [Vec<R>; 2],
}

impl<R: Record> Rounds<R> {
    /// Rounds that tell epochs below `since` apart no more, and leave out what is beyond the horizon. Where there is none no record is
    /// looked at for it.
    pub(super) fn new(since: u64, horizon: Option<Horizon>) -> Self {
        Rounds { since, horizon, age_min: i64::MAX, scratch: [Vec::new(), Vec::new()] }
    }

    /// The least age of what was written; `None` where nobody looked.
    pub(super) fn age_min(&self) -> Option<i64> {
        self.horizon.map(|_| self.age_min)
    }

    /// How many records of each of some runs a round looks at, where it may write `room` of them.
    pub(super) fn window(runs: usize, room: usize) -> usize {
        let at_once = if runs > 2 { SCRATCH_BYTES / size_of::<R>() } else { usize::MAX };
        at_once.min(room) / runs
    }

    /// Merges what a round takes, all of it.
    pub(super) fn merge(&mut self, taken: &[&[R]], writer: &mut ChunkWriter<R>) {
        let [mut merged, mut spare] = std::mem::take(&mut self.scratch);
        match taken {
            [] => {}
            [all] => self.write(all, &[], writer),
            [a, b] => self.write(a, b, writer),
            _ => {
                let mut pieces = merge_pairs(taken, &mut merged);
                while pieces.len() > 2 {
                    let slices: Vec<&[R]> = pieces.into_iter().map(|piece| &merged[piece]).collect();
                    pieces = merge_pairs(&slices, &mut spare);
                    std::mem::swap(&mut merged, &mut spare);
                }
                let [a, b] = [0, 1].map(|number: usize| &merged[pieces[number].clone()]);
                self.write(a, b, writer);
            }
        }
        self.scratch = [merged, spare];
    }

    /// Writes the last pair. Records that fold do so with the one before them; what lies in two chunks stays apart: whoever reads
    /// adds.
    fn write(&mut self, a: &[R], b: &[R], writer: &mut ChunkWriter<R>) {
        let (room, len) = writer.room();
        match self.horizon {
            Some(horizon) => merge_each(a, b, |record| {
                if !record.is_beyond(&horizon) {
                    self.age_min = self.age_min.min(record.age());
                    *len = append(room, *len, record, self.since);
                }
            }),
            None if R::FOLDS => {
                let mut to = *len;
                merge_each(a, b, |record| to = fold_onto(room, to, record, self.since));
                *len = to;
            }
            None => *len += merge_two(a, b, &mut room[*len..]),
        }
    }
}

/// Merges slices, two and two; returns where each pair lies in `out`.
fn merge_pairs<R: Record>(slices: &[&[R]], out: &mut Vec<R>) -> Vec<Range<usize>> {
    let total = slices.iter().map(|slice| slice.len()).sum();
    if out.len() < total {
        out.resize(total, R::zeroed());
    }
    let mut to = 0;
    let merge = |pair: &[&[R]]| {
        let start = to;
        to += merge_two(pair[0], pair.get(1).copied().unwrap_or_default(), &mut out[start..]);
        start..to
    };
    slices.chunks(2).map(merge).collect()
}

/// Merges two slices into the front of a third, and returns how much of it is written.
fn merge_two<R: Record>(a: &[R], b: &[R], out: &mut [R]) -> usize {
    let out = &mut out[..a.len() + b.len()];
    if b.is_empty() {
        out.copy_from_slice(a);
    } else {
        let mut to = 0;
        merge_each(a, b, |record| {
            out[to] = *record;
            to += 1;
        });
    }
    out.len()
}

/// Goes through two slices in their common order. Hashes are uniform, so which side is next can not be predicted: it is selected,
/// not branched on.
#[inline(always)]
fn merge_each<R: Record>(a: &[R], b: &[R], mut each: impl FnMut(&R)) {
    let (mut from_a, mut from_b) = (0, 0);
    while from_a < a.len() && from_b < b.len() {
        let (head_a, head_b) = (&a[from_a], &b[from_b]);
        let is_a = comes_first(head_a, head_b);
        each(if is_a { head_a } else { head_b });
        from_a += is_a as usize;
        from_b += !is_a as usize;
    }
    a[from_a..].iter().for_each(&mut each);
    b[from_b..].iter().for_each(each);
}

#[inline(always)]
fn comes_first<R: Record>(a: &R, b: &R) -> bool {
    let (rank_a, rank_b) = (a.rank(), b.rank());
    if rank_a == rank_b { a.tie(b).is_le() } else { rank_a < rank_b }
}

/// Writes a record behind the `len` that are written, as its kind asks for; returns how many there are then.
#[inline(always)]
fn append<R: Record>(room: &mut [R], len: usize, record: &R, since: u64) -> usize {
    if R::FOLDS {
        return fold_onto(room, len, record, since);
    }
    room[len] = *record;
    len + 1
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
