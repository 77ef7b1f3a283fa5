//! Looking up a whole sorted batch of keys in a run at once.
//!
//! Keys and records are in the same order, so the sweep goes forward through both. It asks the filters a block of keys ahead,
//! and only what passes costs a look at records. Where there are no filters, every key costs one, fetched a block ahead as well.

use std::ops::Range;

use crate::domain::fingerprint::Fingerprint;

use super::chunk::{Chunk, filter_mask};
use super::prefetch::prefetch;
use super::record::Record;
use super::run::Run;

/// Keys whose filter words are fetched together.
const BLOCK_KEYS: usize = 32;

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

/// What some runs hold of sorted and distinct keys: the number of the key and a slice of its records, by number.
pub(crate) fn look_up<'r, R: Record>(keys: &[Fingerprint], runs: &'r [Run<R>]) -> Vec<(u32, &'r [R])> {
    let mut known = Vec::new();
    for run in runs {
        sweep(run, keys, |number, records| known.push((number as u32, records)));
    }
    known.sort_by_key(|(number, _)| *number);
    known
}

/// Calls `found(index of the key, its records)` for every key that the run holds, in order; more than once for a key whose
/// records span chunks. `keys` are sorted and distinct.
pub(crate) fn sweep<'r, R: Record>(run: &'r Run<R>, keys: &[Fingerprint], mut found: impl FnMut(usize, &'r [R])) {
    let mut from = 0;
    for (chunk, skip) in run.parts() {
        let (low, high) = chunk.hashes();
        from += gallop(&keys[from..], |key| key.hash < low);
        if from == keys.len() {
            return;
        }
        let to = from + gallop(&keys[from..], |key| key.hash <= high);
        sweep_chunk(chunk, skip, &keys[from..to], |index, records| found(from + index, records));
        // The next chunk may begin with the hash that this one ends with.
        from = to - keys[from..to].iter().rev().take_while(|key| key.hash == high).count();
    }
}

fn sweep_chunk<'r, R: Record>(
    chunk: &'r Chunk<R>,
    skip: usize,
    keys: &[Fingerprint],
    mut found: impl FnMut(usize, &'r [R]),
) {
    let filter = chunk.filter();
    let directory = chunk.directory();
    let mut slots = [0_usize; BLOCK_KEYS];
    for (block, keys) in keys.chunks(BLOCK_KEYS).enumerate() {
        for (slot, key) in slots.iter_mut().zip(keys) {
            *slot = chunk.slot(key.hash);
            if R::FILTERED {
                prefetch(&filter[*slot]);
            } else {
                prefetch(&directory[*slot]);
            }
        }
        let mut passed = [0_u8; BLOCK_KEYS];
        let mut passed_len = 0;
        for (index, key) in keys.iter().enumerate() {
            let mask = filter_mask(*key);
            passed[passed_len] = index as u8;
            passed_len += (!R::FILTERED || filter[slots[index]] & mask == mask) as usize;
        }
        let passed = &passed[..passed_len];
        if R::FILTERED {
            passed.iter().for_each(|index| prefetch(&directory[slots[*index as usize]]));
        } else {
            let records = chunk.records();
            let first = |index: &u8| directory[slots[*index as usize]] as usize;
            passed.iter().filter_map(|index| records.get(first(index))).for_each(prefetch);
        }
        for index in passed {
            let index = *index as usize;
            let records = chunk.find_in_slot(slots[index], keys[index], skip);
            if !records.is_empty() {
                found(block * BLOCK_KEYS + index, records);
            }
        }
    }
}

/// How many leading keys satisfy a condition that holds for a prefix, found in the logarithm of the answer.
fn gallop(keys: &[Fingerprint], holds: impl Fn(&Fingerprint) -> bool) -> usize {
    let mut step = 1;
    while step < keys.len() && holds(&keys[step]) {
        step *= 2;
    }
    let to = (step + 1).min(keys.len());
    keys[..to].partition_point(holds)
}
