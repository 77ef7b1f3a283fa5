//! The settings that decide results, with their defaults. Two runs with equal rules over equal bindings give equal answers.

use serde::{Deserialize, Serialize};

/// Milliseconds in a second.
pub const SECOND_MS: i64 = 1_000;
/// Milliseconds in a minute.
pub const MINUTE_MS: i64 = 60 * SECOND_MS;
/// Milliseconds in an hour.
pub const HOUR_MS: i64 = 60 * MINUTE_MS;
/// Milliseconds in a day (UTC days have no leap seconds in Unix time).
pub const DAY_MS: i64 = 24 * HOUR_MS;

/// The settings that decide what counts. Every field in ms is a length of event time in milliseconds, at least 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// How far the watermark trails the greatest event time.
    pub allowed_lateness_ms: i64,
    /// How far the floor trails the watermark: what is older can not change any more.
    pub correction_horizon_ms: i64,
    /// Copies further apart than this are different clicks.
    pub dedup_horizon_ms: i64,
    /// How far a time may lie ahead of its arrival, and a verdict before its click.
    pub max_future_skew_ms: i64,
    /// Whether a click without `click_id` but with a user is known by (ad, user, minute).
    pub dedup_fallback: bool,
    /// How far behind W a window may end and still be a row; `None` keeps all.
    pub counts_retention_ms: Option<i64>,
}

impl Default for Rules {
    fn default() -> Self {
        Rules {
            allowed_lateness_ms: 30 * SECOND_MS,
            correction_horizon_ms: 7 * DAY_MS,
            dedup_horizon_ms: 7 * DAY_MS,
            max_future_skew_ms: 5 * MINUTE_MS,
            dedup_fallback: false,
            counts_retention_ms: None,
        }
    }
}
