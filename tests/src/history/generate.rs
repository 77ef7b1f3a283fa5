//! Random records: a source whose clock moves on, with retries, disorder, verdicts and broken records.

use std::sync::Arc;

use rand::Rng;
use rand::SeedableRng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use recount_dataflow::domain::event::Decision;
use recount_dataflow::domain::rules::Rules;
use recount_dataflow::domain::window::Granularity;
use recount_dataflow::engine::KeptWindows;

use super::{ALL_EPOCHS, Cut, History, Plan};
use crate::record::{Body, Click, Record, Verdict};

const SECOND_MS: i64 = 1_000;
const MINUTE_MS: i64 = 60 * SECOND_MS;
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;
const FIRST_VALID_MS: i64 = 946_684_800_000;
const LAST_VALID_MS: i64 = 4_102_444_800_000 - 1;
const PRICE_MAX: i64 = 10_000_000_000;

/// What a history is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Holding the engine against the model.
    Any,
    /// Holding graphs that know no floor against the model.
    NothingFreezes,
    /// So many records that runs have many chunks, or so many epochs that they merge often.
    Large,
}

/// The history of a seed. Even seeds have horizons of minutes; where nothing freezes, all but that of corrections.
pub(super) fn history(seed: u64, kind: Kind) -> History {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let minute_horizons = seed.is_multiple_of(2);
    let mut rules = rules(&mut rng, minute_horizons);
    if kind == Kind::NothingFreezes {
        rules = Rules {
            correction_horizon_ms: 200 * 365 * DAY_MS,
            dedup_fallback: false,
            counts_retention_ms: None,
            ..rules
        };
    }
    let size = match rng.random_range(0..100) {
        _ if kind == Kind::Large => rng.random_range(2_000..60_000),
        0..20 => rng.random_range(1..20),
        20..70 => rng.random_range(20..80),
        70..95 => rng.random_range(80..160),
        _ => rng.random_range(160..300),
    };
    let mut source = Source::new(&mut rng, rules, minute_horizons, size);
    let mut records: Vec<Record> = (0..size).map(|_| source.record(&mut rng)).collect();
    let mut plan = plan(&mut rng, &mut records);
    if kind == Kind::Large {
        // The model recounts everything every epoch: the fewer records, the more epochs.
        plan.cut = Cut::Every(size.div_ceil(2_000_000 / size));
        plan.batch_records = 5_000;
    }
    History { seed, rules, minute_horizons, plan, records }
}

fn rules(rng: &mut ChaCha8Rng, minute_horizons: bool) -> Rules {
    let dedup_fallback = rng.random_bool(0.1);
    if !minute_horizons {
        let counts_retention_ms = [None, None, None, Some(7 * DAY_MS), Some(9 * DAY_MS)].choose(rng).copied().flatten();
        return Rules { dedup_fallback, counts_retention_ms, ..Rules::default() };
    }
    let correction_horizon_ms =
        [0, 90 * SECOND_MS, 2 * MINUTE_MS, 7 * MINUTE_MS].choose(rng).unwrap() + rng.random_range(0..2) * 500;
    let rows_ms = [None, None, None, Some(0), Some(MINUTE_MS), Some(20 * MINUTE_MS)].choose(rng).copied().flatten();
    Rules {
        allowed_lateness_ms: *[0, 5 * SECOND_MS, 30 * SECOND_MS, 59_999].choose(rng).unwrap(),
        correction_horizon_ms,
        dedup_horizon_ms: *[0, 30 * SECOND_MS, MINUTE_MS, 4 * MINUTE_MS, 20 * MINUTE_MS].choose(rng).unwrap(),
        max_future_skew_ms: *[0, 10 * SECOND_MS, 2 * MINUTE_MS].choose(rng).unwrap(),
        dedup_fallback,
        counts_retention_ms: rows_ms.map(|rows_ms| correction_horizon_ms + rows_ms),
    }
}

