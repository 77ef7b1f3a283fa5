//! Runs many histories, one after the other, and shrinks the first that fails.

use std::collections::BTreeMap;

use crate::history::{History, shrink};

/// How many tries shrinking may take.
const SHRINK_TRIES: usize = 600;

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
        if let Err(difference) = check(&history) {
            eprintln!("seed {seed} fails, shrinking; at first: {difference}");
            let smallest = shrink(&history, SHRINK_TRIES, |history| check(history).is_err());
            let difference = check(&smallest).err().unwrap_or(difference);
            panic!("RECOUNT_SEED={seed} fails; the smallest found:\n{}\n{difference}", smallest.describe());
        }
    }
    tally
}
