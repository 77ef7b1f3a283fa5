//! A workload into a file.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use flate2::write::GzEncoder;
use thiserror::Error;

use super::encode::Encoder;
use super::plan::Workload;
use crate::file::{Compression, of_name};

/// Written at once.
const CHUNK_BYTES: usize = 256 << 10;
/// Both compressors at their quickest: the file is read once or twice.
const GZIP_LEVEL: u32 = 1;
const ZSTD_LEVEL: i32 = 1;

/// Why a workload could not be written.
#[derive(Debug, Error)]
pub enum OutputError {
    /// The name says no format.
    #[error("{file}: name the file .jsonl or .pb, with .gz or .zst after it or not")]
    UnknownFormat {
        /// The path as given.
        file: String,
    },
    /// Writing failed.
    #[error("{file}: can not be written: {cause}")]
    Write {
        /// The path as given.
        file: String,
        /// What the system said.
        cause: io::Error,
    },
}

/// Writes a workload to a new file, replacing one of this name; the format is as the name says. `on_chunk` is called now and
/// then with the clicks drawn so far. Gives the number of records.
///
/// # Errors
/// Where the name says no format or the file can not be written.
pub fn write_file(workload: Workload, path: &Path, on_chunk: impl FnMut(u64)) -> Result<u64, OutputError> {
    let file = path.display().to_string();
    let (Some(format), Some(compression)) = of_name(&file) else { return Err(OutputError::UnknownFormat { file }) };
    let encoder = Encoder::new(workload.names(), format);
    let written = File::create(path).and_then(|out| match compression {
        Compression::Plain => write(workload, encoder, out, on_chunk).map(|(records, _)| records),
        Compression::Gzip => {
            let out = GzEncoder::new(out, flate2::Compression::new(GZIP_LEVEL));
            let (records, out) = write(workload, encoder, out, on_chunk)?;
            out.finish().map(|_| records)
        }
        Compression::Zstd => {
            let out = zstd::Encoder::new(out, ZSTD_LEVEL)?;
            let (records, out) = write(workload, encoder, out, on_chunk)?;
            out.finish().map(|_| records)
        }
    });
    written.map_err(|cause| OutputError::Write { file, cause })
}

fn write<W: Write>(
    mut workload: Workload,
    mut encoder: Encoder,
    mut out: W,
    mut on_chunk: impl FnMut(u64),
) -> io::Result<(u64, W)> {
    let mut chunk = Vec::with_capacity(CHUNK_BYTES + (4 << 10));
    let mut records = 0;
    while let Some(record) = workload.next() {
        encoder.push(&record, &mut chunk);
        records += 1;
        if chunk.len() >= CHUNK_BYTES {
            out.write_all(&chunk)?;
            chunk.clear();
            on_chunk(workload.clicks_drawn());
        }
    }
    out.write_all(&chunk)?;
    on_chunk(workload.clicks_drawn());
    Ok((records, out))
}
