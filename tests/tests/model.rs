//! The model by itself, and whether the histories meet what they are made for.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use recount_dataflow::domain::window::WindowState;
use recount_tests::history::{Cut, History, Plan};
use recount_tests::model::Model;

/// The order inside an epoch, and the streams, decide no number.
#[test]
fn the_model_reads_sets() {
    for seed in 0..60 {
        let history = History::from_seed(seed);
        let plain = History { plan: Plan::plain(1), ..history.clone() };
        let mut shuffled = plain.clone();
        shuffled.plan.shuffle = Some(seed);
        shuffled.plan.streams = 2;
        let one = Model::new(plain.rules, &plain.deliver());
        let other = Model::new(shuffled.rules, &shuffled.deliver());
        for epoch in 0..=one.last_epoch() {
            assert_eq!(one.state(epoch).rows, other.state(epoch).rows, "seed {seed} epoch {epoch}");
            assert_eq!(one.state(epoch).corrections, other.state(epoch).corrections, "seed {seed} epoch {epoch}");
            assert_eq!(one.state(epoch).totals, other.state(epoch).totals, "seed {seed} epoch {epoch}");
        }
    }
}

/// Without freezing, the final metrics do not depend on how a log is cut.
#[test]
fn the_cut_decides_no_final_metric() {
    for seed in 0..60 {
        let mut history = History::without_freezing(seed);
        let last_rows = |history: &History| {
            let model = Model::new(history.rules, &history.deliver());
            let rows = model.state(model.last_epoch()).rows.clone();
            rows.into_iter().map(|(key, row)| (key, row.metrics)).collect::<Vec<_>>()
        };
        history.plan.cut = Cut::Every(usize::MAX);
        let whole = last_rows(&history);
        history.plan.cut = Cut::Every(3);
        assert_eq!(last_rows(&history), whole, "seed {seed}");
    }
}

/// Of the histories of a test run, enough meet each of the things that could go wrong.
#[test]
fn histories_meet_what_they_are_made_for() {
    let mut met: BTreeMap<String, u32> = BTreeMap::new();
    for seed in 0..400 {
        let history = History::from_seed(seed);
        let model = Model::new(history.rules, &history.deliver());
        let last = model.state(model.last_epoch());
        let mut things: Vec<String> = Vec::new();
        things.extend(last.totals.parked.keys().map(|reason| reason.as_str().to_owned()));
        things.extend(last.totals.quarantined.keys().map(|reason| reason.as_str().to_owned()));
        for epoch in 1..=model.last_epoch() {
            let corrections = &model.state(epoch).corrections;
            things.extend(corrections.iter().map(|correction| correction.cause.as_str().to_owned()));
            things.extend(corrections.iter().filter(|one| one.after.revision > 2).map(|_| "revised thrice".to_owned()));
        }
        let mut meets = |met: bool, name: &str| things.extend(met.then(|| name.to_owned()));
        meets(last.totals.conflicting_copies > 0, "conflicting copies");
        meets(last.rows.keys().any(|key| last.marks.state_of(key) == WindowState::Final), "FINAL windows");
        meets(last.rows.values().any(|row| row.metrics.unique_users < row.metrics.clicks), "users met again");
        meets(!model.unmatched_verdicts(model.last_epoch()).surely.is_empty(), "unmatched verdicts");
        meets(model.last_epoch() == 1, "one epoch");
        meets(model.last_epoch() > 50, "many epochs");
        things.sort();
        things.dedup();
        for thing in things {
            *met.entry(thing).or_default() += 1;
        }
    }
    println!("{met:#?}");
    for thing in ["late", "verdict_late", "LATE", "DUPLICATE", "VERDICT", "REVERSAL", "MIXED", "conflicting copies"] {
        assert!(met.get(thing).is_some_and(|&histories| histories >= 60), "{thing}: {:?} of 400", met.get(thing));
    }
    for thing in
        ["FINAL windows", "users met again", "unmatched verdicts", "one epoch", "many epochs", "revised thrice"]
    {
        assert!(met.get(thing).is_some_and(|&histories| histories >= 30), "{thing}: {:?} of 400", met.get(thing));
    }
    let reasons = met.keys().filter(|name| name.contains('_') && !name.contains("late")).count();
    assert!(reasons >= 11, "only {reasons} reasons for quarantine were met");
}
