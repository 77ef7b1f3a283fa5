//! What holds the feed back where the state takes more memory than it should.

use std::sync::Arc;
use std::time::{Duration, Instant};

use recount_dataflow::checkpoint::MemoryBudget;

/// Time between two lines about it.
const SAID_EVERY: Duration = Duration::from_secs(10);

/// The feed's side of the budget.
pub(crate) struct Brake {
    budget: Arc<MemoryBudget>,
    said: Option<Instant>,
}

impl Brake {
    /// What keeps a feed to a budget.
    pub(crate) fn new(budget: Arc<MemoryBudget>) -> Self {
        Brake { budget, said: None }
    }

    /// Whether to close the open epoch, let the engine complete it, and [`hold`](Brake::hold).
    pub(crate) fn is_due(&self) -> bool {
        self.budget.is_due()
    }

    /// Waits while too much is in memory, until the next checkpoint at the latest.
    pub(crate) fn hold(&mut self, is_stopped: impl Fn() -> bool) {
        if self.budget.hold(is_stopped) && self.said.is_none_or(|said| said.elapsed() >= SAID_EVERY) {
            self.said = Some(Instant::now());
            let (taken, budget_bytes, held) = (self.budget.taken(), self.budget.bytes(), self.budget.held());
            tracing::warn!(
                ?taken,
                budget_bytes,
                ?held,
                "records come in faster than checkpoints can give memory back, so they wait; what was acknowledged is safe, and \
                 reads go on; a larger store.memory_budget or a faster disk helps"
            );
        }
    }
}
