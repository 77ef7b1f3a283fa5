//! The seeded workload: reproducible, of the asked make, and the same by every way out.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::fs;

use recount_connectors::workload::{Batches, Record, Workload, WorkloadError, WorkloadSettings, write_file};
use recount_connectors::{FileSource, SourceSettings};
use recount_dataflow::domain::fact::Fact;
use recount_dataflow::domain::fingerprint::HashKey;
use recount_dataflow::domain::rules::Rules;
use recount_dataflow::intake::Batch;
use tempfile::tempdir;

fn made(settings: WorkloadSettings) -> Vec<Record> {
    Workload::new(settings).unwrap().collect()
}

/// All that a fact says but for its position.
fn said(fact: &Fact) -> impl PartialEq + std::fmt::Debug + use<> {
    (
        fact.kind(),
        fact.id(),
        fact.is_copy().then(|| (fact.ad(), fact.visit(), fact.price_micros())),
        fact.event_ms(),
        fact.order(),
    )
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let dir = tempdir().unwrap();
    let bytes = |name: &str, seed| {
        let path = dir.path().join(name);
        write_file(Workload::new(WorkloadSettings::new(2_000, seed)).unwrap(), &path, |_| {}).unwrap();
        fs::read(path).unwrap()
    };
    for name in ["a.jsonl", "a.pb", "a.jsonl.gz", "a.pb.zst"] {
        assert_eq!(bytes(name, 7), bytes(name, 7));
        assert_ne!(bytes(name, 7), bytes(name, 8));
    }
    let text = String::from_utf8(bytes("a.jsonl", 7)).unwrap();
    let first = r#"{"click":{"click_id":"c-74b5abcc66b8bdc1","ad_id":"ad-000031","timestamp":1767225600000,"user_id":"u-0000072","price_micros":171467,"campaign_id":"cmp-00001","publisher_id":"pub-789","country":"JP","device":"tv"}}"#;
    assert_eq!(text.lines().next().unwrap(), first);
    assert_eq!(
        HashKey::new([0; 16]).click(&text).hash,
        12_473_488_249_956_115_617,
        "a workload that was made before would change"
    );
    assert!((150..230).contains(&(text.len() / text.lines().count())));
}

#[test]
fn a_workload_is_of_the_asked_make() {
    let clicks = 100_000;
    let settings = WorkloadSettings::new(clicks, 1);
    let records = made(settings.clone());
    let (mut deliveries, mut verdicts) = (HashMap::new(), 0);
    let (mut newest_ms, mut late) = (i64::MIN, 0);
    for record in &records {
        match record {
            Record::Click(click) => {
                *deliveries.entry(click.click).or_insert(0) += 1;
                late += u64::from(click.event_ms + 60_000 < newest_ms);
                newest_ms = newest_ms.max(click.event_ms);
                assert!(click.ad < settings.ads && click.user < settings.users);
                assert!((settings.start_ms..settings.start_ms + settings.span_ms).contains(&click.event_ms));
            }
            Record::Verdict(_) => verdicts += 1,
            Record::Broken(..) => panic!("nothing is broken unless asked for"),
        }
    }
    let near = |found: u64, share: f64| (found as f64 / clicks as f64 / share - 1.0).abs() < 0.1;
    assert_eq!(deliveries.len() as u64, clicks);
    assert!(near(deliveries.values().filter(|&&copies| copies > 1).count() as u64, 0.02));
    assert!(near(verdicts, 0.033), "{verdicts}");
    assert!((1_000..4_000).contains(&late), "{late}");

    let hot = made(WorkloadSettings { hot_ad: 0.5, ..settings.clone() });
    let on_it = hot.iter().filter(|record| matches!(record, Record::Click(click) if click.ad == 0)).count();
    assert!(near(on_it as u64, 0.51), "{on_it}");
    let broken = made(WorkloadSettings { broken: 0.1, ..settings });
    assert!(near(broken.iter().filter(|record| matches!(record, Record::Broken(..))).count() as u64, 0.1));
}

#[test]
fn every_way_out_says_the_same() {
    let dir = tempdir().unwrap();
    let asked = WorkloadSettings { broken: 0.05, ..WorkloadSettings::new(5_000, 3) };
    let workload = || Workload::new(asked.clone()).unwrap();
    let direct: Vec<Batch> = Batches::new(workload(), HashKey::new([7; 16]), Rules::default(), 0, 1_000).collect();
    let expected: Vec<_> = direct.iter().flat_map(|batch| batch.facts.iter().map(said)).collect();
    let reasons = |batches: &[Batch]| -> Vec<_> {
        batches.iter().flat_map(|batch| batch.broken.iter().map(|broken| broken.violation.reason)).collect()
    };
    let settings = SourceSettings::new(HashKey::new([7; 16]), Rules::default());
    assert!(direct.iter().rev().skip(1).all(|batch| batch.records() == 1_000));
    for name in ["a.jsonl", "a.pb", "a.jsonl.zst", "a.pb.gz"] {
        let path = dir.path().join(name);
        let mut drawn = 0;
        let records = write_file(workload(), &path, |clicks| drawn = clicks).unwrap();
        assert_eq!(drawn, 5_000);
        let mut source = FileSource::open(&[path.to_str().unwrap()], settings.clone()).unwrap();
        let mut batches = Vec::new();
        while let Some(batch) = source.next_batch().unwrap() {
            batches.push(batch);
        }
        assert_eq!(batches.iter().map(Batch::records).sum::<usize>() as u64, records);
        let facts: Vec<_> = batches.iter().flat_map(|batch| batch.facts.iter().map(said)).collect();
        assert!(facts == expected, "{name}");
        assert_eq!(reasons(&batches), reasons(&direct), "{name}");
        assert!(batches.iter().all(|batch| batch.unknown_fields.is_empty()));
    }
}

#[test]
fn settings_out_of_range_are_refused() {
    let settings = WorkloadSettings::new(10, 1);
    let error = |settings| Workload::new(settings).err().unwrap();
    let late = error(WorkloadSettings { late: 1.5, ..settings.clone() });
    assert_eq!(late, WorkloadError::Rate { name: "late", rate: 1.5 });
    assert!(matches!(error(WorkloadSettings { late: f64::NAN, ..settings.clone() }), WorkloadError::Rate { .. }));
    assert_eq!(error(WorkloadSettings { ads: 0, ..settings.clone() }), WorkloadError::Zero { name: "ads" });
    assert!(matches!(error(WorkloadSettings { span_ms: -1, ..settings.clone() }), WorkloadError::Span { .. }));
    assert!(matches!(error(WorkloadSettings { start_ms: 0, ..settings.clone() }), WorkloadError::Span { .. }));
    assert!(made(WorkloadSettings { clicks: 0, ..settings }).is_empty());
    let unnamed = write_file(Workload::new(WorkloadSettings::new(1, 1)).unwrap(), "a.txt".as_ref(), |_| {});
    assert!(unnamed.unwrap_err().to_string().contains(".jsonl or .pb"));
}
