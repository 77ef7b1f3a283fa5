//! How long reading waits for a partition that is a little behind.
//!
//! Partitions that are read within `allowed_lateness` of each other make no click late that was not late before. Nobody promises
//! that they come so: a broker may be slow, or away. So what is further ahead than that waits for a moment, and then goes on up to the
//! bound beyond which nothing goes. The wait is short because a partition with nothing more says so at once.

use std::time::{Duration, Instant};

use super::skew::{Choice, Front, choose};

/// How long one partition is waited for, once.
const WAIT_ONCE: Duration = Duration::from_millis(500);
/// Less than this apart nobody waits: it would only make batches small.
const NEAR_MS_MIN: i64 = 1_000;

/// How far partitions may be apart, in ms of record timestamps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reach {
    /// So far nobody waits.
    near_ms: i64,
    /// So far they may be at all.
    far_ms: i64,
}

impl Reach {
    /// `far_ms` is the bound; clicks that come `allowed_lateness_ms` late are not late.
    pub(super) fn new(far_ms: i64, allowed_lateness_ms: i64) -> Self {
        Reach { near_ms: allowed_lateness_ms.max(NEAR_MS_MIN).min(far_ms), far_ms }
    }

    /// So far they should be.
    pub(super) fn near_ms(self) -> i64 {
        self.near_ms
    }
}

/// Whom reading waits for.
#[derive(Debug, Default)]
pub(super) struct WaitFor {
    /// The partition, and since when: it is not waited for again before it has come.
    waits: Option<(usize, Instant)>,
}

impl WaitFor {
    /// Chooses among partitions; without a `reach` nobody waits.
    pub(super) fn choose(
        &mut self,
        fronts: impl Iterator<Item = Front> + Clone,
        reach: Option<Reach>,
        now: Instant,
    ) -> Choice {
        let Some(Reach { near_ms, far_ms }) = reach else { return choose(fronts, None) };
        let near = choose(fronts.clone(), Some(near_ms));
        let Choice::Held { by } = near else {
            self.waits = None;
            return near;
        };
        let since = match self.waits {
            Some((waited_for, since)) if waited_for == by => since,
            _ => now,
        };
        self.waits = Some((by, since));
        match choose(fronts, Some(far_ms)) {
            Choice::Take(_) if now < since + WAIT_ONCE => Choice::Nothing,
            far => far,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::skew::Upcoming;
    use super::*;

    const HOUR_MS: i64 = 3_600_000;
    const REACH: Option<Reach> = Some(Reach { near_ms: 30_000, far_ms: HOUR_MS });

    fn ahead(ms: i64) -> [Front; 2] {
        let ahead = Front { passed_ms: 0, next: Upcoming::Batch { first_ms: ms, max_ms: ms } };
        [ahead, Front { passed_ms: 0, next: Upcoming::Unknown }]
    }

    #[test]
    fn what_is_a_little_ahead_goes_at_once_what_is_further_in_a_moment_and_what_is_too_far_never() {
        let (mut wait_for, start) = (WaitFor::default(), Instant::now());
        let mut choose = |ms, after_ms| {
            let now = start + Duration::from_millis(after_ms);
            wait_for.choose(ahead(ms).into_iter(), REACH, now)
        };
        assert_eq!(choose(30_000, 0), Choice::Take(0));
        assert_eq!(choose(31_000, 10), Choice::Nothing);
        assert_eq!(choose(31_000, 509), Choice::Nothing);
        assert_eq!(choose(31_000, 510), Choice::Take(0));
        assert_eq!(choose(40_000, 511), Choice::Take(0), "the same partition is not waited for twice");
        assert_eq!(choose(2 * HOUR_MS, 9_000), Choice::Held { by: 1 });
        assert_eq!(choose(10_000, 9_001), Choice::Take(0), "it has come");
        assert_eq!(choose(41_000, 9_002), Choice::Nothing);
    }

    #[test]
    fn near_lies_between_a_second_and_the_bound() {
        assert_eq!(Reach::new(HOUR_MS, 30_000).near_ms(), 30_000);
        assert_eq!(Reach::new(HOUR_MS, 0).near_ms(), 1_000);
        assert_eq!(Reach::new(500, 30_000).near_ms(), 500);
        let mut wait_for = WaitFor::default();
        assert_eq!(wait_for.choose(ahead(HOUR_MS * 99).into_iter(), None, Instant::now()), Choice::Take(0));
    }
}
