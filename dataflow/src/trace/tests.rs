//! Runs against a `BTreeMap`.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use proptest::collection::vec;
use proptest::prelude::*;

use crate::domain::fingerprint::{Fingerprint, HashKey};
use crate::domain::window::Granularity;
use crate::operators::records::{OverlapRecord, UniqueUpdate, WindowCode};
use crate::store::{Mapped, Place};

use super::block::Block;
use super::chunk::{Chunk, filter_mask};
use super::layout::{CHUNK_RECORDS, LayoutError};
use super::merge::{Layer, Merge};
use super::sort::{Sorter, fold_sorted, merge_sorted};
use super::spine::Pace;
use super::sweep::{Part, sweep};
use super::{Beside, Helpers, Horizon, Record, Run, Spine};

/// Ad, window, epoch, copies.
type Update = (Fingerprint, u32, u64, i64);
type Model = BTreeMap<(Fingerprint, u32, u64), i64>;

fn record((ad, window, epoch, received): Update) -> OverlapRecord {
    OverlapRecord::new(&UniqueUpdate::new(ad, WindowCode::new(Granularity::Hour, window), received), epoch)
}

fn run(updates: &[Update]) -> Option<Run<OverlapRecord>> {
    let pieces: Vec<Vec<OverlapRecord>> =
        updates.chunks(70).map(|piece| piece.iter().copied().map(record).collect()).collect();
    let mut records = Sorter::new().sort(&pieces);
    fold_sorted(&mut records);
    Run::from_slice(&records)
}

fn model(updates: &[Update], since: u64) -> Model {
    let mut model = Model::new();
    for (ad, window, epoch, received) in updates {
        *model.entry((*ad, *window, (*epoch).max(since))).or_default() += received;
    }
    model.retain(|_, received| *received != 0);
    model
}

fn contents(run: &Run<OverlapRecord>) -> Model {
    run.iter().map(|record| ((record.key(), record.window.window(), record.epoch), record.users)).collect()
}

/// Few keys and many, hashes that collide in all of their bits, in the high ones, and in none.
fn fingerprints() -> impl Strategy<Value = Fingerprint> {
    let hash = prop_oneof![0_u64..4, Just(u64::MAX), any::<u64>(), (0_u64..64).prop_map(|top| top << 58)];
    (hash, 0_u32..3).prop_map(|(hash, low)| Fingerprint { hash, low })
}

fn updates(len: usize) -> impl Strategy<Value = Vec<Update>> {
    vec((fingerprints(), 0_u32..5, 1_u64..6, -2_i64..3), 0..len)
}

fn merge(pair: [&Run<OverlapRecord>; 2], since: u64, fuels: &[usize]) -> Option<Run<OverlapRecord>> {
    let mut merge = Merge::new(pair.map(|run| Layer { run: run.clone(), age_min: 0 }), since, &Horizon::NONE);
    let mut fuels = fuels.iter().cycle();
    while !merge.is_done() {
        merge.work(*fuels.next().expect("there is some fuel"));
    }
    merge.finish().map(|merged| merged.run)
}

fn paces() -> impl Strategy<Value = Pace> {
    (2_usize..9, 1_usize..100).prop_map(|(per_record, piece_min)| Pace { per_record, piece_min })
}

/// Merges in place; or with two threads beside, all of them or the larger ones.
fn besides() -> impl Strategy<Value = Option<usize>> {
    prop_oneof![Just(None), Just(Some(0)), Just(Some(100))]
}

fn beside(len_min: Option<usize>) -> Beside {
    static HELPERS: LazyLock<Helpers> = LazyLock::new(|| Helpers::start(2).expect("threads can be started"));
    len_min.map_or_else(Beside::nobody, |len_min| HELPERS.beside(len_min))
}

/// Bytes at an aligned address, as if they were a file's.
struct File {
    block: Block,
    length: usize,
}

impl Mapped for File {
    fn bytes(&self) -> &[u8] {
        &self.block.bytes()[..self.length]
    }
}

fn from_bytes<R: Record>(bytes: &[u8]) -> Result<Chunk<R>, LayoutError> {
    let mut block = Block::new(bytes.len());
    block.bytes_mut()[..bytes.len()].copy_from_slice(bytes);
    let place = Place { pack: 0, at: 0, bytes: bytes.len() as u64, crc: 0 };
    Chunk::mapped(Arc::new(File { block, length: bytes.len() }), place)
}