/// Labels the records, and chooses how they are delivered.
fn plan(rng: &mut ChaCha8Rng, records: &mut [Record]) -> Plan {
    let streams = rng.random_range(1..=2);
    let size = records.len();
    let cut = match rng.random_range(0..10) {
        0..2 => Cut::Every(rng.random_range(1..=size)),
        _ => Cut::Labels,
    };
    let often = *[0.0, 0.03, 0.1, 0.3, 1.0].choose(rng).unwrap();
    let mut label = 0;
    for record in records.iter_mut() {
        label += u64::from(rng.random_bool(often));
        record.label = label;
        record.stream = rng.random_range(0..streams);
    }
    let kept = match rng.random_range(0..8) {
        0 => KeptWindows::Only(*Granularity::ALL.choose(rng).unwrap()),
        _ => KeptWindows::All,
    };
    Plan {
        workers: *[1, 2, 3, 4, 8].choose(rng).unwrap(),
        streams,
        cut,
        batch_records: *[1, 2, 7, 50, usize::MAX].choose(rng).unwrap(),
        shuffle: rng.random_bool(0.7).then(|| rng.random()),
        kept,
        intake_per_stream: rng.random(),
        epochs_in_flight: rng.random_range(1..=4),
        history_epochs: *[ALL_EPOCHS, ALL_EPOCHS, 1, 2, 7].choose(rng).unwrap(),
    }
}

/// What makes records: a clock that moves on, and a memory of what was sent.
struct Source {
    rules: Rules,
    now_ms: i64,
    step_ms: i64,
    click_ids: Vec<Arc<str>>,
    ads: Vec<Arc<str>>,
    users: Vec<Arc<str>>,
    prices: Vec<i64>,
    sent: Vec<Click>,
    verdicts: Vec<Verdict>,
    broken_share: f64,
    extreme_share: f64,
}

impl Source {
    fn new(rng: &mut ChaCha8Rng, rules: Rules, minute_horizons: bool, size: usize) -> Source {
        let days = rng.random_range(0..3) * DAY_MS;
        // Some start shortly before midnight, and some at the first valid time.
        let start_ms = match rng.random_range(0..10) {
            0 => FIRST_VALID_MS,
            1..4 => 1_767_225_600_000 + days - 2 * MINUTE_MS,
            _ => 1_767_225_600_000 + days + rng.random_range(0..86_400) * SECOND_MS,
        };
        // The whole history spans about this much of event time.
        let span_ms = match minute_horizons {
            true => *[2 * MINUTE_MS, 10 * MINUTE_MS, 40 * MINUTE_MS].choose(rng).unwrap(),
            false => *[10 * MINUTE_MS, 180 * MINUTE_MS, 3 * DAY_MS, 20 * DAY_MS].choose(rng).unwrap(),
        };
        let names = |prefix: &str, count: usize| (0..count).map(|n| format!("{prefix}{n}").into()).collect();
        let mut ads: Vec<Arc<str>> = names("ad", rng.random_range(1..5 + size / 40));
        let mut click_ids: Vec<Arc<str>> = names("c", 1 + size / rng.random_range(1..8));
        let mut users: Vec<Arc<str>> = names("u", rng.random_range(1..6 + size / 40));
        users.push("".into());
        if rng.random_bool(0.2) {
            ads.push("a".repeat(128).into());
            ads.push("é".repeat(64).into());
            click_ids.push("c".repeat(128).into());
            users.push("\u{10ffff}".repeat(32).into());
        }
        Source {
            rules,
            now_ms: start_ms,
            step_ms: (2 * span_ms / size as i64).max(1),
            click_ids,
            ads,
            users,
            prices: vec![0, 1, 1_000, 999_999, PRICE_MAX],
            sent: Vec::new(),
            verdicts: Vec::new(),
            broken_share: *[0.0, 0.02, 0.1].choose(rng).unwrap(),
            extreme_share: *[0.0, 0.0, 0.0, 0.01].choose(rng).unwrap(),
        }
    }

