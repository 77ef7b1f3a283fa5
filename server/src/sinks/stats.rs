//! What is told of the sinks.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Unit;
use recount_connectors::kafka::sink::Outcomes;
use recount_dataflow::read::Reader;

use crate::metrics::Writer;

/// Upper bounds of the buckets of a transaction's time, in seconds.
const BUCKETS: [f64; 10] = [0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// What is told of one sink.
pub(super) struct SinkStats {
    pub(super) name: &'static str,
    outcomes: Arc<Outcomes>,
    /// The newest epoch of which nothing is to be published any more.
    passed: AtomicU64,
    /// The newest epoch that Kafka's progress tells of.
    told: AtomicU64,
    messages: AtomicU64,
    bytes: AtomicU64,
    transactions: Histogram,
}

impl SinkStats {
    pub(super) fn new(name: &'static str, outcomes: Arc<Outcomes>, published: Option<u64>) -> Self {
        let published = published.unwrap_or(0);
        SinkStats {
            name,
            outcomes,
            passed: published.into(),
            told: published.into(),
            messages: 0.into(),
            bytes: 0.into(),
            transactions: Histogram::new(BUCKETS),
        }
    }

    pub(super) fn passed(&self, epoch: u64) {
        self.passed.store(epoch, Ordering::Relaxed);
    }

    pub(super) fn told(&self, epoch: u64) {
        self.told.store(epoch, Ordering::Relaxed);
    }

    /// How far the sink can go on from after a restart.
    pub(super) fn last_told(&self) -> u64 {
        self.told.load(Ordering::Relaxed)
    }

    pub(super) fn published(&self, messages: usize, bytes: usize, took: Duration) {
        self.messages.fetch_add(messages as u64, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.transactions.observe(took.as_secs_f64());
    }
}

/// Reads the numbers of all sinks when it is asked.
pub(crate) struct SinksCollector {
    pub(super) reader: Reader,
    pub(super) sinks: Vec<Arc<SinkStats>>,
}

impl fmt::Debug for SinksCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SinksCollector").finish_non_exhaustive()
    }
}

impl Collector for SinksCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "From a transaction's first message until it is known to be committed, retries and waiting included";
        let mut family =
            encoder.encode_descriptor("sink_transaction", help, Some(&Unit::Seconds), MetricType::Histogram)?;
        for sink in &self.sinks {
            sink.transactions.encode(family.encode_family(&[("sink", sink.name)])?)?;
        }
        let mut writer = Writer::new(encoder);
        let each = |of: fn(&SinkStats) -> u64| self.sinks.iter().map(move |sink| ([("sink", sink.name)], of(sink)));
        writer.counters("sink_messages", "Messages published", each(|sink| sink.messages.load(Ordering::Relaxed)))?;
        writer.counters(
            "sink_bytes",
            "Bytes of their keys and values",
            each(|sink| sink.bytes.load(Ordering::Relaxed)),
        )?;
        let outcomes = self.sinks.iter().flat_map(|sink| {
            let Outcomes { committed, aborted, unknown } = &*sink.outcomes;
            let outcomes = [("committed", committed), ("aborted", aborted), ("unknown", unknown)];
            outcomes
                .map(|(outcome, count)| ([("sink", sink.name), ("outcome", outcome)], count.load(Ordering::Relaxed)))
        });
        writer.counters("sink_transactions", "Transactions by outcome; aborted ones are sent again", outcomes)?;
        writer.gauges("sink_epoch", "The newest epoch published", each(|sink| sink.passed.load(Ordering::Relaxed)))?;
        let newest = self.reader.readable().upper - 1;
        let behind = self
            .sinks
            .iter()
            .map(|sink| ([("sink", sink.name)], newest.saturating_sub(sink.passed.load(Ordering::Relaxed))));
        writer.gauges("sink_epochs_behind", "Complete epochs that are not published", behind)
    }
}
