//! What ingest counts: a few numbers a request, and none an event.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

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

    /// Lets a registry read them.
    pub(crate) fn register(&self, registry: &mut Registry) {
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
