//! The wall clock, in one place: nothing that is counted depends on it but through what is written down with records and epochs.

use std::time::{SystemTime, UNIX_EPOCH};

/// ms since 1970.
///
/// # Panics
/// Where the clock stands before 1970.
pub(crate) fn wall_ms() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock stands after 1970");
    since_1970.as_millis() as i64
}
