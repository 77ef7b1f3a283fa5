//! The engine's model, end to end: random histories through real brokers and the real daemon, both killed at random. What is read over
//! gRPC and what is read from both topics is what the model says of the same records in the same epochs, each once.

#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used)]

mod chaos;
mod published;
mod support;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use chaos::company::{self, Companion, HISTORIES};
use chaos::{Chaos, Fault, Kafka};
use recount_tests::kafka::{Broker, Cluster};

/// How many companies one broker serves: with the topics of a hundred histories it takes half a minute to come back.
const COMPANIES_A_BROKER: usize = 8;

/// The first seeds of the companies: of some rounds, or of as many as `RECOUNT_KAFKA_ROUNDS` says, or of the one with the seed that
/// `RECOUNT_SEED` says.
fn companies() -> impl Iterator<Item = u64> {
    let number = |name| std::env::var(name).ok().map(|number| number.parse::<u64>().unwrap());
    let seeds = match number("RECOUNT_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("RECOUNT_KAFKA_ROUNDS").unwrap_or(20),
    };
    (seeds.start / HISTORIES..seeds.end.div_ceil(HISTORIES)).map(|company| company * HISTORIES)
}

#[test]
fn everything_is_the_models_however_often_both_are_killed() {
    // A daemon's start is waited for in place, by each of a company at the same time.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(8).enable_all().build().unwrap();
    let all = async {
        let companies: Vec<u64> = companies().collect();
        for some in companies.chunks(COMPANIES_A_BROKER) {
            let kafka = Arc::new(Kafka::One(Broker::start()));
            for first in some {
                company::run(*first..first + HISTORIES, &kafka).await;
            }
        }
    };
    let outcome = catch_unwind(AssertUnwindSafe(|| runtime.block_on(all)));
    // Where a history has failed, the others of its company would wait for their daemons and their broker.
    runtime.shutdown_timeout(Duration::from_secs(5));
    outcome.unwrap_or_else(|failure| resume_unwind(failure));
    chaos::check_lost(companies().count() as u64 * HISTORIES);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_move_and_one_of_three_brokers_is_killed() {
    let kafka = Arc::new(Kafka::Three(Cluster::start()));
    let faults = [Fault::Leaders, Fault::Daemon, Fault::Leaders, Fault::Broker, Fault::Leaders];
    let home = tempfile::tempdir().unwrap();
    Chaos::new(100, kafka).run(&home.path().join("dir"), &faults, Companion::nobody()).await;
}
