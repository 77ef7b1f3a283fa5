//! The second opinion: Recount as one would write it with stock differential operators, for logs in which nothing is frozen.
//!
//! ```text
//! copies ──reduce by id──▶ clicks ──┬─semijoin──▶ invalid ──┐
//!    │                              └─antijoin──▶ valid ────┼──▶ (ad, minute): metrics
//!    │            verdicts ─join, reduce─▶ rejected         │
//!    └──────────────────────────── count ───────────────────┘
//! ```

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use differential_dataflow::VecCollection;
use differential_dataflow::input::Input;
use recount_dataflow::domain::fingerprint::content_order;
use recount_dataflow::domain::rules::Rules;

use crate::model::Eight;

/// A copy: id, event time, price, place in the order of contents, ad, user.
pub type Copy = (String, i64, i64, u64, String, String);
/// A verdict: id, when it was decided, whether it says `INVALID`.
pub type Verdict = (String, i64, bool);
/// A minute row's key: ad, start in ms.
pub type Minute = (String, i64);

type Copies<'scope> = VecCollection<'scope, u64, Copy>;
type Verdicts<'scope> = VecCollection<'scope, u64, Verdict>;
type Measures<'scope> = VecCollection<'scope, u64, (Minute, String), isize>;
type Totals = Arc<Mutex<BTreeMap<(Minute, String), i64>>>;

/// A copy, with its place in the order of contents.
pub fn copy(click_id: &str, ad_id: &str, user_id: &str, event_ms: i64, price_micros: i64) -> Copy {
    let order = content_order(ad_id, user_id, price_micros);
    (click_id.to_owned(), event_ms, price_micros, order, ad_id.to_owned(), user_id.to_owned())
}

/// The metrics of every minute row of a log that is given in epochs, after the last one.
pub fn minutes(workers: usize, rules: Rules, epochs: Vec<(Vec<Copy>, Vec<Verdict>)>) -> BTreeMap<Minute, Eight> {
    let totals = Totals::default();
    let sink = Arc::clone(&totals);
    let guards = timely::execute(timely::Config::process(workers), move |worker| {
        let (index, peers) = (worker.index(), worker.peers());
        let sink = Arc::clone(&sink);
        let (mut copies, mut verdicts) = worker.dataflow(|scope| {
            let (copies_in, copies) = scope.new_collection();
            let (verdicts_in, verdicts) = scope.new_collection();
            graph(copies, verdicts, rules).inspect(move |((minute, measure), _epoch, change)| {
                *sink.lock().unwrap().entry((minute.clone(), measure.clone())).or_default() += *change as i64;
            });
            (copies_in, verdicts_in)
        });
        for (epoch, (new_copies, new_verdicts)) in (1..).zip(&epochs) {
            copies.advance_to(epoch);
            verdicts.advance_to(epoch);
            new_copies.iter().skip(index).step_by(peers).for_each(|copy| copies.insert(copy.clone()));
            new_verdicts.iter().skip(index).step_by(peers).for_each(|verdict| verdicts.insert(verdict.clone()));
        }
    });
    guards.expect("the workers start").join().into_iter().for_each(|worker| worker.expect("no worker panics"));
    collect(&totals)
}

fn graph<'scope>(copies: Copies<'scope>, verdicts: Verdicts<'scope>, rules: Rules) -> Measures<'scope> {
    let by_id = copies.clone().map(|copy| (copy.0.clone(), copy));
    let clicks = by_id
        .reduce(move |_id, copies, clicks| {
            let mut previous_ms = None;
            for (copy, _) in copies {
                if previous_ms.is_none_or(|previous_ms| copy.1 - previous_ms > rules.dedup_horizon_ms) {
                    clicks.push(((*copy).clone(), 1));
                }
                previous_ms = Some(copy.1);
            }
        })
        .map(|(_id, click)| click);
    let judged = clicks.clone().map(|click| (click.0.clone(), click));
    let rejected = judged
        .join(verdicts.map(|(id, decided_ms, invalid)| (id, (decided_ms, invalid))))
        .map(|(_id, (click, verdict))| (click, verdict))
        .filter(move |(click, (decided_ms, _))| *decided_ms >= click.1 - rules.max_future_skew_ms)
        .reduce(|_click, verdicts, standing| standing.extend(verdicts.last().map(|(verdict, _)| (verdict.1, 1))))
        .filter(|(_click, invalid)| *invalid)
        .map(|(click, _)| click);
    let valid = clicks.clone().map(|click| (click, ())).antijoin(rejected.clone()).map(|(click, ())| click);
    let users = valid.clone().filter(|click| !click.5.is_empty()).map(|click| (minute(&click), click.5)).distinct();
    measure(copies, "received")
        .concat(measure(clicks, "gross_clicks"))
        .concat(measure(rejected.clone(), "invalid_clicks"))
        .concat(measure(valid.clone(), "clicks"))
        .concat(spend(rejected, "invalid_spend_micros"))
        .concat(spend(valid, "spend_micros"))
        .concat(users.map(|(minute, _user)| (minute, "unique_users".to_owned())))
        .consolidate()
}

fn minute(copy: &Copy) -> Minute {
    (copy.4.clone(), copy.1 - copy.1.rem_euclid(60_000))
}

fn measure<'scope>(copies: Copies<'scope>, name: &'static str) -> Measures<'scope> {
    let counts = copies.map(move |copy| minute(&copy)).count();
    counts.explode(move |(minute, count)| Some(((minute, name.to_owned()), count)))
}

fn spend<'scope>(clicks: Copies<'scope>, name: &'static str) -> Measures<'scope> {
    clicks.explode(move |click| Some(((minute(&click), name.to_owned()), click.2 as isize)))
}

fn collect(totals: &Totals) -> BTreeMap<Minute, Eight> {
    let mut rows: BTreeMap<Minute, Eight> = BTreeMap::new();
    for ((minute, measure), &total) in totals.lock().unwrap().iter().filter(|(_, total)| **total != 0) {
        let row = rows.entry(minute.clone()).or_default();
        match measure.as_str() {
            "received" => row.received = total,
            "gross_clicks" => row.gross_clicks = total,
            "invalid_clicks" => row.invalid_clicks = total,
            "clicks" => row.clicks = total,
            "unique_users" => row.unique_users = total,
            "spend_micros" => row.spend_micros = total,
            "invalid_spend_micros" => row.invalid_spend_micros = total,
            unknown => unreachable!("{unknown} is no measure"),
        }
    }
    rows.values_mut().for_each(|row| row.duplicates = row.received - row.gross_clicks);
    rows
}
