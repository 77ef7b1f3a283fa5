//! The idiomatic graph against the model and the engine, over histories in which nothing is ever frozen.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use recount_dataflow::domain::event::Decision;
use recount_dataflow::domain::window::Granularity;
use recount_tests::harness::{Case, hold_engine_against, soak};
use recount_tests::history::History;
use recount_tests::idiomatic::{Copy, Minute, Verdict, copy, minutes};
use recount_tests::model::{Delivered, Eight, Model};
use recount_tests::record::Body;

/// Histories, where the environment names no other number.
const HISTORIES: u64 = 60;

#[test]
fn three_ways_of_counting_agree() {
    let seeds = soak::seeds(soak::histories(HISTORIES), 0);
    soak::run(seeds, History::without_freezing, |history| {
        let epochs = history.deliver();
        let model = Model::new(history.rules, &epochs);
        let idiomatic = minutes(1 + history.seed as usize % 3, history.rules, sound_records(&model, &epochs));
        let modelled = modelled(&model);
        if idiomatic != modelled {
            return Err(format!("the idiomatic graph has {idiomatic:#?}\nthe model has {modelled:#?}"));
        }
        hold_engine_against(history, |case| engine_agrees(case, &idiomatic))
    });
}

/// What the idiomatic graph is given: it does not judge records by themselves.
fn sound_records(model: &Model, epochs: &[Vec<Delivered>]) -> Vec<(Vec<Copy>, Vec<Verdict>)> {
    let mut sound = Vec::new();
    for (epoch, records) in (1..).zip(epochs) {
        let state = model.state(epoch);
        assert_eq!(state.totals.parked_total(), 0, "nothing is late under a horizon without end");
        let (mut copies, mut verdicts) = (Vec::new(), Vec::new());
        for delivered in records {
            if state.set_aside.iter().any(|aside| aside.position == delivered.position) {
                continue;
            }
            match &delivered.record.body {
                Body::Click(one) => {
                    copies.push(copy(&one.click_id, &one.ad_id, &one.user_id, one.event_ms, one.price_micros));
                }
                Body::Verdict(one) => {
                    let invalid = one.decision == Some(Decision::Invalid);
                    verdicts.push((one.click_id.to_string(), one.decided_ms, invalid));
                }
                Body::Unreadable => unreachable!("an unreadable record is set aside"),
            }
        }
        sound.push((copies, verdicts));
    }
    sound
}

fn modelled(model: &Model) -> BTreeMap<Minute, Eight> {
    let rows = model.state(model.last_epoch()).rows.iter();
    rows.filter(|(key, _)| key.granularity == Granularity::Minute)
        .map(|(key, row)| ((key.ad_id.to_string(), key.start_ms), row.metrics))
        .collect()
}

fn engine_agrees(case: &mut Case<'_>, idiomatic: &BTreeMap<Minute, Eight>) -> Result<(), String> {
    if !case.history.plan.granularities().contains(&Granularity::Minute) {
        return Ok(());
    }
    let snapshot = case.fed.reader.snapshot(None).map_err(|error| error.to_string())?;
    let mut engine = BTreeMap::new();
    let read = snapshot.for_each_row(Granularity::Minute, |row| {
        engine.insert((row.ad_id.to_string(), row.window_start_ms), Eight::of(&row.metrics));
    });
    read.map_err(|error| error.to_string())?;
    if engine == *idiomatic {
        return Ok(());
    }
    Err(format!("the engine has {engine:#?}\nthe idiomatic graph has {idiomatic:#?}"))
}
