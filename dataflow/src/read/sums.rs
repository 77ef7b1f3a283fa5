//! Sums by ad over runs, a stretch of the hash space at a time.
//!
//! Records are sorted by a uniform hash of the ad, in every run alike. So all runs are passed over side by side, forward through
//! memory: in each step the records of the next few thousand hashes' worth of each are summed in a table that fits the fastest
//! cache, and the table is emptied into whoever asked. Nothing is written but that table.

use std::iter::once;
use std::time::Instant;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::domain::fingerprint::Fingerprint;
use crate::trace::{Record, Run};

use super::ReadError;

/// Records that are summed in one step, on average.
const STEP_RECORDS: usize = 1_024;

/// A stretch of the hash space, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hashes {
    pub(super) first: u64,
    pub(super) last: u64,
}

impl Hashes {
    /// The stretch in which some runs have records; `None` where they have none.
    pub(super) fn of<R: Record>(runs: &[Run<R>]) -> Option<Hashes> {
        let first = runs.iter().filter_map(|run| run.slices().next()).map(|records| records[0].key().hash).min()?;
        let last = runs.iter().filter_map(|run| run.slices().last()?.last()).map(|record| record.key().hash).max()?;
        Some(Hashes { first, last })
    }

    /// The stretch cut into `count` about equal parts, or as many as it has hashes, in order.
    pub(super) fn parts(self, count: usize) -> impl Iterator<Item = Hashes> {
        let span = u128::from(self.last - self.first) + 1;
        let count = (count as u128).clamp(1, span);
        let place = move |part: u128| self.first + (span * part / count) as u64;
        // The last part ends where the stretch does, which may be the end of the space: there is no place after it.
        let ends = (1..count).map(move |part| place(part) - 1).chain(once(self.last));
        (0..count).map(place).zip(ends).map(|(first, last)| Hashes { first, last })
    }
}

/// The sums of one stretch.
struct Table {
    sums: HashTable<(Fingerprint, i64)>,
}

impl Table {
    #[inline]
    fn add(&mut self, ad: Fingerprint, value: i64) {
        // Within a stretch the high bits are alike, and it is the high bits that the table tells its entries apart by.
        let spread = |ad: &Fingerprint| ad.hash.rotate_left(32);
        match self.sums.entry(spread(&ad), |(other, _)| *other == ad, |(other, _)| spread(other)) {
            Entry::Occupied(mut entry) => entry.get_mut().1 += value,
            Entry::Vacant(entry) => {
                entry.insert((ad, value));
            }
        }
    }
}

/// How far one run has been summed.
struct Cursor<'a, R> {
    /// What is left, a slice a chunk.
    slices: Vec<&'a [R]>,
    /// The slice that is being summed.
    next: usize,
}

impl<'a, R: Record> Cursor<'a, R> {
    /// A cursor at the first record of a stretch.
    fn new(run: &'a Run<R>, first: u64) -> Self {
        let mut slices: Vec<&[R]> = run.slices().collect();
        let next = slices.partition_point(|records| records.last().is_some_and(|record| record.key().hash < first));
        if let Some(records) = slices.get_mut(next) {
            *records = &records[records.partition_point(|record| record.key().hash < first)..];
        }
        Cursor { slices, next }
    }

    /// Adds the records up to a hash, and moves past them. Neighbours are often of one ad, and are added up before they are
    /// looked for.
    fn add_to(&mut self, table: &mut Table, last: u64, value: &impl Fn(&R) -> Option<i64>) {
        let mut of_ad: Option<(Fingerprint, i64)> = None;
        while let Some(records) = self.slices.get_mut(self.next) {
            let mut taken = 0;
            while let Some(record) = records.get(taken).filter(|record| record.key().hash <= last) {
                taken += 1;
                let Some(value) = value(record) else { continue };
                match &mut of_ad {
                    Some((ad, sum)) if *ad == record.key() => *sum += value,
                    _ => {
                        if let Some((ad, sum)) = of_ad.replace((record.key(), value)) {
                            table.add(ad, sum);
                        }
                    }
                }
            }
            *records = &records[taken..];
            if !records.is_empty() {
                break;
            }
            self.next += 1;
        }
        if let Some((ad, sum)) = of_ad {
            table.add(ad, sum);
        }
    }
}

/// Runs of one kind of record, and what each record adds to its ad; `None` where it does not belong.
pub(super) struct Summed<'a, R, F> {
    cursors: Vec<Cursor<'a, R>>,
    value: F,
}

