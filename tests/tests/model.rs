//! The model itself, held against what a person works out by hand.

#![allow(clippy::unwrap_used)]

use recount_tests::history::{History, Plan};
use recount_tests::model::Model;

/// The order inside an epoch, and the streams, decide no number.
#[test]
fn the_model_reads_sets() {
    for seed in 0..60 {
        let history = History::from_seed(seed);
        let plan = Plan { cut: history.plan.cut, ..Plan::plain(1) };
        let plain = History { plan: Plan { shuffle: None, ..plan.clone() }, ..history.clone() };
        if let recount_tests::history::Cut::Every(_) = plan.cut {
            continue;
        }
        let shuffled = History { plan: Plan { shuffle: Some(seed), ..plan }, ..history };
        let one = Model::new(plain.rules, &plain.deliver());
        let other = Model::new(shuffled.rules, &shuffled.deliver());
        for epoch in 0..=one.last_epoch() {
            assert_eq!(one.state(epoch).rows, other.state(epoch).rows, "seed {seed} epoch {epoch}");
            assert_eq!(one.state(epoch).corrections, other.state(epoch).corrections, "seed {seed} epoch {epoch}");
            assert_eq!(one.state(epoch).totals, other.state(epoch).totals, "seed {seed} epoch {epoch}");
        }
    }
}
