//! The engine's model, end to end: random histories through real brokers and the real daemon, both killed at random. What is read over
//! gRPC and what is read from both topics is what the model says of the same records in the same epochs, each once.

#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used)]

mod chaos;
mod published;
mod support;

use std::sync::Arc;

use chaos::{Chaos, Fault, Kafka};
use recount_tests::kafka::{Broker, Cluster};

/// The seeds of the rounds: some, or as many as `RECOUNT_KAFKA_ROUNDS` says, or the one that `RECOUNT_SEED` says.
fn seeds() -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().map(|number| number.parse::<u64>().unwrap());
    match number("RECOUNT_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("RECOUNT_KAFKA_ROUNDS").unwrap_or(2),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_the_models_however_often_both_are_killed() {
    let kafka = Arc::new(Kafka::One(Broker::start()));
    for seed in seeds() {
        println!("RECOUNT_SEED={seed}");
        let faults: &[Fault] = match seed % 3 {
            0 => &[Fault::Daemon, Fault::Daemon, Fault::Daemon],
            1 => &[Fault::Daemon, Fault::Broker],
            _ => &[Fault::Both, Fault::Daemon],
        };
        let home = tempfile::tempdir().unwrap();
        Chaos::new(seed, Arc::clone(&kafka)).run(&home.path().join("dir"), faults).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_move_and_one_of_three_brokers_is_killed() {
    let kafka = Arc::new(Kafka::Three(Cluster::start()));
    let faults = [Fault::Leaders, Fault::Daemon, Fault::Leaders, Fault::Broker, Fault::Leaders];
    let home = tempfile::tempdir().unwrap();
    Chaos::new(100, kafka).run(&home.path().join("dir"), &faults).await;
}
