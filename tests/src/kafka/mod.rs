//! A real Kafka for tests: its jars, brokers alone and in a cluster, and what tests do with topics.
//!
//! Nothing here uses the product's own Kafka room, so that neither can hide a fault of the other.

mod archive;
mod broker;
mod certificates;
mod cluster;
mod jars;
mod rights;
mod settings;
mod topics;
mod wire;

pub use broker::Broker;
pub use certificates::Certificates;
pub use cluster::Cluster;
pub use rights::{Operation, Resource, Right};
pub use settings::BrokerSettings;
pub use topics::{Record, Topics};
