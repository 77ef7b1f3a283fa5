//! The whole daemon on a disk that crashes: at every call that changes anything, at every kind of call on every kind of file, and
//! at every pair of those.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use recount_tests::daemon::{Life, live_through, points_met, run_all};
use recount_tests::disk::{Call, FileKind, Loss, Point, What, When};
use recount_tests::harness::soak;

/// Histories in which points are looked for: among them all are met.
const SEEDS: u64 = 48;
/// How often a crash is tried, each time a bit otherwise, until it has come.
const TRIES: usize = 400;
const CRASHES: [What; 3] = [What::CrashBefore, What::CrashAfter, What::CrashAmid];

/// Every point that is met, with the histories in which it is, and how often there.
type Met = BTreeMap<Point, BTreeMap<u64, u64>>;

/// What the first processes of some histories meet, what the second ones do, and what the third ones do.
fn all_points() -> [Met; 3] {
    let all = Mutex::new([Met::new(), Met::new(), Met::new()]);
    let seeds: Vec<u64> = (0..SEEDS).collect();
    run_all(&seeds, |seed| {
        for (process, calls) in points_met(*seed).into_iter().enumerate() {
            let mut all = all.lock().unwrap();
            for (point, calls) in calls {
                all[process].entry(point).or_default().insert(*seed, calls);
            }
        }
    });
    all.into_inner().unwrap()
}

fn loss(number: usize) -> Loss {
    [Loss::Unsynced, Loss::Some(number as u64), Loss::Nothing, Loss::Some(!number as u64)][number % 4]
}

/// What is called only while a store is made.
fn makes_a_store(point: Point) -> bool {
    let makes = point.kind == FileKind::Store && !matches!(point.call, Call::Open | Call::Read | Call::Length);
    // Without a store it is asked whether there are data of one, in every directory.
    makes || point.kind == FileKind::Root && point.call == Call::Exists
}

/// What is called before there is a store, when it is called first.
fn precedes_a_store(point: Point) -> bool {
    let looks = matches!(point.kind, FileKind::Log | FileKind::Binding | FileKind::Run) && point.call == Call::Exists;
    let store = point.kind == FileKind::Store && !matches!(point.call, Call::Read | Call::Length);
    matches!(point.kind, FileKind::Root | FileKind::Lock) || point.call == Call::CreateDir || looks || store
}

/// Where nothing goes wrong but a full disk, everything is as the model says. The named histories hold clicks whose `received_at` is
/// ahead of their arrival.
#[test]
fn histories_without_a_crash_equal_the_model() {
    let seeds = soak::seeds(soak::histories(300), 1).chain([724, 862, 1714, 2818]);
    run_all(&seeds.collect::<Vec<u64>>(), |seed| drop(live_through(*seed, &[])));
}

#[test]
fn nothing_is_lost_or_counted_twice_wherever_it_crashes() {
    let crashed = AtomicUsize::new(0);
    let jobs: Vec<(u64, u64)> = (100..106).flat_map(|seed| (0..130).map(move |change| (seed, change))).collect();
    run_all(&jobs, |(seed, change)| {
        let number = (seed + change) as usize;
        let life = Life { when: When::Change(*change), what: CRASHES[number % 3], loss: loss(number) };
        crashed.fetch_add(usize::from(live_through(*seed, &[life])[0]), Ordering::Relaxed);
    });
    println!("{crashed:?} crashes at changes by their number");
    assert!(crashed.into_inner() > jobs.len() / 3);
}

