//! Looking up a whole sorted batch of keys in a run at once.
//!
//! Keys and records are in the same order, so the sweep goes forward through both. In a large run nearly every key meets a word of
//! a filter, a slot and records that no cache holds, each found by the one before. So keys go from one such load to the next in
//! blocks: all loads of a block are begun before the first is waited for.

use std::ops::{Range, RangeInclusive};

use crate::domain::fingerprint::Fingerprint;
use crate::prefetch::prefetch;

use super::chunk::{Chunk, filter_mask, leading};
use super::record::{Record, rank};
use super::run::Run;

/// Keys that are looked up together: more than there are loads that a core can wait for.
const BLOCK_KEYS: usize = 64;
/// How many chunks ahead of the one that keys are looked up in one is fetched.
const AHEAD_CHUNKS: usize = 4;
/// So many records are fetched together, and looked at one by one.
const FEW_RECORDS: usize = 8;

/// What is looked for in a run: the records of a key, or some of them.
pub(crate) trait Wanted: Copy {
    /// The key.
    fn key(&self) -> Fingerprint;

    /// The records' [`rank`](Record::rank)s, the first and the last.
    fn ranks(&self) -> RangeInclusive<u128>;
}

/// All records of a key.
impl Wanted for Fingerprint {
    #[inline(always)]
    fn key(&self) -> Fingerprint {
        *self
    }

    #[inline(always)]
    fn ranks(&self) -> RangeInclusive<u128> {
        rank(*self, 0)..=rank(*self, u32::MAX)
    }
}

/// The records of a key whose ranks end in a range: those of some windows of an ad.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    /// The key.
    pub(crate) key: Fingerprint,
    /// The first end of a rank.
    pub(crate) first: u32,
    /// The last one.
    pub(crate) last: u32,
}

impl Wanted for Part {
    #[inline(always)]
    fn key(&self) -> Fingerprint {
        self.key
    }

    #[inline(always)]
    fn ranks(&self) -> RangeInclusive<u128> {
        rank(self.key, self.first)..=rank(self.key, self.last)
    }
}

/// The distinct keys of a sorted batch, and where the records of each lie in it.
#[derive(Default)]
pub(crate) struct Groups {
    keys: Vec<Fingerprint>,
    /// Where each key's records start, and where the last ones end.
    starts: Vec<u32>,
}

impl Groups {
    /// Finds the keys of sorted records.
    pub(crate) fn index<R: Record>(&mut self, sorted: &[R]) {
        self.keys.clear();
        self.starts.clear();
        for (number, record) in sorted.iter().enumerate() {
            let key = record.key();
            if self.keys.last() != Some(&key) {
                self.keys.push(key);
                self.starts.push(number as u32);
            }
        }
        self.starts.push(sorted.len() as u32);
    }

    /// What some runs hold of the keys.
    pub(crate) fn look_up<'r, R: Record>(&self, runs: &'r [Run<R>]) -> Vec<(u32, &'r [R])> {
        look_up(&self.keys, runs)
    }

    /// Where the records of each key lie, by number.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = Range<usize>> {
        self.starts.windows(2).map(|range| range[0] as usize..range[1] as usize)
    }
}

/// What some runs hold of what is wanted, by sorted and distinct keys: its number and a slice of its records, by number.
pub(crate) fn look_up<'r, R: Record>(wanted: &[impl Wanted], runs: &'r [Run<R>]) -> Vec<(u32, &'r [R])> {
    let mut known = Vec::new();
    for run in runs {
        sweep(run, wanted, |number, records| known.push((number as u32, records)));
    }
    known.sort_by_key(|(number, _)| *number);
    known
}

/// Calls `found(number of what is wanted, its records)` for everything that the run holds, in order; more than once for a key whose
/// records span chunks. What is `wanted` is sorted by distinct keys.
pub(crate) fn sweep<'r, R: Record, W: Wanted>(run: &'r Run<R>, wanted: &[W], mut found: impl FnMut(usize, &'r [R])) {
    let mut block = Block { probes: Vec::with_capacity(BLOCK_KEYS), searches: Vec::with_capacity(BLOCK_KEYS) };
    let mut from = 0;
    for (number, (chunk, skip)) in run.parts().enumerate() {
        run.chunks().get(number + AHEAD_CHUNKS).into_iter().for_each(|later| prefetch(&**later));
        let (low, high) = chunk.hashes();
        from += gallop(&wanted[from..], |wanted| wanted.key().hash < low);
        if from == wanted.len() {
            break;
        }
        let to = from + gallop(&wanted[from..], |wanted| wanted.key().hash <= high);
        let (filter, directory) = (chunk.filter(), chunk.directory());
        for (index, here) in (from..).zip(&wanted[from..to]) {
            let slot = chunk.slot(here.key().hash);
            let word = filter.get(slot);
            match word {
                Some(word) => prefetch(word),
                None => prefetch(&directory[slot]),
            }
            block.probes.push(Probe { word, chunk, slot: slot as u32, skip: skip as u32, index });
            if block.probes.len() == BLOCK_KEYS {
                block.settle(wanted, &mut found);
            }
        }
        // The next chunk may begin with the hash that this one ends with.
        from = to - wanted[from..to].iter().rev().take_while(|wanted| wanted.key().hash == high).count();
    }
    block.settle(wanted, &mut found);
}

