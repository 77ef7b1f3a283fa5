//! What the rules can still ask about, and what they can not: that may be forgotten, whenever it suits.
//!
//! With `D` for the dedup horizon and `S` for the greatest future skew:
//!
//! | what | is asked about while | because |
//! |---|---|---|
//! | a copy | `time >= F - 2 D` | whether a remembered copy (`>= F - D`) is a click depends on the copy before it, at most `D` older |
//! | a verdict | `time + S >= F - D` | it may be about a remembered click |
//! | that one has met no click | `time + S >= F` | a click that it is about, at most `S` later, may come yet |
//! | a visit | its window starts on or after the day that holds F | users of a day that can still change are counted over the whole day |
//! | a row | its window ends after `W - counts_retention` | [`Rules::counts_retention_ms`] |
//! | an ad's name | it was named on or after the first day that a row or a copy can be of | both are shown with it |
//!
//! Operators and readers leave out what is no longer asked about, by the marks of the epoch they work at; so it never matters
//! when it was forgotten.

use super::rules::{DAY_MS, Rules};
use super::watermark::Watermark;
use super::window::Granularity;

/// From where on things are still asked about, at one epoch. Times are in ms since 1970; before there is a floor they are the least
/// possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Copies from this event time on.
    pub copies_from_ms: i64,
    /// Clicks from this event time on are remembered: whatever is said of them is exact.
    pub clicks_from_ms: i64,
    /// Verdicts decided from this time on.
    pub verdicts_from_ms: i64,
    /// Verdicts decided from this time on are told of where they have met no click.
    pub unmatched_from_ms: i64,
    /// Visits from the window that starts at this time on.
    pub visits_from_ms: i64,
    /// Rows whose window ends after this time.
    pub rows_after_ms: i64,
}

impl Retention {
    /// Everything is asked about.
    pub const ALL: Retention = Retention {
        copies_from_ms: i64::MIN,
        clicks_from_ms: i64::MIN,
        verdicts_from_ms: i64::MIN,
        unmatched_from_ms: i64::MIN,
        visits_from_ms: i64::MIN,
        rows_after_ms: i64::MIN,
    };

    /// What is asked about at a watermark.
    pub fn at(watermark: Watermark, rules: &Rules) -> Retention {
        let (Some(watermark_ms), Some(floor_ms)) = (watermark.watermark_ms(), watermark.floor_ms()) else {
            return Retention::ALL;
        };
        let clicks_from_ms = floor_ms - rules.dedup_horizon_ms;
        Retention {
            copies_from_ms: clicks_from_ms - rules.dedup_horizon_ms,
            clicks_from_ms,
            verdicts_from_ms: clicks_from_ms - rules.max_future_skew_ms,
            unmatched_from_ms: floor_ms - rules.max_future_skew_ms,
            visits_from_ms: floor_ms.div_euclid(DAY_MS) * DAY_MS,
            rows_after_ms: rules.counts_retention_ms.map_or(i64::MIN, |retention_ms| watermark_ms - retention_ms),
        }
    }

    /// The number of the first window that is a row still, of one size.
    pub fn first_row(&self, granularity: Granularity) -> u32 {
        match self.rows_after_ms {
            i64::MIN => 0,
            rows_after_ms => granularity.window_of(rows_after_ms.max(0)),
        }
    }

    /// The number of the first day whose clicks can still be named: in a row, or as a copy.
    pub fn first_named_day(&self) -> u32 {
        self.first_row(Granularity::Day).min(Granularity::Day.window_of(self.copies_from_ms.max(0)))
    }

    /// The number of the first base window whose visits are asked about.
    pub fn first_visit(&self, base: Granularity) -> u32 {
        base.window_of(self.visits_from_ms.max(0))
    }

    /// The number of the first base window that a row still is a sum of: the largest rows are days.
    pub fn first_base(&self, base: Granularity) -> u32 {
        self.first_row(Granularity::Day) * base.per(Granularity::Day)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::rules::{HOUR_MS, MINUTE_MS};

    #[test]
    fn what_is_forgotten_is_what_can_not_be_asked_about() {
        let rules = Rules { counts_retention_ms: Some(90 * DAY_MS), ..Rules::default() };
        assert_eq!(Retention::at(Watermark::new(&rules), &rules), Retention::ALL);
        let watermark_ms = 20_000 * DAY_MS + 5 * HOUR_MS + 30 * MINUTE_MS + 7;
        let retention = Retention::at(Watermark::at(&rules, Some(watermark_ms)), &rules);
        assert_eq!(retention.clicks_from_ms, watermark_ms - 7 - 14 * DAY_MS);
        assert_eq!(retention.copies_from_ms, watermark_ms - 7 - 21 * DAY_MS);
        assert_eq!(retention.unmatched_from_ms, watermark_ms - 7 - 7 * DAY_MS - 5 * MINUTE_MS);
        assert_eq!(retention.visits_from_ms, 19_993 * DAY_MS);
        assert_eq!(retention.first_visit(Granularity::Hour), 19_993 * 24);
        // The day, the hour and the minute that hold W - 90 d are the first whose end lies behind it.
        assert_eq!(retention.first_row(Granularity::Day), 19_910);
        assert_eq!(retention.first_row(Granularity::Hour), 19_910 * 24 + 5);
        assert_eq!(retention.first_row(Granularity::Minute), (19_910 * 24 + 5) * 60 + 30);
        assert_eq!(retention.first_base(Granularity::Minute), 19_910 * 24 * 60);
        assert_eq!(retention.first_named_day(), 19_910);
        let copies_last = Retention { copies_from_ms: 19_000 * DAY_MS + 1, ..retention };
        assert_eq!(copies_last.first_named_day(), 19_000);
    }

    #[test]
    fn a_window_that_ends_at_the_bound_is_no_row_any_more() {
        let rules = Rules { counts_retention_ms: Some(DAY_MS), ..Rules::default() };
        let retention = Retention::at(Watermark::at(&rules, Some(20_000 * DAY_MS)), &rules);
        assert_eq!(retention.first_row(Granularity::Minute), 19_999 * 24 * 60);
    }
}
