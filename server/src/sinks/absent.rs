//! A program that was built without Kafka publishes nothing, and says so where it is asked to.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use recount_connectors::data_dir::DataDir;
use recount_dataflow::read::Reader;
use thiserror::Error;

use super::SinksError;
use crate::config::{Config, ConfigError, KafkaSinks};
use crate::lineage::Lineage;

/// There are none.
#[derive(Clone, Debug)]
pub enum SinksSettings {}

/// There is none.
#[derive(Debug, Error)]
pub enum SinkError {}

/// There are none.
pub(crate) enum Looked {}

/// There are none.
pub(crate) enum Opened {}

/// There are none.
pub(crate) enum Sinks {}

/// There is none.
#[derive(Debug)]
pub(crate) enum SinksCollector {}

impl SinksSettings {
    pub(crate) fn new(_: &KafkaSinks, _: &Config) -> Result<Self, ConfigError> {
        Err(ConfigError::new(
            "[sink.kafka] is set, and this program was built without Kafka; build it with --features kafka",
        ))
    }

    pub(crate) fn epochs_behind_max(&self) -> u64 {
        match *self {}
    }
}

impl Looked {
    pub(crate) fn look(settings: &SinksSettings, _: &DataDir, _: u64, _: &Arc<AtomicBool>) -> Result<Self, SinkError> {
        match *settings {}
    }

    pub(crate) fn restore_up_to(&self) -> u64 {
        match *self {}
    }

    pub(crate) fn claim(self) -> Result<Opened, SinkError> {
        match self {}
    }
}

impl Opened {
    pub(crate) fn restore_up_to(&self) -> u64 {
        match *self {}
    }

    pub(crate) fn start(self, _: &Reader, _: Lineage) -> io::Result<Sinks> {
        match self {}
    }
}

impl Sinks {
    pub(crate) fn restore_up_to(&self) -> Box<dyn Fn() -> u64 + Send> {
        match *self {}
    }

    pub(crate) fn collector(&self) -> SinksCollector {
        match *self {}
    }

    pub(crate) async fn failed(&mut self) -> SinksError {
        match *self {}
    }

    pub(crate) fn stop(self, _: Duration) {
        match self {}
    }
}

impl Collector for SinksCollector {
    fn encode(&self, _: DescriptorEncoder<'_>) -> fmt::Result {
        match *self {}
    }
}
