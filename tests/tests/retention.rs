//! Endless traffic in bounded space: over fifty correction horizons of event time state and files stay as large as they were after
//! the first, and what came too late is parked, as the semantics say.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recount_connectors::Format;
use recount_connectors::log::{LogSettings, Retention};
use recount_dataflow::domain::event::Decision;
use recount_dataflow::domain::fact::Position;
use recount_dataflow::domain::rules::{DAY_MS, HOUR_MS, MINUTE_MS, Rules};
use recount_dataflow::domain::validate::Reason;
use recount_dataflow::domain::window::Granularity;
use recount_dataflow::engine::{History, Settings};
use recount_tests::daemon::{Daemon, DaemonSettings};
use recount_tests::disk::{FaultDisk, Loss};
use recount_tests::harness::compare;
use recount_tests::model::{Delivered, Model};
use recount_tests::record::{Body, Click, Record, Verdict};

const HORIZONS: i64 = 50;
const HORIZON_MS: i64 = DAY_MS;
const START_MS: i64 = 1_767_225_600_000;
/// Epochs that a horizon is cut into.
const EPOCHS: usize = 4;

fn rules() -> Rules {
    Rules {
        allowed_lateness_ms: 10 * MINUTE_MS,
        correction_horizon_ms: HORIZON_MS,
        dedup_horizon_ms: 6 * HOUR_MS,
        max_future_skew_ms: 5 * MINUTE_MS,
        dedup_fallback: false,
        counts_retention_ms: Some(2 * DAY_MS),
    }
}

/// What happens in one horizon: ads and users that come and go, copies, verdicts and reversals, late ones of each.
fn horizon(number: i64, records: usize, rng: &mut ChaCha8Rng, sent: &mut Vec<Click>) -> Vec<Record> {
    let mut all = Vec::new();
    for at in 0..records as i64 {
        let now_ms = START_MS + number * HORIZON_MS + at * HORIZON_MS / records as i64;
        // Few are older than a horizon, and come too late.
        let back_ms = [0, 0, 0, 0, MINUTE_MS, HOUR_MS, 5 * HOUR_MS, HORIZON_MS + 2 * HOUR_MS][rng.random_range(0..8)];
        let recent = sent.len().saturating_sub(records / 4);
        let body = match rng.random_range(0..10) {
            0..6 => {
                let click = Click {
                    click_id: format!("c{number}-{at}").into(),
                    ad_id: format!("ad{}", 3 * number + rng.random_range(0..6)).into(),
                    user_id: format!("u{}", number * records as i64 / 8 + rng.random_range(0..records as i64 / 4))
                        .into(),
                    event_ms: now_ms - back_ms,
                    price_micros: rng.random_range(0..5_000),
                    received_at_ms: 0,
                    user_agent_bytes: 0,
                };
                sent.push(click.clone());
                Body::Click(click)
            }
            6..8 if recent < sent.len() => Body::Click(sent[rng.random_range(recent..sent.len())].clone()),
            _ if sent.is_empty() => continue,
            kind => {
                // Some are about clicks that are frozen or forgotten.
                let from = if kind == 8 { recent } else { sent.len().saturating_sub(2 * records) };
                Body::Verdict(Verdict {
                    click_id: sent[rng.random_range(from..sent.len())].click_id.clone(),
                    decision: Some(if rng.random_bool(0.7) { Decision::Invalid } else { Decision::Valid }),
                    decided_ms: now_ms - back_ms / 2,
                    reason: "".into(),
                })
            }
        };
        all.push(Record { label: 0, stream: 0, arrival_ms: Some(now_ms), body });
    }
    all
}

/// The records of every epoch. Where they lie does not matter here.
fn epochs(records: usize) -> Vec<Vec<Delivered>> {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let (mut sent, mut epochs, mut offset) = (Vec::new(), Vec::new(), 0);
    for number in 0..HORIZONS {
        let records = horizon(number, records, &mut rng, &mut sent);
        epochs.extend(records.chunks(records.len().div_ceil(EPOCHS)).map(|epoch| {
            let delivered = epoch.iter().map(|record| {
                offset += 1;
                Delivered { record: record.clone(), position: Position { stream: 0, offset } }
            });
            delivered.collect::<Vec<_>>()
        }));
    }
    epochs
}

