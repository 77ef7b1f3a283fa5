//! The whole daemon on storage that fails, fills up and decays: it refuses, or falls back and says so; it never answers wrongly.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use recount_connectors::data_dir::{DataDir, NewStore};
use recount_connectors::disk::Disk as _;
use recount_dataflow::domain::rules::Rules;
use recount_dataflow::engine::Settings;
use recount_tests::daemon::{Aftermath, Daemon, DaemonSettings, Life, World, live_through, points_met, run_all};
use recount_tests::disk::{FaultDisk, Loss, Point, What, When};
use recount_tests::durable::NEW_STORE;

/// Histories in which points are looked for.
const SEEDS: std::ops::Range<u64> = 200..212;
/// Damaged directories are made from these.
const DAMAGED: std::ops::Range<u64> = 300..304;
/// How many bytes of a file are flipped, and at how many it is cut, one at a time.
const PLACES: usize = 24;

#[test]
fn what_fails_or_is_full_loses_nothing() {
    let mut jobs: Vec<(u64, usize, Point, u64, What)> = Vec::new();
    let mut tried: BTreeMap<(usize, Point), u64> = BTreeMap::new();
    for seed in SEEDS {
        for (process, calls) in points_met(seed).into_iter().enumerate() {
            for (point, calls) in calls {
                let times = tried.entry((process, point)).or_default();
                if *times < 3 {
                    *times += 1;
                    jobs.extend([What::Broken, What::Full].map(|what| (seed, process, point, seed % calls, what)));
                }
            }
        }
    }
    let came = Mutex::new(BTreeMap::<Point, u64>::new());
    run_all(&jobs, |(seed, process, point, skip, what)| {
        let loss = [Loss::Unsynced, Loss::Nothing, Loss::Some(*seed)][(*seed % 3) as usize];
        let life = Life { when: When::Once { point: *point, skip: *skip }, what: *what, loss };
        let lives = [vec![Life::SOUND; *process], vec![life]].concat();
        let has_come = live_through(*seed, &lives).contains(&true);
        *came.lock().unwrap().entry(*point).or_default() += u64::from(has_come);
    });
    let came = came.into_inner().unwrap();
    println!("{} faults at {} points", came.values().sum::<u64>(), came.len());
    assert!(came.values().all(|times| *times > 0), "{came:?}");
    assert!(came.len() >= 50, "{} points", came.len());
}

/// What is done to a file.
#[derive(Clone, Copy, Debug)]
enum Damage {
    Flip(usize),
    Cut(usize),
    Delete,
}

/// A directory that some processes wrote, and what is known of it.
fn written(seed: u64) -> (FaultDisk, World) {
    let mut world = World::uncut(seed);
    let mut disk = FaultDisk::default();
    for _ in 0..3 {
        world.live(&disk, 14).unwrap();
        disk = disk.restart(Loss::Nothing);
    }
    world.learn_all(&disk);
    (disk, world)
}

/// Some places in a file: all where it is short, and always the first and the last.
fn places(length: usize) -> Vec<usize> {
    let mut places: Vec<usize> = (0..length).step_by(length.div_ceil(PLACES).max(1)).collect();
    places.extend(length.checked_sub(1));
    places
}

#[test]
fn decay_is_refused_or_fallen_back_from_and_never_answered_from() {
    let all: Vec<(FaultDisk, World)> = DAMAGED.map(written).collect();
    let mut jobs: Vec<(usize, String, Damage)> = Vec::new();
    for (number, (disk, _)) in all.iter().enumerate() {
        for (path, length) in disk.files().into_iter().filter(|(path, _)| path != "LOCK") {
            let damages = places(length).into_iter().flat_map(|at| [Damage::Flip(at), Damage::Cut(at)]);
            jobs.extend(damages.chain([Damage::Delete]).map(|damage| (number, path.clone(), damage)));
        }
    }
    let tally = Mutex::new(BTreeMap::<(String, &str, Outcome), u64>::new());
    run_all(&jobs, |(number, path, damage)| {
        let (disk, world) = &all[*number];
        let disk = disk.copy();
        match *damage {
            Damage::Flip(at) => disk.damage(path, |bytes| bytes[at] ^= 1 << (at % 8)),
            Damage::Cut(at) => disk.damage(path, |bytes| bytes.truncate(at)),
            Damage::Delete => disk.delete(path).unwrap(),
        }
        let aftermath = world.start_damaged(&disk);
        let outcome = outcome(&aftermath);
        if outcome == Outcome::Less {
            // The newest records and bindings may look as if a power cut had torn them: nothing else says that they were there.
            let is_end = ends_of(world_files(&all[*number].0)).contains(path) && !matches!(damage, Damage::Delete);
            assert!(is_end, "{path}, {damage:?}: {aftermath:?}");
            assert!(!aftermath.records_lost || path.starts_with("log/"), "{path}, {damage:?}: {aftermath:?}");
        }
        let what = if matches!(damage, Damage::Delete) { "deleted" } else { "damaged" };
        *tally.lock().unwrap().entry((kind(path), what, outcome)).or_default() += 1;
    });
    let tally = tally.into_inner().unwrap();
    println!("{} damages: {tally:#?}", jobs.len());
    let times = |asked: Outcome, kind: &str, what: &str| {
        let of = tally.iter().filter(|((of, how, outcome), _)| of == kind && *how == what && *outcome == asked);
        of.map(|(_, times)| times).sum::<u64>()
    };
    // White space in it says nothing.
    assert!(times(Outcome::Same, "store.json", "damaged") < times(Outcome::Refused, "store.json", "damaged") / 10);
    for kind in ["store.json", "log", "bindings"] {
        assert!(times(Outcome::Refused, kind, "damaged") > 0 && times(Outcome::Refused, kind, "deleted") > 0, "{kind}");
    }
    for kind in ["pack", "manifest"] {
        assert!(times(Outcome::FellBack, kind, "damaged") > 0, "{kind}");
    }
}

