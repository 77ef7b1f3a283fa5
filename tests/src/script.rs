//! Histories and expectations as a person writes them down.
//!
//! A script is epochs, `1: .. | 2: ..`, of these words:
//!
//! | words | meaning |
//! |---|---|
//! | `+c1@10:05` | a copy of click `c1` of ad `a`; more by commas: `+c1@10:05:30.250,ad=b,user=u,price=7` |
//! | `reject c1`, `accept c1` | a verdict, decided a millisecond after the latest time written so far; or `reject c1@10:06` |
//! | `broken` | an unreadable record |
//!
//! A time is of 2026-01-01, or so many days later: `2d10:05`. What is expected after an epoch is every minute row and every
//! total that is not 0: `10:05=1 b@10:05=2/1/4!verdict late=1`, where `2/1/4` is clicks, invalid clicks and duplicates (those
//! at the end left out where 0), and `!verdict` says that the epoch corrected the row, and why.

use std::fmt::Write as _;

use recount_dataflow::domain::event::Decision;
use recount_dataflow::domain::rules::{MINUTE_MS, Rules, SECOND_MS};
use recount_dataflow::domain::window::Granularity;

use crate::harness::{compare, hold_engine_against};
use crate::history::{ALL_EPOCHS, History, Plan};
use crate::model::{Eight, Model, RowKey, State};
use crate::record::{Body, Click, Record, Verdict};

const DAY_ZERO_MS: i64 = 1_767_225_600_000;
const DAY_MS: i64 = 86_400_000;

/// Checks what a script leads to, by the contract's own settings: in the model, and in the engine at several numbers of workers.
///
/// # Panics
/// Where it leads to something else.
pub fn check(script: &str, expected: &str) {
    check_with(Rules::default(), script, expected);
}

/// The same by other settings.
///
/// # Panics
/// Where it leads to something else.
pub fn check_with(rules: Rules, script: &str, expected: &str) {
    let history = parse(rules, script);
    check_model(&history, expected);
    for (workers, history_epochs) in [(1, ALL_EPOCHS), (3, ALL_EPOCHS), (2, 1)] {
        let plan = Plan { history_epochs, ..Plan::plain(workers) };
        let history = History { plan, ..history.clone() };
        if let Err(difference) = hold_engine_against(&history, compare::everything) {
            panic!("{script}\nthe engine at {workers} workers: {difference}");
        }
    }
}

fn check_model(history: &History, expected: &str) {
    let model = Model::new(history.rules, &history.deliver());
    for part in expected.split('|') {
        let (epoch, expected) = part.split_once(':').expect("an epoch's number and a colon");
        let epoch: u64 = epoch.trim().parse().expect("an epoch's number");
        let expected: Vec<&str> = expected.split_whitespace().collect();
        let found = render(model.state(epoch));
        assert_eq!(found, expected.join(" "), "epoch {epoch} of\n{}", history.describe());
    }
}

/// The history that a script describes.
///
/// # Panics
/// Where the script is none.
pub fn parse(rules: Rules, script: &str) -> History {
    let mut records = Vec::new();
    let mut latest_ms = DAY_ZERO_MS;
    for part in script.split('|') {
        let (label, words) = part.split_once(':').expect("an epoch's number and a colon");
        let label = label.trim().parse().expect("an epoch's number");
        let mut words = words.split_whitespace();
        while let Some(word) = words.next() {
            let body = match word {
                "broken" => Body::Unreadable,
                "reject" => verdict(words.next().expect("a click's id"), Decision::Invalid, latest_ms + 1),
                "accept" => verdict(words.next().expect("a click's id"), Decision::Valid, latest_ms + 1),
                _ => click(word.strip_prefix('+').expect("a click starts with +")),
            };
            latest_ms = latest_ms.max(match &body {
                Body::Click(click) => click.event_ms,
                Body::Verdict(verdict) => verdict.decided_ms,
                Body::Unreadable => latest_ms,
            });
            records.push(Record { label, stream: 0, arrival_ms: None, body });
        }
    }
    History { seed: 0, rules, minute_horizons: false, plan: Plan::plain(1), records }
}