/// A key that is asked for in a slot of a chunk.
#[derive(Clone, Copy)]
struct Probe<'r, R> {
    /// The slot's word of the filter; `None` where there is no filter.
    word: Option<&'r u64>,
    chunk: &'r Chunk<R>,
    slot: u32,
    /// Records at the front of the chunk that are not of the run.
    skip: u32,
    index: usize,
}

/// Records that may be among those of a slot.
struct Search<'r, R> {
    index: usize,
    records: &'r [R],
    /// The first record that is not before them is number `first` or one of the `left` after it.
    first: usize,
    left: usize,
}

impl<'r, R: Record> Search<'r, R> {
    /// Begins to load what is looked at next: the record in the middle, or the few that are left.
    #[inline(always)]
    fn prefetch(&self) {
        let left = &self.records[self.first..self.first + self.left];
        match left.len() <= FEW_RECORDS {
            true => left.iter().for_each(prefetch),
            false => prefetch(&left[left.len() / 2]),
        }
    }

    /// Looks at the record in the middle, and says whether more than a few are left.
    #[inline(always)]
    fn halve(&mut self, wanted: impl Wanted) -> bool {
        let half = self.left / 2;
        let is_before = self.records[self.first + half].rank() < *wanted.ranks().start();
        self.first += if is_before { half + 1 } else { 0 };
        self.left = if is_before { self.left - half - 1 } else { half };
        self.prefetch();
        self.left > FEW_RECORDS
    }

    /// The records.
    #[inline(always)]
    fn finish(&self, wanted: impl Wanted) -> &'r [R] {
        let (first_rank, last_rank) = wanted.ranks().into_inner();
        let left = &self.records[self.first..self.first + self.left];
        let before = left.iter().take_while(|record| record.rank() < first_rank).count();
        leading(&self.records[self.first + before..], |record| record.rank() <= last_rank)
    }
}

/// Keys that go through the stages together.
struct Block<'r, R> {
    probes: Vec<Probe<'r, R>>,
    searches: Vec<Search<'r, R>>,
}

impl<'r, R: Record> Block<'r, R> {
    /// Says what was found, and empties the block.
    fn settle<W: Wanted>(&mut self, wanted: &[W], found: &mut impl FnMut(usize, &'r [R])) {
        if R::FILTERED {
            self.filter(wanted);
        }
        let open = |Probe { chunk, slot, skip, index, .. }: Probe<'r, R>| {
            let records = &chunk.records()[chunk.slot_range(slot as usize, skip as usize)];
            let search = Search { index, records, first: 0, left: records.len() };
            search.prefetch();
            search
        };
        self.searches.extend(self.probes.drain(..).map(open));
        let mut any_left = true;
        while any_left {
            any_left = false;
            for search in self.searches.iter_mut().filter(|search| search.left > FEW_RECORDS) {
                any_left |= search.halve(wanted[search.index]);
            }
        }
        for search in self.searches.drain(..) {
            let records = search.finish(wanted[search.index]);
            if !records.is_empty() {
                found(search.index, records);
            }
        }
    }

    /// Leaves out what the filters know not to be there.
    fn filter<W: Wanted>(&mut self, wanted: &[W]) {
        let mut passed = 0;
        for number in 0..self.probes.len() {
            let probe = self.probes[number];
            let mask = filter_mask(wanted[probe.index].key());
            self.probes[passed] = probe;
            passed += usize::from(probe.word.is_none_or(|word| word & mask == mask));
        }
        self.probes.truncate(passed);
        for probe in &self.probes {
            prefetch(&probe.chunk.directory()[probe.slot as usize]);
        }
    }
}

/// How much is at the front of what is wanted for which a condition holds, found in the logarithm of the answer.
fn gallop<W: Wanted>(wanted: &[W], holds: impl Fn(&W) -> bool) -> usize {
    let mut step = 1;
    while step < wanted.len() && holds(&wanted[step]) {
        step *= 2;
    }
    let to = (step + 1).min(wanted.len());
    wanted[..to].partition_point(holds)
}
