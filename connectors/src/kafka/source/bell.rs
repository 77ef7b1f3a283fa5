//! Waking a thread that has nothing to do.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// One thread waits for it, and any may ring it. A ring while nobody waits is heard by the next who does.
#[derive(Default)]
pub(super) struct Bell {
    has_rung: Mutex<bool>,
    ring: Condvar,
}

impl Bell {
    /// Wakes the thread.
    pub(super) fn ring(&self) {
        // A flag is whole, whoever panicked.
        *self.has_rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.ring.notify_one();
    }

    /// Waits for a ring, at most this long.
    pub(super) fn wait(&self, longest: Duration) {
        let has_rung = self.has_rung.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.ring.wait_timeout_while(has_rung, longest, |has_rung| !*has_rung);
        *waited.unwrap_or_else(PoisonError::into_inner).0 = false;
    }
}
