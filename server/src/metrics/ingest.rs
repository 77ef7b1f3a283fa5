//! What ingest counts: a few numbers a request, and none an event; and the log's own numbers, read when somebody asks.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::write::Writer;
use crate::api::ingest::Ingest;

/// Upper bounds of the buckets of an acknowledgement's wait, in seconds.
const ACK_BUCKETS: [f64; 12] = [0.001, 0.002, 0.004, 0.008, 0.015, 0.03, 0.06, 0.12, 0.25, 0.5, 1.0, 5.0];

/// Counted where events are taken in.
pub(crate) struct IngestMetrics {
    events: Counter,
    refused: Family<[(&'static str, String); 1], Counter>,
    ack: Histogram,
}

impl Default for IngestMetrics {
    fn default() -> Self {
        IngestMetrics { events: Counter::default(), refused: Family::default(), ack: Histogram::new(ACK_BUCKETS) }
    }
}

impl IngestMetrics {
    /// A request was acknowledged.
    pub(crate) fn acknowledged(&self, events: u64, waited: Duration) {
        self.events.inc_by(events);
        self.ack.observe(waited.as_secs_f64());
    }

    /// An event was refused, for one of the stable reasons.
    pub(crate) fn refused(&self, reason: &str) {
        self.refused.get_or_create(&[("reason", reason.to_owned())]).inc();
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("ingested_events", "Events that were acknowledged", self.events.clone());
        registry.register(
            "refused_events",
            "Events that were refused, by the rule that they break",
            self.refused.clone(),
        );
        let help = "From handing a request's events to the log to its acknowledgement";
        registry.register_with_unit("acknowledgement", help, Unit::Seconds, self.ack.clone());
    }
}

/// Reads the log when it is asked.
#[derive(Debug)]
pub(super) struct IngestCollector {
    pub(super) ingest: Arc<Ingest>,
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
