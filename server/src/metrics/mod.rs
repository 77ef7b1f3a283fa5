//! What the service counts and measures, as Prometheus takes it.
//!
//! Nothing here costs a record any time: the engine's numbers are read from its newest snapshot when somebody asks. Labels have
//! few values: a kind, a stable reason, a name of ours.

mod engine;
mod ingest;
#[cfg(feature = "kafka")]
mod kafka;
mod store;
mod write;

use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use self::engine::EngineCollector;
use self::ingest::IngestCollector;
pub(crate) use self::ingest::IngestMetrics;
pub(crate) use self::store::StoreCollector;
#[cfg(feature = "kafka")]
pub(crate) use self::write::Writer;
use crate::api::Shared;
use crate::api::ingest::{Door, Ingest};
use crate::sinks::SinksCollector;
use crate::store::KafkaWatch;

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

    /// Adds what a data directory tells of itself.
    pub(crate) fn with_store(mut self, store: StoreCollector) -> Metrics {
        self.registry.register_collector(Box::new(store));
        self
    }

    /// Adds what the sinks tell of themselves, where there are any.
    pub(crate) fn with_sinks(mut self, sinks: Option<SinksCollector>) -> Metrics {
        if let Some(sinks) = sinks {
            self.registry.register_collector(Box::new(sinks));
        }
        self
    }

    /// Adds what is told of Kafka as a source.
    #[cfg(feature = "kafka")]
    pub(crate) fn with_kafka(mut self, watch: &KafkaWatch) -> Metrics {
        self.registry.register_collector(Box::new(kafka::KafkaCollector { stats: watch.clone() }));
        self
    }

    /// There is nothing to add.
    #[cfg(not(feature = "kafka"))]
    pub(crate) fn with_kafka(self, _watch: &KafkaWatch) -> Metrics {
        self
    }

    /// All metrics in the OpenMetrics text format.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a string takes all that is written");
        text
    }
}

impl fmt::Debug for Ingest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ingest").finish_non_exhaustive()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("lineage", &self.lineage).finish_non_exhaustive()
    }
}
