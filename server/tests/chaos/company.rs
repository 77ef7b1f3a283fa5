//! Several histories at once over one broker: each daemon is killed by itself, and all of them outlive that the broker is.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::sleep;

use super::{Chaos, Fault, Kafka};

/// How many histories run at once, from a seed on that is a multiple of it.
pub const HISTORIES: u64 = 5;

/// What a history knows of the others.
#[derive(Clone)]
pub struct Companion {
    /// Dropped when the history has begun.
    pub begun: Option<mpsc::Sender<()>>,
    pub broker: watch::Receiver<Away>,
}

/// How often the broker of all is killed from here on, and whether it is away now.
#[derive(Clone, Copy, Debug, Default)]
pub struct Away {
    pub kills_left: u32,
    pub is_away: bool,
}

impl Companion {
    /// Of a history that has none.
    pub fn nobody() -> Companion {
        Companion { begun: None, broker: watch::channel(Away::default()).1 }
    }

    /// Waits until this holds of the broker.
    pub async fn wait_until(&mut self, holds: impl FnMut(&Away) -> bool) {
        // Who told of it has gone where another history failed.
        let _ = self.broker.wait_for(holds).await;
    }
}

/// Runs the histories of these seeds until all of them are the model's.
pub async fn run(seeds: Range<u64>, kafka: &Arc<Kafka>) {
    let mut rng = SmallRng::seed_from_u64(seeds.start);
    let kills: u32 = rng.random_range(1..=2);
    let (tell, broker) = watch::channel(Away { kills_left: kills, is_away: false });
    let (begun, mut all_begun) = mpsc::channel(1);
    let mut histories = JoinSet::new();
    let mut seed_of = HashMap::new();
    for seed in seeds {
        println!("RECOUNT_SEED={seed}");
        let history = Chaos::new(seed, Arc::clone(kafka));
        let companion = Companion { begun: Some(begun.clone()), broker: broker.clone() };
        let running = histories.spawn(async move {
            let home = tempfile::tempdir().unwrap();
            history.run(&home.path().join("dir"), faults(seed), companion).await;
        });
        seed_of.insert(running.id(), seed);
    }
    drop(begun);
    assert!(all_begun.recv().await.is_none(), "nobody sends anything");
    for kills_left in (0..kills).rev() {
        sleep(Duration::from_millis(rng.random_range(50..1_500))).await;
        let (kafka, tell) = (Arc::clone(kafka), tell.clone());
        let restarted = spawn_blocking(move || {
            let broker = kafka.only();
            broker.kill();
            tell.send_replace(Away { kills_left, is_away: true });
            broker.restart();
            tell.send_replace(Away { kills_left, is_away: false });
        });
        restarted.await.unwrap();
    }
    while let Some(ended) = histories.join_next_with_id().await {
        if let Err(failure) = ended {
            panic!("RECOUNT_SEED={} failed: {failure}", seed_of[&failure.id()]);
        }
    }
}

/// What happens to the daemon of a history.
fn faults(seed: u64) -> &'static [Fault] {
    match seed % 3 {
        0 => &[Fault::Daemon, Fault::Daemon, Fault::Daemon],
        1 => &[Fault::Both, Fault::Daemon],
        _ => &[Fault::Daemon, Fault::Both],
    }
}