proptest! {
    #[test]
    fn merging_is_adding_in_any_order_and_with_any_fuel(
        a in updates(200), b in updates(200), since in 0_u64..7, fuels in vec(1_usize..50, 1..5)
    ) {
        let both: Vec<Update> = a.iter().chain(&b).copied().collect();
        let expected = model(&both, since);
        let (Some(a), Some(b)) = (run(&a), run(&b)) else { return Ok(()) };
        for pair in [[&a, &b], [&b, &a]] {
            let merged = merge(pair, since, &fuels);
            prop_assert!(merged.iter().all(|merged| merged.iter().is_sorted_by(|x, y| x.order(y).is_lt())));
            prop_assert_eq!(merged.as_ref().map(contents).unwrap_or_default(), expected.clone());
        }
    }

    #[test]
    fn sorted_pieces_merge_to_their_sum(pieces in vec(updates(80), 0..6)) {
        let all: Vec<Update> = pieces.iter().flatten().copied().collect();
        let sorted: Vec<Vec<OverlapRecord>> =
            pieces.iter().map(|piece| run(piece).iter().flat_map(|run| run.iter()).copied().collect()).collect();
        let mut merged = merge_sorted(sorted);
        prop_assert!(merged.is_sorted_by(|x, y| x.order(y).is_lt()));
        merged.retain(|record| !record.is_zero());
        let run = Run::from_slice(&merged);
        prop_assert_eq!(run.as_ref().map(contents).unwrap_or_default(), model(&all, 0));
    }

    #[test]
    fn looking_up_finds_what_is_there_and_nothing_else(present in updates(300), absent in vec(fingerprints(), 0..50)) {
        let Some(run) = run(&present) else { return Ok(()) };
        let expected = contents(&run);
        let mut keys: Vec<Fingerprint> = present.iter().map(|update| update.0).chain(absent).collect();
        keys.sort_unstable();
        keys.dedup();
        let mut swept = Model::new();
        sweep(&run, &keys, |number, records| {
            assert!(records.iter().all(|record| record.key() == keys[number]));
            swept.extend(records.iter().map(|r| ((r.key(), r.window.window(), r.epoch), r.users)));
        });
        prop_assert_eq!(&swept, &expected);
        let found: Model = keys.iter().flat_map(|key| run.find(*key)).flatten()
            .map(|r| ((r.key(), r.window.window(), r.epoch), r.users)).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn looking_up_windows_finds_those_of_each_key(
        present in vec((prop_oneof![fingerprints(), Just(Fingerprint::default())], 0_u32..90, 1_u64..6, 1_i64..3), 0..400),
        (first, windows) in (0_u32..90, 0_u32..40)
    ) {
        let Some(run) = run(&present) else { return Ok(()) };
        let mut expected = contents(&run);
        expected.retain(|(_, window, _), _| (first..=first + windows).contains(window));
        let mut keys: Vec<Fingerprint> = present.iter().map(|update| update.0).collect();
        keys.sort_unstable();
        keys.dedup();
        let end = |window| record((Fingerprint::default(), window, 0, 1)).rank() as u32;
        let part = |key: &Fingerprint| Part { key: *key, first: end(first), last: end(first + windows) };
        let parts: Vec<Part> = keys.iter().map(part).collect();
        let mut swept = Model::new();
        sweep(&run, &parts, |number, records| {
            assert!(!records.is_empty() && records.iter().all(|record| record.key() == keys[number]));
            swept.extend(records.iter().map(|r| ((r.key(), r.window.window(), r.epoch), r.users)));
        });
        prop_assert_eq!(swept, expected);
    }

    #[test]
    fn a_slice_holds_its_range(present in updates(300), low: u64, high: u64) {
        let (low, high) = (low.min(high), low.max(high));
        let Some(run) = run(&present) else { return Ok(()) };
        let mut expected = contents(&run);
        expected.retain(|(ad, ..), _| (low..=high).contains(&ad.hash));
        prop_assert_eq!(run.slice(low, high).as_ref().map(contents).unwrap_or_default(), expected);
    }

    #[test]
    fn a_spine_holds_the_sum_of_its_epochs(
        epochs in vec(updates(60), 1..30), behind in 0_u64..4, pace in paces(), len_min in besides(), tidied in 0_usize..4
    ) {
        let mut spine = Spine::paced(Vec::new(), &beside(len_min), pace);
        let mut all = Vec::new();
        for (number, updates) in epochs.iter().enumerate() {
            let epoch = number as u64 + 1;
            let updates: Vec<Update> = updates.iter().map(|(ad, window, _, n)| (*ad, *window, epoch, *n)).collect();
            spine.set_since(epoch.saturating_sub(behind));
            spine.insert(run(&updates));
            all.extend(updates);
            let since = epoch.saturating_sub(behind);
            for as_of in since..=epoch {
                let visible: Vec<Update> = all.iter().filter(|update| update.2 <= as_of).copied().collect();
                let mut found = Model::new();
                for record in spine.runs().iter().flat_map(|run| run.iter()).filter(|record| record.epoch <= as_of) {
                    *found.entry((record.key(), record.window.window(), 0)).or_default() += record.users;
                }
                found.retain(|_, received| *received != 0);
                let at_zero: Vec<Update> = visible.iter().map(|(ad, window, _, n)| (*ad, *window, 0, *n)).collect();
                prop_assert_eq!(found, model(&at_zero, 0), "as of {} with since {}", as_of, since);
            }
            for _ in 0..tidied {
                spine.tidy(7);
            }
        }
    }

    /// However long the epochs are: as many runs as the state has binary digits, some of them merging, and no more.
    #[test]
    fn a_spine_has_few_runs(
        lens in vec(prop_oneof![1_usize..40, 1_usize..3_000], 1..120), pace in paces(), len_min in besides()
    ) {
        let mut spine = Spine::paced(Vec::new(), &beside(len_min), pace);
        let mut from = 0;
        for len in lens {
            let ads = from..from + len as u64;
            from = ads.end;
            let spread = |ad: u64| Fingerprint { hash: ad.wrapping_mul(1 << 40 | 0x9e37), low: 0 };
            let updates: Vec<Update> = ads.map(|ad| (spread(ad), 0, 1, 1)).collect();
            spine.insert(run(&updates));
            let runs = spine.runs();
            prop_assert_eq!(runs.iter().map(Run::len).sum::<usize>() as u64, from);
            let digits = 64 - from.leading_zeros() as usize;
            prop_assert!(runs.len() <= 2 * digits, "{} runs of {} records", runs.len(), from);
        }
        while spine.tidy(1_000) {}
        let lens: Vec<usize> = spine.runs().iter().map(Run::len).collect();
        prop_assert!(lens.is_sorted_by(|older, newer| 2 * newer <= *older), "tidied runs of {:?} records", lens);
    }

    #[test]
    fn a_chunk_is_its_bytes(present in updates(300), broken_at in 0_usize..64, bit in 0_u32..8) {
        let Some(run) = run(&present) else { return Ok(()) };
        let bytes = run.chunks()[0].as_bytes();
        let read = from_bytes::<OverlapRecord>(bytes).expect("a chunk reads its own bytes");
        prop_assert_eq!(read.records(), run.chunks()[0].records());
        prop_assert_eq!(read.filter(), run.chunks()[0].filter());
        prop_assert_eq!(read.directory(), run.chunks()[0].directory());
        prop_assert!(read.resident_bytes() >= size_of_val(read.filter()) + size_of_val(read.directory()));
        let mut broken = bytes.to_vec();
        broken[broken_at] ^= 1 << bit;
        if broken_at < 12 {
            prop_assert!(from_bytes::<OverlapRecord>(&broken).is_err());
        }
        prop_assert!(from_bytes::<OverlapRecord>(&bytes[..bytes.len() - 1]).is_err());
    }
}

#[test]
fn a_merge_in_progress_hides_nothing_and_gives_back_what_it_has_read() {
    let updates = |salt, count| -> Vec<Update> {
        let hot = (0..3_000).map(|window| (Fingerprint { hash: 1 << 62, low: 7 }, window, 2, 1));
        uniform(count, salt).map(|ad| (ad, 0, 1, 1)).chain(hot).collect()
    };
    let (older, newer) = (updates(4, 3 * CHUNK_RECORDS as u64), updates(5, 30_000));
    let both: Vec<Update> = older.iter().chain(&newer).copied().collect();
    let expected = model(&both, 3);
    let mut keys: Vec<Fingerprint> = both.iter().map(|update| update.0).collect();
    keys.sort_unstable();
    keys.dedup();
    let layers = [&older, &newer].map(|updates| Layer { run: run(updates).expect("there are records"), age_min: 0 });
    let mut merge = Merge::new(layers, 3, &Horizon::NONE);
    while !merge.is_done() {
        merge.work(7_001);
        let runs = merge.runs();
        let (mut seen, mut swept, mut found) = (Model::new(), 0, 0);
        for record in runs.iter().flat_map(Run::iter) {
            *seen.entry((record.key(), record.window.window(), 3)).or_default() += record.users;
        }
        assert!(seen.iter().all(|(row, users)| *users <= expected[row]), "a record is seen twice");
        let written: i64 = seen.values().sum();
        let not_full = expected.values().sum::<i64>() - written;
        assert_eq!(not_full, 0, "records are hidden");
        for run in runs {
            sweep(run, &keys, |_, records| swept += records.len());
            found += keys.iter().flat_map(|key| run.find(*key)).map(<[OverlapRecord]>::len).sum::<usize>();
        }
        let held: usize = runs.iter().map(Run::len).sum();
        assert_eq!((swept, found), (held, held));
        let chunks: usize = runs.iter().map(|run| run.chunks().len()).sum();
        assert!(chunks <= both.len() / CHUNK_RECORDS + 7, "{chunks} chunks for {} records", both.len());
    }
    let merged = merge.finish().expect("nothing cancels").run;
    assert_eq!(contents(&merged), expected);
}

/// Fingerprints as the engine makes them.
fn uniform(count: u64, salt: u8) -> impl Iterator<Item = Fingerprint> {
    let key = HashKey::new([salt; 16]);
    (0..count).map(move |number| key.click(&number.to_string()))
}

#[test]
fn a_full_filter_lets_few_strangers_pass() {
    let updates: Vec<Update> = uniform(3 * CHUNK_RECORDS as u64, 1).map(|ad| (ad, 0, 1, 1)).collect();
    let run = run(&updates).expect("there are records");
    assert_eq!(run.chunks().len(), 3);
    let chunk = &run.chunks()[1];
    let (low, high) = chunk.hashes();
    let strangers: Vec<Fingerprint> = uniform(1_000_000, 2).filter(|key| (low..=high).contains(&key.hash)).collect();
    let passes = |key: &&Fingerprint| {
        let mask = filter_mask(**key);
        chunk.filter()[chunk.slot(key.hash)] & mask == mask
    };
    let passed = strangers.iter().filter(passes).count();
    // The layout promises 0.7 %.
    assert!(passed * 1_000 < strangers.len() * 9, "{passed} of {} strangers passed", strangers.len());
    assert!(updates.iter().all(|(ad, ..)| run.find(*ad).next().is_some()), "a filter never hides what is there");
}

#[test]
fn a_hot_key_fills_chunks() {
    let hot = Fingerprint { hash: 1 << 40, low: 7 };
    let windows = 3 * CHUNK_RECORDS as u32;
    let mut updates: Vec<Update> = (0..windows).map(|window| (hot, window, 1, 1)).collect();
    updates.extend(uniform(1_000, 3).map(|ad| (ad, 0, 1, 1)));
    let run = run(&updates).expect("there are records");
    let found: usize = run.find(hot).map(<[OverlapRecord]>::len).sum();
    assert_eq!(found, windows as usize);
    let mut swept = 0;
    sweep(&run, &[hot], |_, records| swept += records.len());
    assert_eq!(swept, windows as usize);
}

#[test]
fn bytes_of_another_kind_are_refused() {
    let run = run(&[(Fingerprint { hash: 1, low: 1 }, 0, 1, 1)]).expect("there is a record");
    let bytes = run.chunks()[0].as_bytes();
    let as_visits = from_bytes::<crate::operators::records::VisitRecord>(bytes).err();
    assert_eq!(as_visits, Some(LayoutError::Schema(7, 32)));
    let mut later = bytes.to_vec();
    later[4] = 2;
    assert_eq!(from_bytes::<OverlapRecord>(&later).err(), Some(LayoutError::Version(2)));
}
