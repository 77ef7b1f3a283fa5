//! Runs many histories, one after the other, and shrinks the first that fails.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use crate::history::{History, shrink};

/// How many tries shrinking may take.
const SHRINK_TRIES: usize = 600;
/// How long one history may take: beyond this it hangs.
const HISTORY_TIMEOUT: Duration = Duration::from_secs(300);

/// How many histories to run: `RECOUNT_HISTORIES`, or `default`.
///
/// # Panics
/// Where it is no number.
pub fn histories(default: u64) -> u64 {
    from_env("RECOUNT_HISTORIES").unwrap_or(default)
}

/// The first seed: `RECOUNT_SEED`, or `default`. With it alone, that one history is run.
///
/// # Panics
/// Where it is no number.
pub fn seeds(histories: u64, default: u64) -> std::ops::Range<u64> {
    match from_env("RECOUNT_SEED") {
        Some(seed) => seed..seed + from_env("RECOUNT_HISTORIES").unwrap_or(1),
        None => default..default + histories,
    }
}

fn from_env(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name}={value} is no number")))
}

/// How many histories run at once: an engine has idle moments, and its workers are threads of their own.
const THREADS: usize = 2;

/// What was run.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Histories by number of workers.
    pub by_workers: BTreeMap<usize, u64>,
    /// Histories whose horizons are minutes.
    pub minute_horizons: u64,
}

impl Tally {
    fn add(&mut self, history: &History) {
        *self.by_workers.entry(history.plan.workers).or_default() += 1;
        self.minute_horizons += u64::from(history.minute_horizons);
    }
}

/// Runs a check over the histories of some seeds, some at once.
///
/// # Panics
/// Where one fails, with its seed and the smallest history found that fails too.
pub fn run(
    seeds: std::ops::Range<u64>,
    make: impl Fn(u64) -> History + Sync,
    check: impl Fn(&History) -> Result<(), String> + Sync,
) -> Tally {
    let next = AtomicU64::new(seeds.start);
    let (tally, failure) = (Mutex::new(Tally::default()), Mutex::new(None));
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while failure.lock().unwrap().is_none() {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if !seeds.contains(&seed) {
                        return;
                    }
                    let history = make(seed);
                    tally.lock().unwrap().add(&history);
                    if let Err(words) = run_one(&history, &check) {
                        failure.lock().unwrap().get_or_insert(words);
                    }
                }
            });
        }
    });
    if let Some(words) = failure.into_inner().unwrap() {
        panic!("{words}");
    }
    tally.into_inner().unwrap()
}

fn run_one(history: &History, check: &impl Fn(&History) -> Result<(), String>) -> Result<(), String> {
    let check = |history: &History| watched(history, || check(history));
    let seed = history.seed;
    check(history).map_err(|difference| {
        eprintln!("RECOUNT_SEED={seed} fails, shrinking; at first: {difference}");
        let smallest = shrink(history, SHRINK_TRIES, |history| check(history).is_err());
        let difference = check(&smallest).err().unwrap_or(difference);
        format!("RECOUNT_SEED={seed} fails; the smallest found:\n{}\n{difference}", smallest.describe())
    })
}

/// Runs a check, and ends the whole process with the history printed where it hangs.
fn watched<T>(history: &History, check: impl FnOnce() -> T) -> T {
    thread::scope(|scope| {
        let (done, is_done) = mpsc::channel::<()>();
        scope.spawn(move || {
            if is_done.recv_timeout(HISTORY_TIMEOUT) == Err(RecvTimeoutError::Timeout) {
                eprintln!("RECOUNT_SEED={} hangs:\n{}", history.seed, history.describe());
                std::process::exit(101);
            }
        });
        let result = check();
        drop(done);
        result
    })
}
