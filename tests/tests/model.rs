//! The model by itself, and whether the histories meet what they are made for.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::iter;

use recount_dataflow::domain::fact::Position;
use recount_dataflow::domain::rules::Rules;
use recount_dataflow::domain::validate::validate;
use recount_dataflow::domain::window::WindowState;
use recount_tests::history::{Cut, History, Plan};
use recount_tests::model::{Delivered, Model};
use recount_tests::record::{Body, Click, Record};

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

/// Model and engine agree about which times of a click are too far ahead of which others.
#[test]
fn a_click_may_be_ahead_of_its_arrival_by_the_allowed_skew() {
    const NOON_MS: i64 = 1_767_268_800_000;
    let rules = Rules::default();
    let skew_ms = rules.max_future_skew_ms;
    let ahead_ms = [-skew_ms - 1, -skew_ms, -1, 0, 1, skew_ms, skew_ms + 1, 2 * skew_ms, 2 * skew_ms + 1];
    let times_ms = || iter::once(None).chain(ahead_ms.map(|ahead_ms| Some(NOON_MS + ahead_ms)));
    for (arrival_ms, received_at_ms) in
        times_ms().flat_map(|arrival| times_ms().map(move |received| (arrival, received)))
    {
        let click = Click {
            click_id: "c".into(),
            ad_id: "a".into(),
            user_id: "".into(),
            event_ms: NOON_MS,
            price_micros: 0,
            received_at_ms: received_at_ms.unwrap_or_default(),
            user_agent_bytes: 0,
        };
        let body = Body::Click(click);
        let engine = validate(&body.to_event().unwrap(), arrival_ms, &rules).err().map(|violation| violation.reason);
        let record = Record { label: 1, stream: 0, arrival_ms, body };
        let delivered = Delivered { record, position: Position { stream: 0, offset: 0 } };
        let model = Model::new(rules, &[vec![delivered]]);
        let model = model.state(1).set_aside.first().map(|set_aside| set_aside.reason);
        assert_eq!(engine, model, "arrival {arrival_ms:?}, received_at {received_at_ms:?}, timestamp {NOON_MS}");
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
