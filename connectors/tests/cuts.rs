//! Any bytes, cut in any way and decoded by any number of threads, are the same records.

#![allow(clippy::unwrap_used)]

mod support;

use proptest::prelude::*;
use support::{Seen, click, gzip, message, path, read, read_with, zstd};
use tempfile::tempdir;

/// Pieces of streams of both formats, whole and broken.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        3 => (0..9_u32).prop_map(|number| click(number).into_bytes()),
        3 => (0..9_u32).prop_map(message),
        3 => Just(b"\n".to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..20),
        1 => (1..12_usize).prop_map(|length| vec![0xff; length]),
        1 => (0..200_u8).prop_map(|length| vec![length]),
    ];
    prop::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
}

/// Records follow each other and lie in the stream; of messages not a byte is between them.
fn check_positions(seen: &[Seen], length: u64, is_tight: bool) -> Result<(), TestCaseError> {
    let mut end = 0;
    for record in seen {
        prop_assert!(record.offset == end || !is_tight && record.offset > end, "a gap before {record:?}");
        prop_assert!(record.offset < record.end && record.end <= length, "{record:?}");
        end = record.end;
    }
    prop_assert!(!is_tight || end == length);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn records_do_not_depend_on_cuts_threads_or_compression(bytes in bytes(), block_bytes in 1..300_usize, threads in 1..5_usize) {
        let dir = tempdir().unwrap();
        for (name, is_tight) in [("a.jsonl", false), ("a.pb", true)] {
            let plain = path(&dir, name, &bytes);
            let (expected, end) = read(&[&plain]);
            end.unwrap();
            check_positions(&expected, bytes.len() as u64, is_tight)?;
            let (seen, end) = read_with(&[&plain], threads, block_bytes);
            end.unwrap();
            prop_assert_eq!(&seen, &expected);
            for (ending, bytes) in [("gz", gzip(&bytes)), ("zst", zstd(&bytes))] {
                let file = path(&dir, &format!("{name}.{ending}"), &bytes);
                let (seen, end) = read_with(&[&file], threads, block_bytes);
                end.unwrap();
                let renamed: Vec<Seen> = seen.iter().map(|seen| seen.renamed(&file, &plain)).collect();
                prop_assert_eq!(&renamed, &expected);
            }
        }
    }

    /// A compressed stream that is cut gives records of the whole one, and then an error.
    #[test]
    fn a_cut_never_makes_a_record(numbers in prop::collection::vec(0..1_000_u32, 1..40), cut in any::<prop::sample::Index>()) {
        let dir = tempdir().unwrap();
        let text: String = numbers.iter().map(|&number| click(number) + "\n").collect();
        let messages: Vec<u8> = numbers.iter().flat_map(|&number| message(number)).collect();
        for (name, bytes) in [("a.jsonl", text.as_bytes()), ("a.pb", &messages)] {
            let whole = read(&[&path(&dir, name, bytes)]).0;
            for (ending, bytes) in [("gz", gzip(bytes)), ("zst", zstd(bytes))] {
                let file = path(&dir, &format!("{name}.{ending}"), &bytes[..cut.index(bytes.len())]);
                let (seen, end) = read(&[&file]);
                prop_assert_eq!(&seen, &whole[..seen.len()]);
                // A zstd file of no bytes holds no frame, which is whole.
                prop_assert!(end.is_err() || seen.len() == whole.len() || std::fs::metadata(&file).unwrap().len() == 0);
            }
        }
    }
}
