//! Of any damage to a compressed file: where it can be inflated still, its records are those of what it inflates to; where it can
//! not, it is not read to its end.

#![no_main]

use std::io::{self, Read};

use flate2::bufread::MultiGzDecoder;
use libfuzzer_sys::fuzz_target;
use recount_connectors::cut_records;
use recount_connectors_fuzz::compress;
use recount_connectors_fuzz::damage::damage;

/// What inflates to more is not looked at: a byte may stand for thousands.
const INFLATED_MAX: u64 = 1 << 20;

fuzz_target!(|input: (u8, u8, &[u8], &[u8])| {
    let (kind, block_bytes, edits, content) = input;
    let mut bytes = match kind % 4 {
        0 | 1 => compress::gzip(content),
        _ => compress::zstd(content),
    };
    damage(&mut bytes, edits);
    let (name, inflated) = match kind % 4 {
        0 => ("a.jsonl.gz", inflated(MultiGzDecoder::new(&bytes[..]))),
        1 => ("a.pb.gz", inflated(MultiGzDecoder::new(&bytes[..]))),
        2 => ("a.jsonl.zst", zstd::Decoder::with_buffer(&bytes[..]).and_then(inflated)),
        _ => ("a.pb.zst", zstd::Decoder::with_buffer(&bytes[..]).and_then(inflated)),
    };
    let inflated = match inflated {
        Ok(inflated) if inflated.len() as u64 == INFLATED_MAX => return,
        inflated => inflated,
    };
    let found = cut_records(name, &bytes, 1 + usize::from(block_bytes));
    match inflated {
        Ok(inflated) => {
            let plain = name.trim_end_matches(".gz").trim_end_matches(".zst");
            assert_eq!(found, cut_records(plain, &inflated, 1 << 20));
        }
        Err(error) => assert!(!found.1, "it was read to its end, and can not be inflated: {error}"),
    }
});

/// All that it inflates to, or the beginning where that is very much.
fn inflated(reader: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(INFLATED_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}
