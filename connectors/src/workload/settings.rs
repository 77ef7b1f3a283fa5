//! What a workload is made of.

use recount_dataflow::domain::rules::DAY_MS;
use recount_dataflow::domain::validate::{TIME_END_MS, TIME_MIN_MS};
use thiserror::Error;

/// 2026-01-01T00:00:00Z, ms since 1970.
const START_MS: i64 = 1_767_225_600_000;
/// The last verdict about a workload may be decided this long after its end.
pub(super) const TAIL_MS: i64 = DAY_MS;

/// What a workload is made of. Rates are shares from 0 to 1.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkloadSettings {
    /// Distinct clicks.
    pub clicks: u64,
    /// Where the randomness comes from.
    pub seed: u64,
    /// Distinct ads, at least 1.
    pub ads: u32,
    /// Distinct users, at least 1.
    pub users: u32,
    /// Clicks that are delivered twice.
    pub duplicates: f64,
    /// Duplicates that differ from the first delivery in price.
    pub conflicting: f64,
    /// Clicks that arrive minutes to hours after they happened.
    pub late: f64,
    /// Clicks that get a verdict.
    pub verdicts: f64,
    /// Verdicts that are reversed later.
    pub reversals: f64,
    /// Clicks that one ad has, beside its even share of the rest.
    pub hot_ad: f64,
    /// The first click's time, ms since 1970 UTC.
    pub start_ms: i64,
    /// The time from the first click to the last, in ms.
    pub span_ms: i64,
    /// Broken records, as a share of the clicks; they come on top.
    pub broken: f64,
}

/// Why a workload can not be made.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum WorkloadError {
    /// A rate is no share.
    #[error("{name} is {rate}; it must be from 0 to 1")]
    Rate {
        /// The setting.
        name: &'static str,
        /// What it was set to.
        rate: f64,
    },
    /// There are no ads or users to draw from.
    #[error("{name} is 0; it must be at least 1")]
    Zero {
        /// The setting.
        name: &'static str,
    },
    /// Times would lie outside what a record may carry.
    #[error("the span from {start_ms} ms of {span_ms} ms must lie in [2000-01-01, 2099-12-31) and not be negative")]
    Span {
        /// The first click's time.
        start_ms: i64,
        /// The time to the last.
        span_ms: i64,
    },
}

impl WorkloadSettings {
    /// A day's workload of ordinary make: an ad for every ten clicks, a user for every five.
    pub fn new(clicks: u64, seed: u64) -> Self {
        let share = |of: u64| u32::try_from(clicks / of).unwrap_or(u32::MAX).max(1);
        WorkloadSettings {
            clicks,
            seed,
            ads: share(10),
            users: share(5),
            duplicates: 0.02,
            conflicting: 0.01,
            late: 0.01,
            verdicts: 0.03,
            reversals: 0.1,
            hot_ad: 0.0,
            start_ms: START_MS,
            span_ms: DAY_MS,
            broken: 0.0,
        }
    }

    /// Whether a workload can be made of these settings.
    ///
    /// # Errors
    /// The first setting that is out of its range.
    pub fn check(&self) -> Result<(), WorkloadError> {
        let rates = [
            ("duplicates", self.duplicates),
            ("conflicting", self.conflicting),
            ("late", self.late),
            ("verdicts", self.verdicts),
            ("reversals", self.reversals),
            ("hot_ad", self.hot_ad),
            ("broken", self.broken),
        ];
        if let Some(&(name, rate)) = rates.iter().find(|(_, rate)| !(0.0..=1.0).contains(rate)) {
            return Err(WorkloadError::Rate { name, rate });
        }
        let counts = [("ads", self.ads), ("users", self.users)];
        if let Some(&(name, _)) = counts.iter().find(|(_, count)| *count == 0) {
            return Err(WorkloadError::Zero { name });
        }
        let &WorkloadSettings { start_ms, span_ms, .. } = self;
        let end_ms = start_ms.checked_add(span_ms).and_then(|end_ms| end_ms.checked_add(TAIL_MS));
        match start_ms >= TIME_MIN_MS && span_ms >= 0 && end_ms.is_some_and(|end_ms| end_ms < TIME_END_MS) {
            true => Ok(()),
            false => Err(WorkloadError::Span { start_ms, span_ms }),
        }
    }
}
