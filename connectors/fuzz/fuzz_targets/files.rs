//! Of any bytes as a file of lines or of messages: its records are those that a page of code finds in them, however the file is
//! cut into blocks, and compressed they are the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use recount_connectors::{CutRecord, cut_records};
use recount_connectors_fuzz::compress::{gzip, zstd};

fuzz_target!(|input: (bool, u8, u8, &[u8])| {
    let (is_json, block_bytes, cut, bytes) = input;
    let (name, expected) = match is_json {
        true => ("a.jsonl", lines(bytes)),
        false => ("a.pb", messages(bytes)),
    };
    let expected = (expected, true);
    assert_eq!(cut_records(name, bytes, 1 << 20), expected);
    assert_eq!(cut_records(name, bytes, 1 + usize::from(block_bytes)), expected);
    let halves = bytes.split_at(usize::from(cut) % (bytes.len() + 1));
    let (name, compressed) = match block_bytes % 2 {
        0 => (format!("{name}.gz"), [gzip(halves.0), gzip(halves.1)].concat()),
        _ => (format!("{name}.zst"), [zstd(halves.0), zstd(halves.1)].concat()),
    };
    assert_eq!(cut_records(&name, &compressed, 1 << 20), expected);
});

/// A record for every line.
fn lines(bytes: &[u8]) -> Vec<CutRecord> {
    let (mut records, mut offset) = (Vec::new(), 0);
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let payload = line.strip_suffix(b"\n").unwrap_or(line).to_vec();
        let end = offset + line.len() as u64;
        records.push(CutRecord { offset, end, payload, is_broken: false });
        offset = end;
    }
    records
}

/// A record for every message behind its length; one that is cut short, or has no length, is the last.
fn messages(bytes: &[u8]) -> Vec<CutRecord> {
    let (mut records, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        let offset = (bytes.len() - rest.len()) as u64;
        let (prefix, length) = length(rest).unwrap_or((0, usize::MAX));
        let whole = rest[prefix..].split_at_checked(length);
        let (payload, left) = whole.unwrap_or((&rest[prefix..], &[]));
        rest = left;
        let (end, payload) = ((bytes.len() - rest.len()) as u64, payload.to_vec());
        records.push(CutRecord { offset, end, payload, is_broken: whole.is_none() });
    }
    records
}

/// The bytes of a varint at the front, and what it says.
fn length(bytes: &[u8]) -> Option<(usize, usize)> {
    let end = bytes.iter().take(10).position(|byte| *byte < 0x80)?;
    let value = bytes[..=end].iter().rev().fold(0_u128, |value, byte| value << 7 | u128::from(byte & 0x7f));
    Some((end + 1, u64::try_from(value).ok()? as usize))
}