impl<'a, R: Record, F: Fn(&R) -> Option<i64>> Summed<'a, R, F> {
    /// The records of a stretch.
    pub(super) fn new(runs: &'a [Run<R>], hashes: Hashes, value: F) -> Self {
        Summed { cursors: runs.iter().map(|run| Cursor::new(run, hashes.first)).collect(), value }
    }

    fn add_to(&mut self, table: &mut Table, last: u64) {
        self.cursors.iter_mut().for_each(|cursor| cursor.add_to(table, last, &self.value));
    }
}

/// Hands out the sum of every ad of a stretch that has a record which belongs, in no order. `len` is the number of records.
///
/// # Errors
/// [`ReadError::DeadlineExceeded`].
pub(super) fn for_each_sum<A: Record, B: Record>(
    hashes: Hashes,
    len: usize,
    mut rows: Summed<'_, A, impl Fn(&A) -> Option<i64>>,
    mut others: Summed<'_, B, impl Fn(&B) -> Option<i64>>,
    deadline: Option<Instant>,
    mut take: impl FnMut(Fingerprint, i64),
) -> Result<(), ReadError> {
    let mut table = Table { sums: HashTable::with_capacity(2 * STEP_RECORDS) };
    for step in hashes.parts(len.div_ceil(STEP_RECORDS)) {
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Err(ReadError::DeadlineExceeded);
        }
        rows.add_to(&mut table, step.last);
        others.add_to(&mut table, step.last);
        table.sums.drain().for_each(|(ad, sum)| take(ad, sum));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::domain::metrics::Metrics;
    use crate::operators::records::{CountRecord, PackedMetrics};
    use rand::rngs::SmallRng;
    use rand::{Rng as _, SeedableRng as _};

    fn run(records: &mut [CountRecord]) -> Run<CountRecord> {
        records.sort_unstable_by(CountRecord::order);
        Run::from_slice(records).expect("there are records")
    }

    #[test]
    fn parts_follow_each_other_and_leave_nothing_out() {
        for (first, last) in [(0, u64::MAX), (5, 5), (7, 10), (u64::MAX - 1, u64::MAX)] {
            for count in [0, 1, 2, 3, 7] {
                let parts: Vec<Hashes> = Hashes { first, last }.parts(count).collect();
                assert_eq!((parts[0].first, parts[parts.len() - 1].last), (first, last), "{count}");
                assert!(parts.windows(2).all(|pair| pair[0].last + 1 == pair[1].first), "{parts:?}");
            }
        }
    }

    #[test]
    fn sums_of_stretches_are_the_sums_of_all_records() {
        let mut rng = SmallRng::seed_from_u64(1);
        let ads: Vec<Fingerprint> =
            (0..5_000).map(|_| Fingerprint { hash: rng.random::<u64>() >> 1, low: rng.random() }).collect();
        let mut expected: BTreeMap<Fingerprint, i64> = BTreeMap::new();
        let runs: Vec<Run<CountRecord>> = [40_000, 9_000, 1]
            .map(|len| {
                let mut records: Vec<CountRecord> = (0..len)
                    .map(|number| {
                        // One ad has a tenth of the records, so that it spans many of a run's slots.
                        let ad = if rng.random_bool(0.1) { ads[0] } else { ads[rng.random_range(0..ads.len())] };
                        let received = rng.random_range(1..=3) * if rng.random_bool(0.5) { 1 } else { -1 };
                        *expected.entry(ad).or_default() += received;
                        let change = PackedMetrics::new(Metrics { received, ..Metrics::default() });
                        CountRecord::split(ad, number, 1, change).next().expect("it changes the row")
                    })
                    .collect();
                run(&mut records)
            })
            .into();
        let hashes = Hashes::of(&runs).expect("there are records");
        for threads in [1, 2, 3] {
            let mut found = BTreeMap::new();
            for part in hashes.parts(threads) {
                let rows = Summed::new(&runs, part, |record: &CountRecord| Some(record.metrics().received));
                let none = Summed::new(&[] as &[Run<CountRecord>], part, |_: &CountRecord| None);
                for_each_sum(part, 49_001 / threads, rows, none, None, |ad, sum| {
                    assert_eq!(found.insert(ad, sum), None, "an ad has one sum");
                })
                .expect("there is no deadline");
            }
            assert_eq!(found, expected);
        }
    }
}
