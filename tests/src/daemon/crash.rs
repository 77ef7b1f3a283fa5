//! Histories with faults at named calls of the disk.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use rand::Rng as _;

use super::World;
use crate::disk::{Call, Fault, FaultDisk, FileKind, Loss, Point, What, When};

/// What processes do before they are ended, where nothing ends them earlier.
const STEPS: usize = 16;
/// How many jobs run at once.
const THREADS: usize = 2;

/// A fault in the life of one process, and what is lost afterwards.
#[derive(Clone, Copy, Debug)]
pub struct Life {
    /// When the fault comes.
    pub when: When,
    /// What goes wrong.
    pub what: What,
    /// What is lost when the process has ended.
    pub loss: Loss,
}

impl Life {
    /// A process that ends as nothing goes wrong: it is killed.
    pub const SOUND: Life = Life { when: When::Change(u64::MAX), what: What::CrashBefore, loss: Loss::Nothing };
}

/// Runs a history through processes with faults, and one without; returns for each fault whether it came.
///
/// # Panics
/// Where anything that was acknowledged or read is not there afterwards, or is not as the model says.
pub fn live_through(seed: u64, lives: &[Life]) -> Vec<bool> {
    let mut world = World::new(seed);
    let mut disk = FaultDisk::default();
    let mut came = Vec::new();
    for life in lives {
        // Of faults at the same call the first comes.
        let planned = disk.plan(Fault { when: life.when, what: life.what });
        plan_full(&mut world, &disk);
        let ended = world.live(&disk, STEPS);
        came.push(disk.has_come(planned));
        if let Err(stopped) = ended {
            assert!(disk.has_come(planned), "a process stopped by itself: {}", stopped.0);
        }
        disk = disk.restart(life.loss);
    }
    world.finish(&disk);
    came
}

/// Now and then there is no room, so that what is done then is met too.
fn plan_full(world: &mut World, disk: &FaultDisk) {
    for (kind, calls) in [(FileKind::Log, 6), (FileKind::Binding, 5), (FileKind::Pack, 3)] {
        let skip = world.rng.random_range(0..calls);
        disk.plan(Fault::once(Point { call: Call::Write, kind }, skip, What::Full));
    }
}

/// How often each point is met in the first process of a history, in the second and in the third, where nothing ends them.
///
/// # Panics
/// Where one ends by itself.
pub fn points_met(seed: u64) -> [BTreeMap<Point, u64>; 3] {
    let mut world = World::new(seed);
    let mut disk = FaultDisk::default();
    [(); 3].map(|()| {
        let before = disk.calls();
        disk = disk.restart(Loss::Nothing);
        plan_full(&mut world, &disk);
        world.live(&disk, STEPS).unwrap_or_else(|stopped| panic!("a process stopped by itself: {}", stopped.0));
        let calls = disk.calls().into_iter().map(|(point, calls)| (point, calls - before.get(&point).unwrap_or(&0)));
        calls.filter(|(_, calls)| *calls > 0).collect()
    })
}

/// Runs jobs, some at once, and says which it was that failed.
///
/// # Panics
/// Where one does.
pub fn run_all<J: Debug + Sync>(jobs: &[J], run: impl Fn(&J) + Sync) {
    let (next, has_failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if has_failed.load(Ordering::Relaxed) {
                        return;
                    }
                    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(job))) {
                        has_failed.store(true, Ordering::Relaxed);
                        eprintln!("this job failed: {job:?}");
                        resume_unwind(panic);
                    }
                }
            });
        }
    });
}
