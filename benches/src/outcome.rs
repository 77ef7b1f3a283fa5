//! What one measured run says of itself, from the child process to the table.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::checksum::Checksums;
use crate::measure::percentile;

/// One run of the engine or of the baseline.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// From the first record pushed to the last epoch complete.
    pub(crate) seconds: f64,
    /// From an epoch's close to its completion.
    pub(crate) epoch_p50_ms: f64,
    /// The same for the slowest in a hundred.
    pub(crate) epoch_p99_ms: f64,
    /// Memory held at the end, without what was held at the beginning. It holds the input too where that was preloaded.
    pub(crate) retained_bytes: u64,
    /// What was counted.
    pub(crate) checksums: Checksums,
}

impl Outcome {
    /// Sums up a run.
    pub(crate) fn new(
        elapsed: Duration,
        mut latencies_ms: Vec<f64>,
        retained_bytes: u64,
        checksums: Checksums,
    ) -> Self {
        Outcome {
            seconds: elapsed.as_secs_f64(),
            epoch_p50_ms: percentile(&mut latencies_ms, 0.5),
            epoch_p99_ms: percentile(&mut latencies_ms, 0.99),
            retained_bytes,
            checksums,
        }
    }
}