#[test]
fn a_start_that_is_refused_leaves_no_new_files() {
    let mut refused: BTreeMap<(String, &str), u64> = BTreeMap::new();
    for seed in DAMAGED {
        let (disk, mut world) = written(seed);
        let settings = world.settings();
        let all: Vec<(String, usize)> = disk.files().into_iter().filter(|(path, _)| path != "LOCK").collect();
        let is_manifest = |path: &&str| path.ends_with(".manifest");
        let manifests = || all.iter().map(|(path, _)| path.as_str()).filter(is_manifest);
        let mut cases: Vec<(String, &str, FaultDisk)> = Vec::new();
        let mut case = |what: &str, how: &'static str, damage: &dyn Fn(&FaultDisk)| {
            let disk = disk.copy();
            damage(&disk);
            cases.push((kind(what), how, disk));
        };
        case(manifests().next().unwrap_or("runs/none.manifest"), "flipped", &|disk| {
            manifests().for_each(|path| disk.damage(path, |bytes| bytes[20] ^= 1));
        });
        // A fence that is gone has its number taken again, and that is met when the first file of that number is made.
        for (path, length) in all.iter().filter(|(path, _)| kind(path) != "writers") {
            case(path, "deleted", &|disk| disk.delete(path).unwrap());
            case(path, "emptied", &|disk| disk.damage(path, Vec::clear));
            // What is in the middle of the log is read when the engine reads it.
            if *length > 0 && kind(path) != "log" {
                case(path, "flipped", &|disk| disk.damage(path, |bytes| bytes[length / 2] ^= 1));
            }
        }
        for (what, how, disk) in cases {
            let before = disk.files();
            if Daemon::start(Arc::new(disk.clone()), &settings).is_err() {
                let of_process = |path: &str| path == "LOCK" || path.starts_with("writers/");
                let new = disk.files().into_iter().filter(|file| !before.contains(file) && !of_process(&file.0));
                assert_eq!(new.collect::<Vec<_>>(), [], "a {what} was {how}, seed {seed}");
                *refused.entry((what, how)).or_default() += 1;
            }
        }
        let other = Rules { dedup_horizon_ms: settings.engine.rules.dedup_horizon_ms + 1, ..settings.engine.rules };
        let engine = Settings { rules: other, ..settings.engine.clone() };
        let before = disk.files();
        assert!(Daemon::start(Arc::new(disk.clone()), &DaemonSettings { engine, ..settings }).is_err());
        assert_eq!(disk.files().len(), before.len(), "by other rules");
    }
    println!("{refused:#?}");
    for asked in [("store.json", "deleted"), ("log", "deleted"), ("bindings", "deleted"), ("manifest", "flipped")] {
        assert!(refused.contains_key(&(asked.0.to_owned(), asked.1)), "{asked:?} is not refused: {refused:?}");
    }
}

#[test]
fn a_place_without_a_store_stays_as_it_was_where_it_is_refused() {
    let disk = FaultDisk::default();
    assert!(DataDir::open_for_rebuild(Arc::new(disk.clone())).is_err());
    let none = NewStore { partitions: 0, ..NEW_STORE };
    assert!(DataDir::open(Arc::new(disk.clone()), &none, Rules::default()).is_err());
    assert_eq!(disk.files(), [("LOCK".to_owned(), disk.files()[0].1)]);
    assert!(!disk.exists("log").unwrap());
}

/// What came of a damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// It was refused, with an error.
    Refused,
    /// An older checkpoint was used, and it was said.
    FellBack,
    /// Everything is as it was: nobody needs what was damaged.
    Same,
    /// The newest epochs or records are gone.
    Less,
}

fn outcome(aftermath: &Aftermath) -> Outcome {
    match aftermath {
        Aftermath { refused: Some(_), .. } => Outcome::Refused,
        Aftermath { records_lost: true, .. } => Outcome::Less,
        Aftermath { epochs_lost, .. } if *epochs_lost > 0 => Outcome::Less,
        Aftermath { fell_back, .. } if *fell_back > 0 => Outcome::FellBack,
        Aftermath { .. } => Outcome::Same,
    }
}

/// The kind of a file: where it lies, or what it is where checkpoints lie.
fn kind(path: &str) -> String {
    let (dir, name) = path.split_once('/').unwrap_or((path, path));
    let ending = name.rsplit('.').next().unwrap_or_default();
    if dir == "runs" { ending.to_owned() } else { dir.to_owned() }
}

/// The paths of all files that are not empty.
fn world_files(disk: &FaultDisk) -> Vec<String> {
    disk.files().into_iter().filter(|(_, length)| *length > 0).map(|(path, _)| path).collect()
}

/// The last of the files in each directory of the log, and of the bindings.
fn ends_of(files: Vec<String>) -> Vec<String> {
    let mut ends: BTreeMap<String, String> = BTreeMap::new();
    for path in files.into_iter().filter(|path| path.starts_with("log/") || path.starts_with("bindings/")) {
        let (dir, _) = path.rsplit_once('/').unwrap();
        ends.insert(dir.to_owned(), path);
    }
    ends.into_values().collect()
}