    fn record(&mut self, rng: &mut ChaCha8Rng) -> Record {
        self.now_ms = valid(self.now_ms + rng.random_range(0..=self.step_ms));
        if rng.random_bool(0.5) {
            self.now_ms -= self.now_ms % SECOND_MS;
        }
        if rng.random_bool(self.broken_share) {
            return self.broken(rng);
        }
        let body = match rng.random_range(0..100) {
            0..35 => Body::Click(self.fresh_click(rng)),
            35..65 => Body::Click(self.copy(rng)),
            _ => Body::Verdict(self.verdict(rng)),
        };
        match &body {
            Body::Click(click) => self.sent.push(click.clone()),
            Body::Verdict(verdict) => self.verdicts.push(verdict.clone()),
            Body::Unreadable => {}
        }
        unlabelled(body)
    }

    fn fresh_click(&mut self, rng: &mut ChaCha8Rng) -> Click {
        let mut click = Click {
            click_id: self.click_ids.choose(rng).unwrap().clone(),
            ad_id: self.ads.choose(rng).unwrap().clone(),
            user_id: self.users.choose(rng).unwrap().clone(),
            event_ms: self.event_ms(rng),
            price_micros: *self.prices.choose(rng).unwrap(),
            received_at_ms: 0,
            user_agent_bytes: *[0, 0, 0, 20, 1024].choose(rng).unwrap(),
        };
        if self.rules.dedup_fallback && !click.user_id.is_empty() && rng.random_bool(0.5) {
            click.click_id = "".into();
        }
        if rng.random_bool(0.1) {
            click.received_at_ms = valid(click.event_ms - self.rules.max_future_skew_ms + rng.random_range(0..3));
            click.event_ms = click.event_ms.min(click.received_at_ms + self.rules.max_future_skew_ms);
        }
        click
    }

    /// A time that is about now, or late by what decides something.
    fn event_ms(&self, rng: &mut ChaCha8Rng) -> i64 {
        if rng.random_bool(self.extreme_share) {
            return *[FIRST_VALID_MS, LAST_VALID_MS].choose(rng).unwrap();
        }
        let rules = &self.rules;
        let back_ms = match rng.random_range(0..20) {
            0..9 => 0,
            9..13 => rng.random_range(0..=self.step_ms * 4),
            13 => rules.allowed_lateness_ms,
            14 => rules.allowed_lateness_ms + MINUTE_MS,
            15 => rules.allowed_lateness_ms + rules.correction_horizon_ms,
            16 => rng.random_range(0..=rules.allowed_lateness_ms + rules.correction_horizon_ms + MINUTE_MS),
            17 => rng.random_range(0..=2 * rules.correction_horizon_ms + rules.dedup_horizon_ms),
            18 => self.now_ms.rem_euclid(MINUTE_MS),
            _ => self.now_ms.rem_euclid(MINUTE_MS) + 1,
        };
        valid(self.now_ms - back_ms + *[0, 0, 0, 1, -1].choose(rng).unwrap())
    }

    /// Another copy of a click: the same again, moved in time, or differing in what it says.
    fn copy(&mut self, rng: &mut ChaCha8Rng) -> Click {
        let Some(original) = self.choose_sent(rng) else { return self.fresh_click(rng) };
        let mut click = Click { received_at_ms: 0, ..original };
        if rng.random_bool(0.4) {
            return click;
        }
        let horizon_ms = self.rules.dedup_horizon_ms;
        let moves_ms = [0, 1, -1, SECOND_MS, -SECOND_MS, MINUTE_MS, -MINUTE_MS, horizon_ms, horizon_ms + 1];
        let move_ms = match rng.random_range(0..4) {
            0 => 0,
            1 => *moves_ms.choose(rng).unwrap(),
            2 => -*[horizon_ms, horizon_ms + 1, horizon_ms / 2].choose(rng).unwrap(),
            _ => self.now_ms - click.event_ms,
        };
        click.event_ms = valid(click.event_ms + move_ms);
        if rng.random_bool(0.4) {
            match rng.random_range(0..3) {
                0 => click.ad_id = self.ads.choose(rng).unwrap().clone(),
                1 if !click.click_id.is_empty() => click.user_id = self.users.choose(rng).unwrap().clone(),
                _ => click.price_micros = *self.prices.choose(rng).unwrap(),
            }
        }
        click
    }