fn settings(log_bytes: u64) -> DaemonSettings {
    let history = History { epochs: 3, age: Duration::from_secs(1 << 30), bytes: usize::MAX };
    let engine = Settings { rules: rules(), workers: 2, epoch_records: usize::MAX, history, ..Settings::default() };
    let retention = Retention { age: None, bytes: Some(log_bytes) };
    let log = LogSettings {
        segment_bytes: log_bytes / 8,
        commit_window: Duration::ZERO,
        retention,
        ..LogSettings::default()
    };
    DaemonSettings { engine, log, bindings_bytes: 1_000 }
}

/// What is measured at the end of every horizon, by name.
type Sizes = BTreeMap<String, usize>;

fn sizes(daemon: &Daemon, disk: &FaultDisk) -> Sizes {
    let snapshot = daemon.reader().snapshot(None).unwrap();
    let state = snapshot.state_bytes();
    let by_name = state.iter().map(|size| (format!("state {}", size.name), size.bytes as usize));
    let mut sizes: Sizes = by_name.collect();
    sizes.insert("state".to_owned(), state.iter().map(|size| size.bytes as usize).sum());
    for (path, length) in disk.files() {
        let dir = path.split('/').next().unwrap();
        *sizes.entry(format!("files in {dir}")).or_default() += length;
    }
    sizes
}

/// Sends all epochs to a daemon, with checkpoints and restarts; `look` sees each epoch. Returns the sizes after each horizon.
fn run(epochs: &[Vec<Delivered>], log_bytes: u64, mut look: impl FnMut(&Daemon)) -> Vec<Sizes> {
    let settings = settings(log_bytes);
    let mut disk = FaultDisk::default();
    let mut daemon = Daemon::start(Arc::new(disk.clone()), &settings).unwrap();
    let mut all = Vec::new();
    for (number, records) in epochs.iter().enumerate() {
        for appended in records.chunk_by(|one, next| one.record.arrival_ms == next.record.arrival_ms) {
            let mut append = daemon.begin(appended[0].record.arrival_ms.unwrap());
            appended.iter().for_each(|one| append.push(Format::JsonLines, one.record.to_json().as_bytes()).unwrap());
            daemon.append(append).unwrap().unwrap();
        }
        while daemon.is_behind() {
            daemon.take_batch(number as i64).unwrap();
        }
        daemon.close_epoch(number as i64).unwrap();
        look(&daemon);
        if number % 3 == 0 {
            daemon.checkpoint().unwrap();
        }
        if number % EPOCHS == EPOCHS - 1 {
            all.push(sizes(&daemon, &disk));
        }
        if number % 37 == 36 {
            drop(daemon);
            disk = disk.restart(Loss::Nothing);
            daemon = Daemon::start(Arc::new(disk.clone()), &settings).unwrap();
        }
    }
    all
}

#[test]
fn over_fifty_horizons_every_answer_is_the_models() {
    let epochs = epochs(40);
    let model = Model::new(rules(), &epochs);
    let sizes = run(&epochs, 20_000, |daemon| {
        let snapshot = daemon.reader().snapshot(None).unwrap();
        let compared = compare::rows(&model, &snapshot, &Granularity::ALL);
        compared.unwrap_or_else(|difference| panic!("as of {}: {difference}", snapshot.as_of()));
    });
    let totals = &model.state(model.last_epoch()).totals;
    for reason in [Reason::Late, Reason::VerdictLate] {
        assert!(totals.parked[&reason] >= 10, "{totals:?}");
    }
    assert_eq!(sizes.len() as i64, HORIZONS);
}

#[test]
fn over_fifty_horizons_state_and_files_stay_flat() {
    let sizes = run(&epochs(1_000), 500_000, |_| {});
    let names: Vec<String> = sizes[0].keys().cloned().collect();
    for name in names {
        let series: Vec<usize> = sizes.iter().map(|sizes| sizes.get(&name).copied().unwrap_or_default()).collect();
        println!("{name}: {series:?}");
        // What waits for a merge, or lies in a pack beside what is needed, is part of it: sizes go up and down. At the second
        // horizon a third of what is needed is there, as rows are kept for two more, and a day is kept whole.
        let (warm, most) = (series[1].max(4_096), series[2..].iter().max().unwrap());
        assert!(*most <= 8 * warm, "{name} was {warm} bytes after two horizons, and grew to {most}");
        let mean = |of: &[usize]| of.iter().sum::<usize>() / of.len();
        let (early, late) = (mean(&series[5..20]), mean(&series[35..]));
        assert!(late <= 2 * early.max(4_096), "{name} was {early} bytes on average, and later {late}");
    }
}