fn verdict(word: &str, decision: Decision, default_ms: i64) -> Body {
    let (click_id, decided_ms) = match word.split_once('@') {
        Some((click_id, time)) => (click_id, parse_time(time)),
        None => (word, default_ms),
    };
    Body::Verdict(Verdict { click_id: click_id.into(), decision: Some(decision), decided_ms, reason: "".into() })
}

fn click(word: &str) -> Body {
    let mut parts = word.split(',');
    let (click_id, time) = parts.next().and_then(|part| part.split_once('@')).expect("an id, @, and a time");
    let mut click = Click {
        click_id: click_id.into(),
        ad_id: "a".into(),
        user_id: "".into(),
        event_ms: parse_time(time),
        price_micros: 0,
        received_at_ms: 0,
        user_agent_bytes: 0,
    };
    for part in parts {
        match part.split_once('=').expect("a name, =, and a value") {
            ("ad", ad_id) => click.ad_id = ad_id.into(),
            ("user", user_id) => click.user_id = user_id.into(),
            ("price", price) => click.price_micros = price.parse().expect("a number"),
            (name, _) => panic!("{name} is no field of a script's click"),
        }
    }
    Body::Click(click)
}

/// A script's time in ms since 1970.
///
/// # Panics
/// Where it is none.
pub fn parse_time(time: &str) -> i64 {
    let (days, clock) = time.split_once('d').unwrap_or(("0", time));
    let mut fields = clock.split(':');
    let mut field = || fields.next().unwrap_or("0");
    let (hours, minutes) = (field().parse::<i64>().expect("hours"), field().parse::<i64>().expect("minutes"));
    let seconds: f64 = field().parse().expect("seconds");
    let days: i64 = days.parse().expect("days");
    DAY_ZERO_MS + days * DAY_MS + (hours * 60 + minutes) * MINUTE_MS + (seconds * SECOND_MS as f64).round() as i64
}

fn render(state: &State) -> String {
    let mut text = String::new();
    for (key, row) in state.rows.iter().filter(|(key, _)| key.granularity == Granularity::Minute) {
        let ad = if &*key.ad_id == "a" { String::new() } else { format!("{}@", key.ad_id) };
        write!(text, "{ad}{}={}{} ", render_time(key.start_ms), render_row(&row.metrics), render_cause(state, key))
            .unwrap();
    }
    for (reason, count) in state.totals.quarantined.iter().chain(&state.totals.parked) {
        write!(text, "{}={count} ", reason.as_str()).unwrap();
    }
    if state.totals.conflicting_copies > 0 {
        write!(text, "conflicting={}", state.totals.conflicting_copies).unwrap();
    }
    text.trim_end().to_owned()
}

fn render_row(metrics: &Eight) -> String {
    let Eight { clicks, invalid_clicks, duplicates, .. } = *metrics;
    match (invalid_clicks, duplicates) {
        (0, 0) => format!("{clicks}"),
        (_, 0) => format!("{clicks}/{invalid_clicks}"),
        _ => format!("{clicks}/{invalid_clicks}/{duplicates}"),
    }
}

fn render_cause(state: &State, key: &RowKey) -> String {
    let correction = state.corrections.iter().find(|correction| correction.key == *key);
    correction.map_or(String::new(), |correction| format!("!{}", correction.cause.as_str().to_lowercase()))
}

fn render_time(start_ms: i64) -> String {
    let minutes = (start_ms - DAY_ZERO_MS) / MINUTE_MS;
    let (days, minutes) = (minutes / 1_440, minutes % 1_440);
    let clock = format!("{:02}:{:02}", minutes / 60, minutes % 60);
    if days == 0 { clock } else { format!("{days}d{clock}") }
}
