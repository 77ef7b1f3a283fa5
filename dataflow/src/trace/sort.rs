//! Sorting by a uniform hash: one pass into many small buckets, and each bucket by itself.

use super::record::Record;
use super::scale::Scale;

/// Records a bucket, on average: few enough that a bucket sorts in registers.
const BUCKET_RECORDS: usize = 4;
/// Fewer records than this are sorted by comparison.
const BUCKETED_MIN: usize = 64;

/// Buffers that sorting keeps from call to call.
pub(crate) struct Sorter<R> {
    starts: Vec<u32>,
    scratch: Vec<R>,
}

impl<R: Record> Sorter<R> {
    /// A sorter without buffers.
    pub(crate) fn new() -> Self {
        Sorter { starts: Vec::new(), scratch: Vec::new() }
    }

    /// Sorts by [`Record::order`].
    pub(crate) fn sort(&mut self, records: &mut Vec<R>) {
        if records.len() < BUCKETED_MIN {
            return records.sort_unstable_by(R::order);
        }
        assert!(records.len() <= u32::MAX as usize, "{} records in one batch", records.len());
        let (low, high) = records.iter().fold((u64::MAX, 0), |(low, high), record| {
            let hash = record.key().hash;
            (low.min(hash), high.max(hash))
        });
        let buckets = records.len() / BUCKET_RECORDS;
        let scale = Scale::new(low, high, buckets);
        self.count(records, scale, buckets);
        self.scatter(records, scale);
        let mut start = 0;
        // After scattering, `starts[bucket]` is where the bucket ends.
        for end in &self.starts[..buckets] {
            sort_bucket(&mut self.scratch[start..*end as usize]);
            start = *end as usize;
        }
        std::mem::swap(records, &mut self.scratch);
    }

    /// Sets `starts[bucket]` to the place of each bucket's first record.
    fn count(&mut self, records: &[R], scale: Scale, buckets: usize) {
        self.starts.clear();
        self.starts.resize(buckets, 0);
        for record in records {
            self.starts[scale.slot(record.key().hash)] += 1;
        }
        let mut sum = 0;
        for start in &mut self.starts {
            sum += std::mem::replace(start, sum);
        }
    }

    fn scatter(&mut self, records: &[R], scale: Scale) {
        self.scratch.resize(records.len().max(self.scratch.len()), R::zeroed());
        self.scratch.truncate(records.len());
        for record in records {
            let next = &mut self.starts[scale.slot(record.key().hash)];
            self.scratch[*next as usize] = *record;
            *next += 1;
        }
    }
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
