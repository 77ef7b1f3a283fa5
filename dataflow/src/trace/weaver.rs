//! Writing two sorted sequences as one: the inner loops of a merge.

use std::sync::Arc;

use super::builder::RunBuilder;
use super::chunk::Chunk;
use super::record::{Horizon, Record};
use super::run::Run;

/// Writes records of two sorted sequences in order. Epochs below `since` are told apart no more, so records that differ only in
/// them fold.
pub(super) struct Weaver<R> {
    since: u64,
    builder: RunBuilder<R>,
    /// What is left out; `None` where nothing is so old.
    horizon: Option<Horizon>,
    /// No record written is of a lesser age.
    age_min: i64,
}

impl<R: Record> Weaver<R> {
    /// A weaver of at most `len` records, none of a lesser age than `age_min`.
    pub(super) fn new(len: usize, since: u64, age_min: i64, horizon: &Horizon) -> Self {
        let forgets = age_min < R::kept_from(horizon);
        Weaver {
            since,
            builder: RunBuilder::new(len),
            horizon: forgets.then_some(*horizon),
            age_min: if forgets { i64::MAX } else { age_min },
        }
    }

    /// Writes what comes next of the rests of two chunks, until one of them, a full chunk or some `limit` records end, and returns
    /// how many were taken of each. A side that is `None` has come to its end; at the end of both there is nothing to return.
    pub(super) fn weave(&mut self, a: Option<&[R]>, b: Option<&[R]>, limit: usize) -> Option<[usize; 2]> {
        match (a, b) {
            (None, None) => None,
            _ if let Some(horizon) = self.horizon => Some(self.sift(a, b, limit, &horizon)),
            (Some(a), Some(b)) if R::FOLDS => Some(self.fold_two(a, b, limit)),
            (Some(a), Some(b)) => Some(self.merge_two(a, b, limit)),
            (Some(a), None) => Some([self.copy_one(a, limit), 0]),
            (None, Some(b)) => Some([0, self.copy_one(b, limit)]),
        }
    }

    /// Hands out the chunk that is full, where one is.
    pub(super) fn take_full(&mut self) -> Option<Vec<Arc<Chunk<R>>>> {
        self.builder.take_full()
    }

    /// What was not handed out, and the age that no record written is below.
    pub(super) fn finish(self) -> (Option<Run<R>>, i64) {
        (self.builder.finish(), self.age_min)
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

    /// The same for either kind of record, with those left out that are beyond the horizon. It looks at each record, and is
    /// called only where there may be such.
    fn sift(&mut self, a: Option<&[R]>, b: Option<&[R]>, limit: usize, horizon: &Horizon) -> [usize; 2] {
        let one_ends = a.is_none() || b.is_none();
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
