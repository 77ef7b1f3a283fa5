//! How fast the log takes appends and gives them back: `cargo run --release --example log_rate [-- DIR [SECONDS]]`. Clicks of about
//! 300 bytes, 500 an append, from several threads; then alone, for the time until a reader sees them; then all are read again.

use std::error::Error;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use recount_connectors::data_dir::{DataDir, NewStore, StoreSource};
use recount_connectors::disk::SystemDisk;
use recount_connectors::log::{Append, Log, LogSettings, LogSource};
use recount_connectors::{Format, Next, Source as _};
use recount_dataflow::domain::rules::Rules;

const ARRIVAL_MS: i64 = 1_700_000_000_000;
const EVENTS: u64 = 500;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let temp = tempfile::tempdir_in(args.next().unwrap_or_else(|| ".".to_owned()))?;
    let seconds: u64 = args.next().map_or(Ok(5), |text| text.parse())?;
    let new = NewStore { id: 7, hash_secret: [1; 16], source: StoreSource::Log, partitions: 4 };
    let dir = DataDir::open(Arc::new(SystemDisk::create(temp.path())?), &new, Rules::default())?;
    let log = Log::open(&dir, LogSettings::default(), |_| false, |failure| panic!("{failure}"))?;
    for threads in [1, 4, 16] {
        appends(&log, threads, Duration::from_secs(seconds));
    }
    visible(&dir, &log)?;
    read(&dir, &log)
}

fn fill(mut append: Append, first: u64, events: u64) -> Append {
    for number in first..first + events {
        let event = format!(
            r#"{{"click":{{"click_id":"click-{number:016x}","ad_id":"ad-{:06}","timestamp":{ARRIVAL_MS},"user_id":"user-{:09}","price_micros":20000,"campaign_id":"campaign-17","publisher_id":"publisher-4711","country":"DE","device":"phone","ip":"192.0.2.17","user_agent":"Mozilla/5.0 (X11; Linux x86_64) Firefox/140"}}}}"#,
            number % 100_000,
            number % 2_000_000
        );
        append.push(Format::JsonLines, event.as_bytes()).expect("it is short");
    }
    append
}

/// Threads that each wait for their append and send the next.
fn appends(log: &Log, threads: u64, lasting: Duration) {
    let before = log.stats();
    let started = Instant::now();
    let one = |thread: u64| {
        let (mut waits, mut number) = (Vec::new(), thread << 40);
        while started.elapsed() < lasting {
            let append = fill(log.begin(ARRIVAL_MS), number, EVENTS);
            number += EVENTS;
            let sent = Instant::now();
            log.append_and_wait(append).expect("the disk is well");
            waits.push(sent.elapsed());
        }
        waits
    };
    let mut waits: Vec<Duration> = thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || one(thread))).collect();
        running.into_iter().flat_map(|thread| thread.join().expect("appending does not panic")).collect()
    });
    let seconds = started.elapsed().as_secs_f64();
    let after = log.stats();
    let syncs = after.syncs.count - before.syncs.count;
    waits.sort();
    let (p50, p99) = (waits[waits.len() / 2], waits[waits.len() * 99 / 100]);
    println!(
        "{threads:2} threads: {:.0} appends/s, {:.0} events/s, {:.0} MB/s, {:.0} syncs/s of {:.2} ms; ack p50 {p50:.1?}, p99 {p99:.1?}",
        waits.len() as f64 / seconds,
        (waits.len() as u64 * EVENTS) as f64 / seconds,
        (after.bytes - before.bytes) as f64 / 1e6 / seconds,
        syncs as f64 / seconds,
        (after.syncs.sum_us - before.syncs.sum_us) as f64 / 1e3 / syncs as f64,
    );
}

/// The time from a lone append to its batch, and how much of it came after the acknowledgement.
fn visible(dir: &DataDir, log: &Log) -> Result<(), Box<dyn Error>> {
    let view = log.view();
    let ends = (0..view.partitions())
        .map(|stream| recount_dataflow::domain::fact::Position { stream, offset: view.end(stream) });
    let mut source = LogSource::start(&view, dir.hash_key(), dir.rules(), &ends.collect::<Vec<_>>())?;
    let mut after_ack = Vec::new();
    for number in 0..200 {
        log.append_and_wait(fill(log.begin(ARRIVAL_MS), number, 10))?;
        let acknowledged = Instant::now();
        while let Next::Waiting = source.next_within(Duration::from_secs(5))? {}
        after_ack.push(acknowledged.elapsed());
    }
    after_ack.sort();
    println!("a batch comes out {:.0?} after its acknowledgement (p99 {:.0?})", after_ack[100], after_ack[198]);
    Ok(())
}

fn read(dir: &DataDir, log: &Log) -> Result<(), Box<dyn Error>> {
    let view = log.view();
    let bytes: u64 = (0..view.partitions()).map(|partition| view.bytes(partition)).sum();
    let total = log.stats().records;
    let started = Instant::now();
    let mut source = LogSource::start(&view, dir.hash_key(), dir.rules(), &[])?;
    let mut records = 0;
    while records < total {
        if let Next::Batch(batch) = source.next_within(Duration::from_secs(5))? {
            records += batch.records() as u64;
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    println!("read and decoded: {:.2} M/s, {:.0} MB/s", records as f64 / seconds / 1e6, bytes as f64 / 1e6 / seconds);
    Ok(())
}
