//! Lines and messages a second that one core decodes: `cargo run --release --example decode_rate [-- FILE...]`. Without files, a
//! workload of a million clicks is made.

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use recount_connectors::workload::{Batches, Workload, WorkloadSettings, write_file};
use recount_connectors::{FileSource, Format, SourceSettings, decode_one};
use recount_dataflow::domain::fingerprint::HashKey;
use recount_dataflow::domain::rules::Rules;

fn main() -> Result<(), Box<dyn Error>> {
    let given: Vec<String> = std::env::args().skip(1).collect();
    if !given.is_empty() {
        return given.iter().try_for_each(|file| rate_of_source(file, 1));
    }
    let dir = tempfile::tempdir()?;
    let settings = WorkloadSettings::new(1_000_000, 1);
    let started = Instant::now();
    let records = Workload::new(settings.clone())?.count();
    report("draw", records, started);
    let started = Instant::now();
    let batches = Batches::new(Workload::new(settings.clone())?, HashKey::new([1; 16]), Rules::default(), 0, 5_000);
    report("batches", batches.map(|batch| batch.records()).sum(), started);
    for name in ["rate.jsonl", "rate.pb", "rate.jsonl.gz", "rate.jsonl.zst"] {
        let path = dir.path().join(name);
        let started = Instant::now();
        let records = write_file(Workload::new(settings.clone())?, &path, |_| {})?;
        report(&format!("write {name}"), records as usize, started);
        rate_of_decoder(&path)?;
        for threads in [1, 2] {
            rate_of_source(path.to_str().ok_or("the temporary directory has no name in UTF-8")?, threads)?;
        }
    }
    Ok(())
}

/// The decoder alone, over bytes in memory.
fn rate_of_decoder(path: &Path) -> Result<(), Box<dyn Error>> {
    if path.extension().is_none_or(|extension| extension != "jsonl") {
        return Ok(());
    }
    let bytes = std::fs::read(path)?;
    let lines: Vec<&[u8]> = bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).collect();
    let started = Instant::now();
    let read =
        lines.iter().filter(|line| decode_one(Format::JsonLines, line).is_ok_and(|decoded| decoded.event.is_some()));
    report("decode json alone", read.count(), started);
    Ok(())
}

/// The whole way from the file to batches.
fn rate_of_source(file: &str, threads: usize) -> Result<(), Box<dyn Error>> {
    let settings = SourceSettings { threads, ..SourceSettings::new(HashKey::new([1; 16]), Rules::default()) };
    let started = Instant::now();
    let mut source = FileSource::open(&[file], settings)?;
    let mut records = 0;
    while let Some(batch) = source.next_batch()? {
        records += batch.records();
    }
    report(&format!("read with {threads}"), records, started);
    Ok(())
}

fn report(what: &str, records: usize, started: Instant) {
    let seconds = started.elapsed().as_secs_f64();
    println!("{what:24} {:7.2} M/s", records as f64 / seconds / 1e6);
}