#[test]
fn nothing_is_lost_or_counted_twice_at_any_point_and_any_pair_of_points() {
    let [first, second, third] = all_points();
    let points: BTreeSet<Point> = first.keys().chain(second.keys()).copied().collect();
    assert_named(&points);

    let crashes: Vec<(usize, Point, What)> =
        points.iter().flat_map(|point| CRASHES.map(|what| (*point, what))).enumerate().map(numbered).collect();
    run_all(&crashes, |(number, point, what)| {
        let came = (0..TRIES).any(|again| {
            let number = number + 7 * again;
            let (prefix, met) = if first.contains_key(point) { (0, &first[point]) } else { (1, &second[point]) };
            let (seed, calls) = met.iter().nth(number % met.len()).unwrap();
            let life = life(*point, number as u64 % calls, *what, number);
            *live_through(*seed, &[vec![Life::SOUND; prefix], vec![life]].concat()).last().unwrap()
        });
        assert!(came, "{point} was not met");
    });

    // In the soak every pair of ways to crash, else one a pair.
    let ways = if soak::histories(0) > 0 { 4 } else { 1 };
    let possible = |one: &Point, other: &Point| match (makes_a_store(*one), makes_a_store(*other)) {
        (_, true) => precedes_a_store(*one),
        // The next process finds no store either: it is like a first.
        (true, false) => first.contains_key(other),
        (false, false) => true,
    };
    let pairs = points.iter().flat_map(|one| points.iter().map(move |other| (*one, *other)));
    let pairs: Vec<(Point, Point)> = pairs.filter(|(one, other)| possible(one, other)).collect();
    let jobs: Vec<(usize, Point, Point)> =
        pairs.iter().cycle().take(pairs.len() * ways).copied().enumerate().map(numbered).collect();
    let (unmet, runs) = (Mutex::new(BTreeSet::new()), AtomicUsize::new(0));
    run_all(&jobs, |(number, one, other)| {
        let way = number / pairs.len();
        let tries = (0..TRIES).take_while(|again| {
            let (mut seed, lives) = lives(number + 7 * again, way, (&first, &second, *one), (&third, *other));
            if *again >= TRIES / 10 {
                // Not as any history would have it that was looked at.
                seed = SEEDS + *number as u64 + *again as u64;
            }
            runs.fetch_add(1, Ordering::Relaxed);
            !live_through(seed, &lives).ends_with(&[true, true])
        });
        if tries.count() == TRIES {
            unmet.lock().unwrap().insert(format!("{one}, then {other}"));
        }
    });
    let unmet = unmet.into_inner().unwrap();
    println!(
        "{} points, {} crashes at one, {} at pairs of {}, in {runs:?} runs",
        points.len(),
        crashes.len(),
        jobs.len() - unmet.len(),
        points.len().pow(2)
    );
    assert!(unmet.is_empty(), "pairs that were not met: {unmet:#?}");
}

fn numbered<A, B>((number, (a, b)): (usize, (A, B))) -> (usize, A, B) {
    (number, a, b)
}

fn life(point: Point, skip: u64, what: What, number: usize) -> Life {
    Life { when: When::Once { point, skip }, what, loss: loss(number) }
}

/// A history, and crashes at two points in consecutive processes of it: after a process that wrote something, but where it is a
/// store's making that is to be met.
fn lives(
    number: usize,
    way: usize,
    (first, second, one): (&Met, &Met, Point),
    (third, other): (&Met, Point),
) -> (u64, Vec<Life>) {
    let [what, what_other] = [CRASHES[(number + way) % 2], CRASHES[(number / 2 + way / 2) % 2]];
    let is_new = makes_a_store(one) || makes_a_store(other);
    let met = if is_new { &first[&one] } else { &second[&one] };
    let none = BTreeMap::new();
    let met_other = third.get(&other).unwrap_or(&none);
    let both: Vec<u64> = met.keys().filter(|seed| met_other.contains_key(seed)).copied().collect();
    let seeds = if both.is_empty() { met.keys().copied().collect() } else { both };
    let seed = seeds[number % seeds.len()];
    let skip = if is_new { 0 } else { number as u64 / 3 % met[&seed] };
    let skip_other = number as u64 / 5 % met_other.get(&seed).map_or(1, |calls| calls.div_ceil(2));
    let crashes = vec![life(one, skip, what, number), life(other, skip_other, what_other, number / 4)];
    (seed, [if is_new { vec![] } else { vec![Life::SOUND] }, crashes].concat())
}

/// Every kind of file is met, and what is done to make it durable and to take it away.
fn assert_named(points: &BTreeSet<Point>) {
    use FileKind::{Binding, Lock, Log, Manifest, Pack, Root, Run, Store, Writer};
    let named = |call, kinds: &[FileKind]| {
        for kind in kinds {
            assert!(points.contains(&Point { call, kind: *kind }), "{call:?} of {kind:?} was not met");
        }
    };
    named(Call::Lock, &[Lock]);
    named(Call::CreateDir, &[Writer, Log, Binding, Run]);
    named(Call::CreateNew, &[Store, Writer, Log, Binding, Pack, Manifest]);
    named(Call::Write, &[Store, Log, Binding, Pack, Manifest]);
    named(Call::SyncData, &[Store, Log, Binding, Pack, Manifest]);
    named(Call::Link, &[Store, Pack, Manifest]);
    named(Call::SyncDir, &[Root, Writer, Log, Binding, Run]);
    named(Call::Truncate, &[Log, Binding]);
    named(Call::Delete, &[Store, Log, Binding, Pack, Manifest]);
    named(Call::Map, &[Pack, Manifest]);
    named(Call::Read, &[Store, Log, Binding, Manifest]);
    named(Call::List, &[Writer, Log, Binding, Run]);
    named(Call::Exists, &[Writer, Log]);
}
