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
use recount_dataflow::domain::validate::{Reason, Shelf};
use recount_dataflow::domain::window::Granularity;
use recount_dataflow::engine::{History, Settings};
use recount_tests::daemon::{Daemon, DaemonSettings};
use recount_tests::disk::{FaultDisk, Loss};
use recount_tests::harness::compare;
use recount_tests::model::{Delivered, Model};
use recount_tests::record::{Body, Click, Record, Verdict};

const HORIZONS: i64 = 50;
/// How many it takes to tell growth from what goes up and down.
const HORIZONS_MEASURED: i64 = 120;
const HORIZON_MS: i64 = DAY_MS;
const START_MS: i64 = 1_767_225_600_000;
/// Epochs that a horizon is cut into.
const EPOCHS: usize = 4;
/// By how much the wall clock goes on from one epoch to the next: records that were set aside grow too old within a few horizons.
const WALL_STEP_MS: i64 = 5 * DAY_MS;
/// How long they are kept.
const SET_ASIDE_MS: i64 = 90 * DAY_MS;

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

/// The records of every epoch. Where they lie does not matter here. One of the first is unreadable, and no other is.
fn epochs(horizons: i64, records: usize) -> Vec<Vec<Delivered>> {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let (mut sent, mut epochs, mut offset) = (Vec::new(), Vec::new(), 0);
    for number in 0..horizons {
        let mut records = horizon(number, records, &mut rng, &mut sent);
        if number == 0 {
            records.insert(1, Record { body: Body::Unreadable, ..records[0].clone() });
        }
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
    sizes.insert("records set aside".to_owned(), daemon.reader().set_aside_sizes().bytes as usize);
    for (path, length) in disk.files() {
        let dir = path.split('/').next().unwrap();
        *sizes.entry(format!("files in {dir}")).or_default() += length;
    }
    sizes
}

/// Every record that was set aside is kept or counted as gone, once, whatever restarts there were; and none is kept for too long.
fn check_set_aside(daemon: &Daemon, wall_ms: i64) {
    let reader = daemon.reader();
    let kept = [Shelf::Parked, Shelf::Quarantined].map(|shelf| reader.set_aside(shelf, None, 0, usize::MAX)).concat();
    let totals = reader.snapshot(None).unwrap().totals().clone();
    for (reason, came) in totals.parked.iter().chain(&totals.quarantined) {
        let left = kept.iter().filter(|(_, record)| record.reason == *reason).count() as u64;
        let dropped = reader.set_aside_sizes().dropped.get(reason).copied().unwrap_or_default();
        assert_eq!(left + dropped, *came, "{reason:?}: {left} are kept, {dropped} went");
    }
    let oldest = kept.iter().map(|(_, record)| record.set_aside_at_ms).min();
    assert!(oldest.is_none_or(|oldest| wall_ms - SET_ASIDE_MS <= oldest), "{oldest:?} at {wall_ms}");
    let mut numbers: Vec<u64> = kept.iter().map(|(number, _)| *number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), kept.len(), "no number comes twice");
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
        let wall_ms = START_MS + number as i64 * WALL_STEP_MS;
        while daemon.is_behind() {
            daemon.take_batch(wall_ms).unwrap();
        }
        daemon.close_epoch(wall_ms).unwrap();
        look(&daemon);
        check_set_aside(&daemon, wall_ms);
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
            check_set_aside(&daemon, wall_ms);
        }
    }
    let dropped = daemon.reader().set_aside_sizes().dropped;
    assert_eq!(dropped.get(&Reason::Unreadable), Some(&1), "{dropped:?}");
    all
}

#[test]
fn over_fifty_horizons_every_answer_is_the_models() {
    let epochs = epochs(HORIZONS, 40);
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
    let sizes = run(&epochs(HORIZONS_MEASURED, 1_000), 500_000, |_| {});
    let names: Vec<String> = sizes[0].keys().cloned().collect();
    // Of every file that is begun a line is noted there, for good: some 50 bytes for 64 MiB of the log.
    for name in names.into_iter().filter(|name| name != "files in writers") {
        let series: Vec<usize> = sizes.iter().map(|sizes| sizes.get(&name).copied().unwrap_or_default()).collect();
        println!("{name}: {series:?}");
        // Everything that is kept for a while has come to its full length. What waits for a merge, or lies in a pack beside what is
        // needed, is part of it: sizes go up and down, and over fifty horizons that evens out. What grew with every record would be twice
        // as much.
        let mean = |of: &[usize]| of.iter().sum::<usize>() / of.len();
        let (early, late) = (mean(&series[20..70]).max(4_096), mean(&series[70..]));
        assert!(5 * late <= 6 * early, "{name} was {early} bytes on average, and later {late}");
        let most = series.iter().max().expect("every horizon is measured");
        assert!(*most <= 2 * early, "{name} was {early} bytes on average, and once {most}");
    }
}
