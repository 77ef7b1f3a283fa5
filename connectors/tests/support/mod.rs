//! Files to read, and what was read.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message as _;
use recount_connectors::{FileSource, SourceError, SourceSettings};
use recount_dataflow::domain::fingerprint::HashKey;
use recount_dataflow::domain::rules::Rules;
use recount_dataflow::intake::Batch;
use recount_proto::v1;
use tempfile::TempDir;

/// One record as a batch has it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) stream: u16,
    pub(crate) offset: u64,
    pub(crate) end: u64,
    pub(crate) reason: &'static str,
    pub(crate) broken: Option<String>,
    pub(crate) payload: Vec<u8>,
    pub(crate) length: u64,
}

impl Seen {
    /// The same, read from another file.
    pub(crate) fn renamed(&self, from: &str, to: &str) -> Seen {
        Seen { broken: self.broken.as_ref().map(|detail| detail.replacen(from, to, 1)), ..self.clone() }
    }
}

pub(crate) fn settings_with(threads: usize, block_bytes: usize) -> SourceSettings {
    SourceSettings { threads, block_bytes, ..SourceSettings::new(HashKey::new([7; 16]), Rules::default()) }
}

pub(crate) fn path(dir: &TempDir, name: &str, bytes: &[u8]) -> String {
    let path = dir.path().join(name);
    fs::write(&path, bytes).unwrap();
    path.to_str().unwrap().to_owned()
}

pub(crate) fn read(paths: &[&str]) -> (Vec<Seen>, Result<(), SourceError>) {
    read_with(paths, 2, 1 << 20)
}

/// All records, and how the source ended.
pub(crate) fn read_with(paths: &[&str], threads: usize, block_bytes: usize) -> (Vec<Seen>, Result<(), SourceError>) {
    let mut source = FileSource::open(paths, settings_with(threads, block_bytes)).unwrap();
    let mut seen = Vec::new();
    loop {
        match source.next_batch() {
            Ok(Some(batch)) => seen.extend(records(&batch)),
            Ok(None) => return (seen, Ok(())),
            Err(error) => {
                assert!(source.next_batch().unwrap().is_none(), "after an error the source is at its end");
                return (seen, Err(error));
            }
        }
    }
}

fn records(batch: &Batch) -> Vec<Seen> {
    let mut seen: Vec<Seen> = Vec::new();
    for fact in &batch.facts {
        let offset = fact.position().offset;
        let (payload, end) = batch.raw.record(offset);
        let length = payload.len() as u64;
        seen.push(Seen {
            stream: batch.stream,
            offset,
            end,
            reason: "accepted",
            broken: None,
            payload: payload.into(),
            length,
        });
    }
    for broken in &batch.broken {
        let offset = broken.position.offset;
        let (_, end) = batch.raw.record(offset);
        seen.push(Seen {
            stream: broken.position.stream,
            offset,
            end,
            reason: broken.violation.reason.as_str(),
            broken: Some(broken.violation.detail.clone()),
            payload: broken.payload.to_vec(),
            length: broken.payload_length,
        });
    }
    seen.sort_by_key(|seen| seen.offset);
    seen
}

/// A click as a line, without its newline; all are of one length.
pub(crate) fn click(number: u32) -> String {
    format!(r#"{{"click":{{"click_id":"c{number:07}","ad_id":"a","timestamp":1700000000000,"user_id":"é"}}}}"#)
}

/// A click as a message behind its length.
pub(crate) fn message(number: u32) -> Vec<u8> {
    let click = v1::Click {
        click_id: format!("c{number:07}"),
        ad_id: "a".into(),
        timestamp_ms: 1_700_000_000_000,
        ..v1::Click::default()
    };
    v1::Event { body: Some(v1::event::Body::Click(click)) }.encode_length_delimited_to_vec()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    ::zstd::encode_all(bytes, 1).unwrap()
}
