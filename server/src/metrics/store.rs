//! What is told of the data directory: its checkpoints and bindings.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use recount_connectors::disk::SyncTimes;
use recount_dataflow::checkpoint::MemoryBudget;

use super::write::{Label, Writer};
use crate::clock::wall_ms;
use crate::store::CheckpointStats;

/// No labels: one value.
const ALONE: [Label<'static>; 0] = [];

/// Reads the numbers when it is asked.
pub(crate) struct StoreCollector {
    pub(crate) checkpoints: Arc<CheckpointStats>,
    /// Checkpoints that could not be used at the start.
    pub(crate) damaged: usize,
    /// How long syncs of bindings took.
    pub(crate) binding_syncs: Box<dyn Fn() -> SyncTimes + Send + Sync>,
    /// The bound on the state's memory, where there is one.
    pub(crate) budget: Option<Arc<MemoryBudget>>,
}

impl fmt::Debug for StoreCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreCollector").field("damaged", &self.damaged).finish_non_exhaustive()
    }
}

impl Collector for StoreCollector {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut writer = Writer::new(encoder);
        let stats = &self.checkpoints;
        writer.counter("checkpoints", "Checkpoints written", stats.written.load(Ordering::Relaxed))?;
        let failed = stats.failed.load(Ordering::Relaxed);
        writer.counter("checkpoint_failures", "Checkpoints that could not be written, and are tried again", failed)?;
        let damaged = self.damaged as u64;
        writer.gauge("checkpoints_damaged", "Checkpoints that could not be used when the service started", damaged)?;
        let gone = stats.gone.load(Ordering::Relaxed);
        writer.counter("checkpoints_gone", "Checkpoints that were kept, and were deleted by somebody else", gone)?;
        writer.syncs("binding_sync", "Syncs of what is bound to epochs", &(self.binding_syncs)())?;
        if let Some(budget) = &self.budget {
            writer.gauge("memory_budget_bytes", "What the state may take of memory", budget.bytes())?;
            let help = "Time for which records waited because the state took more";
            writer.counter_seconds("feed_held", help, budget.held().as_secs_f64())?;
        }
        let Some(last) = stats.last() else { return Ok(()) };
        writer.gauge("checkpoint_epoch", "The epoch of the last checkpoint", last.epoch)?;
        let age = (wall_ms() - last.current_ms) as f64 / 1_000.0;
        writer.seconds("checkpoint_age", "Time since the last checkpoint held all that there was", [(ALONE, age)])?;
        let Some((bytes, took)) = last.written else { return Ok(()) };
        writer.gauge("checkpoint_bytes", "Bytes written for the last checkpoint", bytes)?;
        writer.seconds("checkpoint_duration", "How long the last checkpoint took", [(ALONE, took.as_secs_f64())])
    }
}
