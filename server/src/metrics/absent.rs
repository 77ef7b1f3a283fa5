//! A program that was built without Kafka has nothing to tell of it.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use crate::store::KafkaWatch;

/// There is nothing to read.
#[derive(Debug)]
pub(crate) struct KafkaCollector;

impl KafkaCollector {
    pub(crate) fn new(_: &KafkaWatch) -> Self {
        KafkaCollector
    }
}

impl Collector for KafkaCollector {
    fn encode(&self, _: DescriptorEncoder<'_>) -> fmt::Result {
        Ok(())
    }
}
