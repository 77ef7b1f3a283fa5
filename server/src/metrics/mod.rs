//! What the service counts and measures, as Prometheus takes it.
//!
//! Nothing here costs a record any time: the engine's numbers are read from its newest snapshot when somebody asks. Labels have
//! few values: a kind, a stable reason, a name of ours.

#[cfg(not(feature = "kafka"))]
mod absent;
mod engine;
mod ingest;
#[cfg(feature = "kafka")]
mod kafka;
mod store;
mod write;

use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

#[cfg(not(feature = "kafka"))]
pub(crate) use self::absent::KafkaCollector;
use self::engine::EngineCollector;
use self::ingest::IngestCollector;
#[cfg(feature = "kafka")]
pub(crate) use self::kafka::KafkaCollector;
pub(crate) use self::store::StoreCollector;
#[cfg(feature = "kafka")]
pub(crate) use self::write::Writer;
use crate::api::Shared;
use crate::api::ingest::Door;

/// Everything that is measured.
pub(crate) struct Metrics {
    registry: Registry,
}

impl Metrics {
    /// Over the service's own state.
    pub(crate) fn new(shared: Arc<Shared>, door: &Door) -> Metrics {
        let mut registry = Registry::with_prefix("recount");
        registry.register_collector(Box::new(EngineCollector { shared }));
        if let Door::Open(ingest) = door {
            ingest.metrics.register(&mut registry);
            registry.register_collector(Box::new(IngestCollector { ingest: ingest.clone() }));
        }
        Metrics { registry }
    }

    /// Adds what somebody else tells of itself.
    pub(crate) fn with(mut self, collector: impl Collector) -> Metrics {
        self.registry.register_collector(Box::new(collector));
        self
    }

    /// All metrics in the OpenMetrics text format.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a string takes all that is written");
        text
    }
}
