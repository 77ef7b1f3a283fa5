//! The log's numbers, read when somebody asks.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::write::Writer;
use crate::api::ingest::Ingest;

/// Reads the log when it is asked.
pub(super) struct IngestCollector {
    pub(super) ingest: Arc<Ingest>,
}

impl fmt::Debug for IngestCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IngestCollector").finish_non_exhaustive()
    }
}

impl Collector for IngestCollector {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let stats = self.ingest.log().stats();
        let mut writer = Writer::new(encoder);
        writer.counter("log_appends", "Appends that are durable", stats.appends)?;
        writer.counter("log_records", "Records in them", stats.records)?;
        writer.counter("log_appended_bytes", "Bytes written for them", stats.bytes)?;
        let refused = [([("cause", "busy")], stats.refused_busy), ([("cause", "disk_full")], stats.refused_full)];
        writer.counters("log_refused_appends", "Appends that the log refused", refused)?;
        writer.gauge("log_queue_appends", "Appends that wait for the disk", stats.queue_appends)?;
        writer.gauge("log_queue_bytes", "Bytes that wait for the disk", stats.queue_bytes)?;
        writer.gauge("log_bytes", "Bytes that the log holds", stats.partition_bytes.iter().sum())?;
        writer.gauge("log_segments", "Files that the log is in", stats.segments)?;
        writer.syncs("log_sync", "Syncs of the log", &stats.syncs)
    }
}
