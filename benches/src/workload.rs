//! The workloads that the engine and the baseline are measured on.

use std::io::Result;
use std::path::Path;
use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use recount_dataflow::domain::event::{Click, Decision, Event, Verdict};
use recount_dataflow::domain::rules::{DAY_MS, MINUTE_MS};
use recount_dataflow::engine::Settings;
use recount_dataflow::intake::{Batch, Intake};

use crate::facts::FactFile;

/// What a workload is made of: a day of clicks on a million ads by two million users, 3 % of them judged, 2 % sent again, 1 %
/// late.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Workload {
    /// Clicks, without copies and verdicts.
    pub(crate) clicks: u64,
    /// Whether one ad has half of the clicks.
    pub(crate) hot: bool,
}

const ADS: u64 = 1_000_000;
const USERS: u64 = 2_000_000;

/// The workload as facts, made where it is not there yet.
///
/// # Errors
/// Where it can not be written.
pub(crate) fn prepare(dir: &Path, workload: Workload) -> Result<FactFile> {
    let kind = if workload.hot { "hot" } else { "even" };
    let file = FactFile::new(&dir.join(format!("{kind}-{}", workload.clicks)));
    if !file.exists() {
        eprintln!("making a workload of {} clicks", workload.clicks);
        file.write(batches(workload))?;
    }
    Ok(file)
}

fn batches(workload: Workload) -> impl Iterator<Item = Batch> {
    let settings = Settings::default();
    let mut intake = Intake::new(settings.key, settings.rules);
    let mut rng = SmallRng::seed_from_u64(1);
    let start_ms = 20_000 * DAY_MS;
    let mut next = 0;
    let mut offset = 0;
    let click = move |n: u64, late_ms: i64| {
        let mut own = SmallRng::seed_from_u64(n);
        let ad = if workload.hot && own.random_bool(0.5) { 0 } else { own.random_range(0..ADS) };
        Click {
            click_id: format!("c{n}").into(),
            ad_id: format!("ad{ad}").into(),
            user_id: format!("u{}", own.random_range(0..USERS)).into(),
            event_ms: start_ms + (n as i64) * DAY_MS / workload.clicks as i64 - late_ms,
            price_micros: own.random_range(10_000..900_000),
            ..Click::default()
        }
    };
    std::iter::from_fn(move || {
        if next >= workload.clicks {
            return None;
        }
        let mut batch = intake.batch(0, 50_000, Arc::new(crate::facts::NoBytes));
        let mut push = |event| {
            batch.push(&event, offset, &[], None);
            offset += 1;
        };
        for _ in 0..50_000.min(workload.clicks - next) {
            let late_ms = if rng.random_bool(0.01) { rng.random_range(0..60 * MINUTE_MS) } else { 0 };
            push(Event::Click(click(next, late_ms)));
            let before = next.saturating_sub(rng.random_range(0..200_000));
            if rng.random_bool(0.02) {
                push(Event::Click(click(before, 0)));
            }
            if rng.random_bool(0.03) {
                let decision = Some(if rng.random_bool(0.9) { Decision::Invalid } else { Decision::Valid });
                let decided_ms = start_ms + (next as i64) * DAY_MS / workload.clicks as i64;
                push(Event::Verdict(Verdict {
                    click_id: format!("c{before}").into(),
                    decision,
                    decided_ms,
                    ..Verdict::default()
                }));
            }
            next += 1;
        }
        Some(batch.finish())
    })
}