    /// Mostly something recent, sometimes something old.
    fn choose_sent(&self, rng: &mut ChaCha8Rng) -> Option<Click> {
        let recent = self.sent.len().saturating_sub(12);
        let from = if rng.random_bool(0.7) { recent } else { 0 };
        self.sent[from..].choose(rng).cloned()
    }

    fn verdict(&mut self, rng: &mut ChaCha8Rng) -> Verdict {
        let decision = if rng.random_bool(0.6) { Decision::Invalid } else { Decision::Valid };
        if let Some(earlier) = self.verdicts.choose(rng).filter(|_| rng.random_bool(0.3)).cloned() {
            return match rng.random_range(0..3) {
                0 => earlier,
                1 => Verdict { decision: Some(decision), ..earlier },
                _ => Verdict { decision: Some(decision), decided_ms: self.now_ms, ..earlier },
            };
        }
        let skew_ms = self.rules.max_future_skew_ms;
        let (click_id, decided_ms) = match self.choose_sent(rng) {
            Some(click) if rng.random_bool(0.8) => {
                let after_ms = *[0, 1, -skew_ms, -skew_ms - 1, SECOND_MS].choose(rng).unwrap();
                let decided_ms = if rng.random_bool(0.5) { self.now_ms } else { click.event_ms + after_ms };
                (click.click_id, decided_ms)
            }
            _ => (self.click_ids.choose(rng).unwrap().clone(), self.event_ms(rng)),
        };
        let click_id = if click_id.is_empty() { "ghost".into() } else { click_id };
        let reason = (*["", "givt:datacenter", "sivt:click_farm"].choose(rng).unwrap()).into();
        Verdict { click_id, decision: Some(decision), decided_ms: valid(decided_ms), reason }
    }

    /// A record that breaks one rule.
    fn broken(&mut self, rng: &mut ChaCha8Rng) -> Record {
        let skew_ms = self.rules.max_future_skew_ms;
        let mut click = self.fresh_click(rng);
        click.received_at_ms = 0;
        let verdict = self.verdict(rng);
        let too_long: Arc<str> = "x".repeat(129).into();
        let mut arrival_ms = None;
        let body = match rng.random_range(0..18) {
            0 => Body::Click(Click { click_id: "".into(), user_id: "".into(), ..click }),
            1 => Body::Click(Click { ad_id: "".into(), ..click }),
            2 => Body::Click(Click { event_ms: 0, ..click }),
            3 => Body::Click(Click { event_ms: FIRST_VALID_MS - 1, ..click }),
            4 => Body::Click(Click { event_ms: LAST_VALID_MS + 1, ..click }),
            5 => Body::Click(Click { click_id: too_long, ..click }),
            6 => Body::Click(Click { ad_id: too_long, ..click }),
            7 => Body::Click(Click { user_id: too_long, ..click }),
            8 => Body::Click(Click { price_micros: -1, ..click }),
            9 => Body::Click(Click { price_micros: PRICE_MAX + 1, ..click }),
            10 => Body::Click(Click { user_agent_bytes: 1_025, ..click }),
            11 => Body::Click(Click { received_at_ms: 1, ..click }),
            12 => Body::Click(Click { received_at_ms: valid(click.event_ms - skew_ms - 1), ..click }),
            13 => {
                // One millisecond decides whether this one is broken at all.
                arrival_ms = Some(click.event_ms - skew_ms - rng.random_range(0..2));
                Body::Click(click)
            }
            14 => Body::Verdict(Verdict { click_id: "".into(), ..verdict }),
            15 => Body::Verdict(Verdict { decision: None, ..verdict }),
            16 => Body::Verdict(Verdict { decided_ms: LAST_VALID_MS + 1, ..verdict }),
            _ => Body::Unreadable,
        };
        Record { arrival_ms, ..unlabelled(body) }
    }
}

fn unlabelled(body: Body) -> Record {
    Record { label: 0, stream: 0, arrival_ms: None, body }
}

fn valid(event_ms: i64) -> i64 {
    event_ms.clamp(FIRST_VALID_MS, LAST_VALID_MS)
}
