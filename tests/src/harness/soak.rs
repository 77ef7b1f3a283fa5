//! Runs many histories, one after the other, and shrinks the first that fails.

use std::collections::BTreeMap;
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

/// What was run.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Histories by number of workers.
    pub by_workers: BTreeMap<usize, u64>,
    /// Histories whose horizons are minutes.
    pub minute_horizons: u64,
}

/// Runs a check over the histories of some seeds.
///
/// # Panics
/// At the first that fails, with its seed and the smallest history found that fails too.
pub fn run(
    seeds: impl Iterator<Item = u64>,
    make: impl Fn(u64) -> History,
    check: impl Fn(&History) -> Result<(), String>,
) -> Tally {
    let mut tally = Tally::default();
    for seed in seeds {
        let history = make(seed);
        *tally.by_workers.entry(history.plan.workers).or_default() += 1;
        tally.minute_horizons += u64::from(history.minute_horizons);
        let check = |history: &History| watched(history, || check(history));
        if let Err(difference) = check(&history) {
            eprintln!("RECOUNT_SEED={seed} fails, shrinking; at first: {difference}");
            let smallest = shrink(&history, SHRINK_TRIES, |history| check(history).is_err());
            let difference = check(&smallest).err().unwrap_or(difference);
            panic!("RECOUNT_SEED={seed} fails; the smallest found:\n{}\n{difference}", smallest.describe());
        }
    }
    tally
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
