//! How facts cross from one worker to another where memory is not shared: as the bytes they are, or through a codec.
//!
//! Each codec turns packets of facts to bytes and the bytes back to facts that the receiver owns. Abomonation's decoding only
//! mends pointers in the buffer; since operators keep what they receive, the copy out of the buffer is part of the work.

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use abomonation::Abomonation;
use bytemuck::{Pod, Zeroable};
use rand::rngs::SmallRng;
use rand::{RngCore as _, SeedableRng as _};
use serde::{Deserialize, Serialize};

use crate::Args;
use crate::measure::median;
use crate::table::Table;

/// Records of one packet: what an epoch of 50,000 sends from each of two workers to the other.
const PACKET_RECORDS: usize = 12_500;
const PACKETS: usize = 400;

/// A record laid out as a fact is, which all three codecs know.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable, Serialize, Deserialize)]
#[repr(C)]
struct Record {
    id_hash: u64,
    id_low: u32,
    ad_low: u32,
    ad_hash: u64,
    visit_hash: u64,
    visit_low: u32,
    price_low: u32,
    event: u64,
    position: u64,
    order: u64,
}

/// Flat: its bytes are the record.
impl Abomonation for Record {}

const _: () = assert!(size_of::<Record>() == size_of::<recount_dataflow::domain::fact::Fact>());

/// A way to turn records to bytes and back.
struct Codec {
    name: &'static str,
    encode: fn(&Vec<Record>, &mut Vec<u8>),
    decode: fn(&mut [u8]) -> Vec<Record>,
}

const CODECS: [Codec; 3] = [
    Codec { name: "raw bytes", encode: encode_raw, decode: decode_raw },
    Codec { name: "bincode", encode: encode_bincode, decode: decode_bincode },
    Codec { name: "abomonation", encode: encode_abomonation, decode: decode_abomonation },
];

/// Measures every codec, in turns.
///
/// # Errors
/// Never; the others can fail.
pub(crate) fn measure(args: &Args, table: &mut Table) -> Result<(), Box<dyn Error>> {
    let mut rng = SmallRng::seed_from_u64(1);
    let mut records = vec![Record::zeroed(); PACKET_RECORDS];
    rng.fill_bytes(bytemuck::cast_slice_mut(&mut records));
    let mut runs: [Vec<[f64; 2]>; 3] = Default::default();
    for _ in 0..args.runs.max(3) {
        for (codec, runs) in CODECS.iter().zip(&mut runs) {
            runs.push(run(codec, &records));
        }
    }
    for (codec, runs) in CODECS.iter().zip(&runs) {
        let of = |part: usize| median(&mut runs.iter().map(|run| run[part]).collect::<Vec<_>>());
        let found = format!("{:.1} / {:.1} ns", of(0), of(1));
        table.row(format!("exchange codec, {}: encode / decode a fact", codec.name), found, "");
    }
    Ok(())
}

/// Nanoseconds a record to encode and to decode.
fn run(codec: &Codec, records: &Vec<Record>) -> [f64; 2] {
    let mut bytes = Vec::new();
    let (mut encode_ns, mut decode_ns) = (0, 0);
    for _ in 0..PACKETS {
        bytes.clear();
        let clock = Instant::now();
        (codec.encode)(black_box(records), &mut bytes);
        encode_ns += clock.elapsed().as_nanos();
        let clock = Instant::now();
        let decoded = black_box((codec.decode)(black_box(&mut bytes)));
        decode_ns += clock.elapsed().as_nanos();
        assert!(decoded.first() == records.first() && decoded.len() == records.len(), "{} loses records", codec.name);
    }
    [encode_ns, decode_ns].map(|ns| ns as f64 / (PACKETS * PACKET_RECORDS) as f64)
}

#[expect(clippy::ptr_arg, reason = "abomonation encodes a `Vec`, and all codecs have one type")]
fn encode_raw(records: &Vec<Record>, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(bytemuck::cast_slice(records));
}

fn decode_raw(bytes: &mut [u8]) -> Vec<Record> {
    bytes.chunks_exact(size_of::<Record>()).map(bytemuck::pod_read_unaligned).collect()
}

fn encode_bincode(records: &Vec<Record>, bytes: &mut Vec<u8>) {
    bincode::serialize_into(bytes, records).expect("memory takes all bytes");
}

fn decode_bincode(bytes: &mut [u8]) -> Vec<Record> {
    bincode::deserialize(bytes).expect("the bytes were encoded before")
}

#[expect(unsafe_code, reason = "abomonation offers no safe way in")]
fn encode_abomonation(records: &Vec<Record>, bytes: &mut Vec<u8>) {
    // SAFETY: a record is integers without padding, so no uninitialised byte is read.
    unsafe { abomonation::encode(records, bytes) }.expect("memory takes all bytes");
}

#[expect(unsafe_code, reason = "abomonation offers no safe way out")]
fn decode_abomonation(bytes: &mut [u8]) -> Vec<Record> {
    // SAFETY: the bytes were encoded from the same type by this process. That they are aligned as a `Vec` has to be is luck
    // of the allocator; abomonation does not check it.
    let (records, _) = unsafe { abomonation::decode::<Vec<Record>>(bytes) }.expect("the bytes were encoded before");
    records.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_codec_gives_back_what_it_took() {
        let records: Vec<Record> =
            (0..1_000).map(|n| Record { id_hash: n, order: u64::MAX - n, ..Record::zeroed() }).collect();
        for codec in CODECS {
            let mut bytes = Vec::new();
            (codec.encode)(&records, &mut bytes);
            assert_eq!((codec.decode)(&mut bytes), records, "{}", codec.name);
        }
    }
}
