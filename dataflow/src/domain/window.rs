//! Tumbling windows of event time, and their states.

use super::rules::{DAY_MS, HOUR_MS, MINUTE_MS};
use super::watermark::Watermark;

/// The sizes of window that Recount keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Granularity {
    /// One minute.
    Minute,
    /// Five minutes.
    FiveMinutes,
    /// One hour.
    Hour,
    /// One UTC day.
    Day,
}

impl Granularity {
    /// Every granularity, smallest first.
    pub const ALL: [Granularity; 4] =
        [Granularity::Minute, Granularity::FiveMinutes, Granularity::Hour, Granularity::Day];

    /// The windows' length in milliseconds.
    pub const fn size_ms(self) -> i64 {
        match self {
            Granularity::Minute => MINUTE_MS,
            Granularity::FiveMinutes => 5 * MINUTE_MS,
            Granularity::Hour => HOUR_MS,
            Granularity::Day => DAY_MS,
        }
    }

    /// The number of the window that holds a time; windows are counted from 1970 UTC.
    pub const fn window_of(self, event_ms: i64) -> u32 {
        event_ms.div_euclid(self.size_ms()) as u32
    }

    /// The first millisecond of a numbered window.
    pub const fn start_ms(self, window: u32) -> i64 {
        window as i64 * self.size_ms()
    }

    /// The end of a numbered window: the first millisecond after it.
    pub const fn end_ms(self, window: u32) -> i64 {
        self.start_ms(window) + self.size_ms()
    }

    /// How many windows of `self` make one window of `larger`.
    pub const fn per(self, larger: Granularity) -> u32 {
        (larger.size_ms() / self.size_ms()) as u32
    }

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Granularity::Minute => "MINUTE",
            Granularity::FiveMinutes => "FIVE_MINUTES",
            Granularity::Hour => "HOUR",
            Granularity::Day => "DAY",
        }
    }
}

/// Whether a window can still change, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WindowState {
    /// The watermark has not passed its end: changes are ordinary.
    Open,
    /// The watermark has passed its end: every change is a correction.
    Closed,
    /// The floor has passed its end: it never changes again.
    Final,
}

impl WindowState {
    /// The state of the window `[start_ms, start_ms + size)` under a watermark.
    pub fn of(granularity: Granularity, start_ms: i64, watermark: Watermark) -> WindowState {
        let end_ms = start_ms + granularity.size_ms();
        let reached = |bound_ms: Option<i64>| bound_ms.is_some_and(|bound_ms| end_ms <= bound_ms);
        if reached(watermark.floor_ms()) {
            WindowState::Final
        } else if reached(watermark.watermark_ms()) {
            WindowState::Closed
        } else {
            WindowState::Open
        }
    }

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            WindowState::Open => "OPEN",
            WindowState::Closed => "CLOSED",
            WindowState::Final => "FINAL",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::rules::Rules;

    #[test]
    fn windows_are_half_open_and_nest() {
        for granularity in Granularity::ALL {
            let size_ms = granularity.size_ms();
            let start_ms = 17_000 * DAY_MS;
            let window = granularity.window_of(start_ms);
            assert_eq!(granularity.start_ms(window), start_ms);
            assert_eq!(granularity.window_of(start_ms + size_ms - 1), window);
            assert_eq!(granularity.window_of(start_ms + size_ms), window + 1);
        }
        assert_eq!(Granularity::Minute.per(Granularity::Day), 1_440);
    }

    #[test]
    fn a_window_closes_at_its_end_and_is_final_below_the_floor() {
        let rules = Rules { allowed_lateness_ms: 0, correction_horizon_ms: 10 * MINUTE_MS, ..Rules::default() };
        let start_ms = 17_000 * DAY_MS;
        let at = |event_ms| {
            let mut watermark = Watermark::new(&rules);
            watermark.advance(event_ms);
            WindowState::of(Granularity::Minute, start_ms, watermark)
        };
        assert_eq!(WindowState::of(Granularity::Minute, start_ms, Watermark::new(&rules)), WindowState::Open);
        assert_eq!(at(start_ms + MINUTE_MS - 1), WindowState::Open);
        assert_eq!(at(start_ms + MINUTE_MS), WindowState::Closed);
        assert_eq!(at(start_ms + 11 * MINUTE_MS - 1), WindowState::Closed);
        assert_eq!(at(start_ms + 11 * MINUTE_MS), WindowState::Final);
    }
}
