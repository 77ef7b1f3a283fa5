//! How much of the past can be read.

use std::time::Duration;

/// How far `since` trails `upper`: by the least of these.
#[derive(Clone, Copy, Debug)]
pub struct History {
    /// In epochs, at least 1.
    pub epochs: u64,
    /// In time since an epoch completed.
    pub age: Duration,
    /// In bytes of the epochs' changes, which are kept beside the state.
    pub bytes: usize,
}

impl Default for History {
    fn default() -> Self {
        History { epochs: 600, age: Duration::from_secs(60), bytes: 128 << 20 }
    }
}

impl History {
    /// Only the newest complete epoch can be read.
    pub fn newest_only() -> Self {
        History { epochs: 1, age: Duration::ZERO, bytes: 0 }
    }
}
