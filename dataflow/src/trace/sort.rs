//! Sorting by a uniform hash: one pass into many small buckets, and each bucket by itself.

use std::collections::VecDeque;

use crate::prefetch::prefetch;

use super::record::Record;
use super::scale::Scale;

/// Records a bucket, on average: few enough that a bucket sorts in registers.
const BUCKET_RECORDS: usize = 4;
/// How many records ahead of the one that is written the place of one is fetched.
const AHEAD_RECORDS: usize = 16;
/// Fewer records than this are sorted by comparison.
const BUCKETED_MIN: usize = 64;

/// Buffers that sorting keeps from call to call.
pub(crate) struct Sorter<R> {
    starts: Vec<u32>,
    /// What the next sorting sorts into.
    spare: Vec<R>,
}

impl<R: Record> Sorter<R> {
    /// A sorter without buffers.
    pub(crate) fn new() -> Self {
        Sorter { starts: Vec::new(), spare: Vec::new() }
    }

    /// All records of some pieces, sorted by [`Record::order`]. Give the result back with [`recycle`](Sorter::recycle) when
    /// it stays here.
    pub(crate) fn sort(&mut self, pieces: &[Vec<R>]) -> Vec<R> {
        let mut sorted = std::mem::take(&mut self.spare);
        let len = pieces.iter().map(Vec::len).sum();
        if len < BUCKETED_MIN {
            sorted.clear();
            pieces.iter().for_each(|piece| sorted.extend_from_slice(piece));
            sorted.sort_unstable_by(R::order);
            return sorted;
        }
        assert!(len <= u32::MAX as usize, "{len} records in one batch");
        let (low, high) = pieces.iter().flatten().fold((u64::MAX, 0), |(low, high), record| {
            let hash = record.key().hash;
            (low.min(hash), high.max(hash))
        });
        let buckets = len / BUCKET_RECORDS;
        let scale = Scale::new(low, high, buckets);
        self.count(pieces, scale, buckets);
        // What a longer batch has left is written over: only the growth has to be filled.
        sorted.resize(len, R::zeroed());
        self.scatter(pieces, scale, &mut sorted);
        let mut start = 0;
        // After scattering, `starts[bucket]` is where the bucket ends.
        for end in &self.starts {
            sort_bucket(&mut sorted[start..*end as usize]);
            start = *end as usize;
        }
        sorted
    }

    /// Takes a buffer back.
    pub(crate) fn recycle(&mut self, sorted: Vec<R>) {
        self.spare = sorted;
    }

    /// Sets `starts[bucket]` to the place of each bucket's first record.
    fn count(&mut self, pieces: &[Vec<R>], scale: Scale, buckets: usize) {
        self.starts.clear();
        self.starts.resize(buckets, 0);
        for record in pieces.iter().flatten() {
            self.starts[scale.slot(record.key().hash)] += 1;
        }
        let mut sum = 0;
        for start in &mut self.starts {
            sum += std::mem::replace(start, sum);
        }
    }

    fn scatter(&mut self, pieces: &[Vec<R>], scale: Scale, sorted: &mut [R]) {
        for piece in pieces {
            for (number, record) in piece.iter().enumerate() {
                // Where a later record will be written is known well enough by now.
                if let Some(later) = piece.get(number + AHEAD_RECORDS) {
                    prefetch(&sorted[self.starts[scale.slot(later.key().hash)] as usize]);
                }
                let next = &mut self.starts[scale.slot(record.key().hash)];
                sorted[*next as usize] = *record;
                *next += 1;
            }
        }
    }
}

/// Merges sorted pieces into one, and folds neighbours that are equal.
pub(crate) fn merge_sorted<R: Record>(pieces: Vec<Vec<R>>) -> Vec<R> {
    let mut pieces = VecDeque::from(pieces);
    loop {
        match (pieces.pop_front(), pieces.pop_front()) {
            (Some(a), Some(b)) => pieces.push_back(merge_two(&a, &b)),
            (last, _) => return last.unwrap_or_default(),
        }
    }
}

fn merge_two<R: Record>(a: &[R], b: &[R]) -> Vec<R> {
    let mut merged: Vec<R> = Vec::with_capacity(a.len() + b.len());
    let (mut from_a, mut from_b) = (0, 0);
    while from_a < a.len() && from_b < b.len() {
        let order = a[from_a].order(&b[from_b]);
        let mut next = if order.is_le() { a[from_a] } else { b[from_b] };
        let folded = order.is_eq() && next.fold(&b[from_b]);
        merged.push(next);
        from_a += order.is_le() as usize;
        from_b += (order.is_gt() || folded) as usize;
    }
    merged.extend_from_slice(&a[from_a..]);
    merged.extend_from_slice(&b[from_b..]);
    merged
}

/// Small buckets by insertion; a bucket that one hot key has filled by a sort that does not mind.
fn sort_bucket<R: Record>(bucket: &mut [R]) {
    if bucket.len() > 24 {
        return bucket.sort_unstable_by(R::order);
    }
    for end in 1..bucket.len() {
        let mut place = end;
        while place > 0 && bucket[place].order(&bucket[place - 1]).is_lt() {
            bucket.swap(place, place - 1);
            place -= 1;
        }
    }
}

/// Folds neighbours that are equal, and drops what says nothing.
pub(crate) fn fold_sorted<R: Record>(records: &mut Vec<R>) {
    records.dedup_by(|next, kept| kept.order(next).is_eq() && kept.fold(next));
    records.retain(|record| !record.is_zero());
}
