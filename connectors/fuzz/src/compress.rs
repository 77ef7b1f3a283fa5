//! Compressed bytes.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

/// One member of gzip.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("there is memory");
    encoder.finish().expect("there is memory")
}

/// One frame of zstd.
pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    ::zstd::encode_all(bytes, 1).expect("there is memory")
}
