//! Three brokers, for what happens when one of them is lost.

use std::thread;

use super::archive;
use super::broker::{Broker, free_ports};
use super::settings::{BrokerSettings, Place, Ports};

/// Three brokers of one cluster, each also a controller. Topics have three replicas, of which two must be in sync.
pub struct Cluster {
    brokers: Vec<Broker>,
}

impl Cluster {
    /// Starts all three.
    pub fn start() -> Self {
        Cluster::start_with(&BrokerSettings::default())
    }

    /// Starts all three with these settings.
    pub fn start_with(settings: &BrokerSettings) -> Self {
        archive::make_once();
        let nodes: Vec<Ports> = (0..3).map(|_| free_ports()).collect();
        let formatted: Vec<Broker> = thread::scope(|scope| {
            let node = |node| Broker::format(settings.clone(), &Place { node, nodes: &nodes });
            let threads: Vec<_> = (1..=nodes.len()).map(|number| scope.spawn(move || node(number))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        // One of them alone has no quorum, so none answers before a second runs.
        formatted.iter().for_each(Broker::run);
        formatted.iter().for_each(Broker::wait_until_ready);
        Cluster { brokers: formatted }
    }

    /// The broker with this id; ids are 1, 2 and 3.
    pub fn broker(&self, id: i32) -> &Broker {
        &self.brokers[usize::try_from(id).unwrap() - 1]
    }

    /// All brokers, for a client to begin with.
    pub fn servers(&self) -> String {
        self.brokers.iter().map(Broker::servers).collect::<Vec<_>>().join(",")
    }
}
