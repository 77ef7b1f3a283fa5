//! How far event time has come, and what is too late.
//!
//! `W = max(W before, greatest event time of an accepted click - allowed_lateness)` after each epoch;
//! `F = start of the minute that holds W - correction_horizon`. Before the first accepted click there is neither.

use super::rules::{MINUTE_MS, Rules};

/// W and F at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermark {
    watermark_ms: Option<i64>,
    allowed_lateness_ms: i64,
    correction_horizon_ms: i64,
}

impl Watermark {
    /// The watermark before the first click.
    pub fn new(rules: &Rules) -> Self {
        Watermark {
            watermark_ms: None,
            allowed_lateness_ms: rules.allowed_lateness_ms,
            correction_horizon_ms: rules.correction_horizon_ms,
        }
    }

    /// The watermark at a known W.
    pub fn at(rules: &Rules, watermark_ms: Option<i64>) -> Self {
        Watermark { watermark_ms, ..Watermark::new(rules) }
    }

    /// W in milliseconds; `None` before the first accepted click.
    pub fn watermark_ms(&self) -> Option<i64> {
        self.watermark_ms
    }

    /// F in milliseconds, always the start of a minute; `None` before the first accepted click.
    pub fn floor_ms(&self) -> Option<i64> {
        let horizon_ms = self.watermark_ms? - self.correction_horizon_ms;
        Some(horizon_ms.div_euclid(MINUTE_MS) * MINUTE_MS)
    }

    /// Whether a time lies below F.
    pub fn is_late(&self, event_ms: i64) -> bool {
        self.floor_ms().is_some_and(|floor_ms| event_ms < floor_ms)
    }

    /// Takes in the greatest event time of the clicks accepted in an epoch.
    pub fn advance(&mut self, event_ms_max: i64) {
        self.watermark_ms = self.watermark_ms.max(Some(event_ms_max - self.allowed_lateness_ms));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::rules::DAY_MS;

    #[test]
    fn the_watermark_never_goes_back_and_the_floor_is_a_whole_minute() {
        let rules = Rules { allowed_lateness_ms: 30_000, correction_horizon_ms: DAY_MS, ..Rules::default() };
        let mut watermark = Watermark::new(&rules);
        assert!(!watermark.is_late(i64::MIN));
        watermark.advance(20_000 * DAY_MS + 45_000);
        assert_eq!(watermark.watermark_ms(), Some(20_000 * DAY_MS + 15_000));
        assert_eq!(watermark.floor_ms(), Some(19_999 * DAY_MS));
        watermark.advance(20_000 * DAY_MS);
        assert_eq!(watermark.watermark_ms(), Some(20_000 * DAY_MS + 15_000));
        assert!(watermark.is_late(19_999 * DAY_MS - 1));
        assert!(!watermark.is_late(19_999 * DAY_MS));
    }
}
