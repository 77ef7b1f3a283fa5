//! The publisher against a real broker that stops answering in the middle of a commit.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use recount_connectors::kafka::sink::{Batch, Cleanup, Delivery, Identity, Publisher, PublisherSettings, TopicPlan};
use recount_connectors::kafka::{Client, ClientSettings};
use recount_tests::kafka::{Broker, BrokerSettings, Topics};

/// How long a commit waits for its end.
const OUTCOME_WAIT: Duration = Duration::from_millis(300);
/// How often the broker is halted at most until it was in a commit.
const HALTS_MAX: u32 = 60;

fn settings(broker: &Broker) -> PublisherSettings {
    let client = ClientSettings::new(broker.servers()).with("reconnect.backoff.max.ms", "200");
    let topic = TopicPlan {
        name: "counts".into(),
        partitions: Some(1),
        replication: None,
        cleanup: Cleanup::Delete(None),
        message_bytes_max: None,
    };
    PublisherSettings {
        client: Client::new(&client).unwrap(),
        identity: Identity { store: 1, sink: "counts", generation: 0, writer: 1 },
        topics: vec![topic],
        progress_topic: "progress".into(),
        delivery: Delivery::ExactlyOnce,
        transaction_timeout: Duration::from_secs(60),
        outcome_wait: OUTCOME_WAIT,
        guard: Arc::new(|| Ok(())),
    }
}

/// A commit that is not answered may have happened or not. What Kafka holds is read back, and every epoch is there once and in order.
#[test]
fn a_commit_whose_outcome_is_not_known_is_read_back() {
    const UNKNOWN: u64 = 3;
    // A broker that misses its heartbeats gives up all that it leads: here it is only slow.
    let broker = Broker::start_with(BrokerSettings::default().with("broker.session.timeout.ms", "60000"));
    let mut publisher = Publisher::open(settings(&broker), Arc::new(|| false)).unwrap();
    assert_eq!(publisher.claim(0).unwrap(), None);
    let outcomes = publisher.outcomes();
    let unknown = || outcomes.unknown.load(Ordering::Relaxed);
    let mut rng = SmallRng::seed_from_u64(1);
    let (mut halts, mut epoch) = (0, 0);
    while unknown() < UNKNOWN {
        halts += 1;
        assert!(halts <= HALTS_MAX, "{halts} halts, and only {} were in a commit", unknown());
        let (before, pause) = (unknown(), Duration::from_micros(rng.random_range(0..20_000)));
        let is_back = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                // Any moment will do; of the next that something is sent in, most are in a commit.
                thread::sleep(pause);
                broker.pause();
                let until = Instant::now() + 4 * OUTCOME_WAIT;
                while unknown() == before && Instant::now() < until {
                    thread::sleep(Duration::from_millis(10));
                }
                broker.resume();
                is_back.store(true, Ordering::Relaxed);
            });
            while !is_back.load(Ordering::Relaxed) {
                epoch += 1;
                let mut batch = Batch::default();
                batch.begin(1_700_000_000_000, Vec::new());
                batch.push(b"key", Some(epoch.to_string().as_bytes()));
                publisher.publish(&batch, Some(epoch)).unwrap();
            }
        });
    }
    println!("{halts} halts, {epoch} epochs, {outcomes:?}");
    drop(publisher);
    let published: Vec<_> = Topics::of(broker.servers()).consume("counts").into_iter().map(|m| m.value).collect();
    let expected: Vec<_> = (1..=epoch).map(|epoch: u64| Some(epoch.to_string().into_bytes())).collect();
    assert_eq!(published, expected);
    let mut next = Publisher::open(settings(&broker), Arc::new(|| false)).unwrap();
    assert_eq!(next.claim(epoch).unwrap(), Some(epoch), "the progress is that of the last epoch");
}
