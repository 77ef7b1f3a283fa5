//! Where every stream's records can be found again.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use memchr::memchr;
use recount_dataflow::domain::validate::{RECORD_BYTES_KEPT, RECORD_BYTES_MAX};

use super::compression::Compression;
use crate::format::Format;
use crate::protobuf::wire::take_varint;
use crate::raw_store::{FindRecord, RawError, RawRecord};

/// Bytes read at first; most records are shorter.
const GUESS_BYTES: usize = 1 << 10;

/// Where every stream's records can be found again.
pub(super) struct Shelf {
    entries: Vec<Entry>,
    spool: bool,
}

struct Entry {
    path: Arc<str>,
    is_file: bool,
    place: OnceLock<Place>,
}

struct Place {
    format: Format,
    kept: Kept,
}

enum Kept {
    File,
    Spool(Arc<Spool>),
    Not,
}

impl Shelf {
    /// For streams of these paths, each with whether it is a regular file.
    pub(super) fn new(paths: impl Iterator<Item = (Arc<str>, bool)>, spool: bool) -> Self {
        let entry = |(path, is_file)| Entry { path, is_file, place: OnceLock::new() };
        Shelf { entries: paths.map(entry).collect(), spool }
    }

    /// Called where a stream's reading begins; gives what its uncompressed bytes are to be appended to.
    pub(super) fn begin(
        &self,
        stream: u16,
        format: Format,
        compression: Compression,
    ) -> io::Result<Option<Arc<Spool>>> {
        let entry = &self.entries[usize::from(stream)];
        let (kept, spool) = match entry.is_file && compression == Compression::Plain {
            true => (Kept::File, None),
            false if self.spool => {
                let spool = Arc::new(Spool { file: tempfile::tempfile()?, length: AtomicU64::new(0) });
                (Kept::Spool(spool.clone()), Some(spool))
            }
            false => (Kept::Not, None),
        };
        assert!(entry.place.set(Place { format, kept }).is_ok(), "stream {stream} was begun twice");
        Ok(spool)
    }
}

impl FindRecord for Shelf {
    fn find(&self, stream: u16, offset: u64) -> Result<RawRecord, RawError> {
        let entry = self.entries.get(usize::from(stream)).ok_or(RawError::UnknownStream { stream })?;
        let place = entry.place.get().ok_or(RawError::UnknownStream { stream })?;
        let file = || entry.path.as_ref().to_owned();
        let read = |cause| RawError::Read { file: file(), offset, cause };
        let found = match &place.kept {
            Kept::File => {
                let opened = File::open(entry.path.as_ref()).map_err(read)?;
                find(place.format, |buffer, at| opened.read_at(buffer, at), offset)
            }
            Kept::Spool(spool) => find(place.format, |buffer, at| spool.file.read_at(buffer, at), offset),
            Kept::Not => return Err(RawError::NotKept { file: file() }),
        };
        let bytes = found.map_err(read)?.ok_or_else(|| RawError::Gone { file: file(), offset })?;
        Ok(RawRecord { format: place.format, bytes })
    }
}

/// The uncompressed bytes of a stream in a file without a name, which goes when the last handle does.
pub(super) struct Spool {
    file: File,
    length: AtomicU64,
}

impl Spool {
    /// Appends; only the reader thread does.
    pub(super) fn append(&self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.length.load(Ordering::Relaxed))?;
        self.length.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }
}

/// The payload of the record that starts at `offset`; `None` where there is none.
fn find(
    format: Format,
    read_at: impl Fn(&mut [u8], u64) -> io::Result<usize>,
    offset: u64,
) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let mut wanted = GUESS_BYTES;
    loop {
        let is_whole = read_up_to(&mut bytes, wanted, &read_at, offset)?;
        let payload = match format {
            Format::JsonLines => line(&bytes, is_whole),
            Format::Protobuf => message(&bytes, is_whole),
        };
        match payload {
            Payload::Found(payload) => return Ok(Some(cut(payload))),
            Payload::Gone => return Ok(None),
            Payload::Wants(more) => wanted = more,
        }
    }
}

/// What some bytes say of the record at their front.
enum Payload<'a> {
    Found(&'a [u8]),
    Wants(usize),
    Gone,
}

fn line(bytes: &[u8], is_whole: bool) -> Payload<'_> {
    match memchr(b'\n', bytes) {
        Some(length) => Payload::Found(&bytes[..length]),
        None if bytes.is_empty() => Payload::Gone,
        None if is_whole || bytes.len() > RECORD_BYTES_MAX => Payload::Found(bytes),
        None => Payload::Wants((2 * bytes.len()).min(RECORD_BYTES_MAX + 1)),
    }
}

fn message(bytes: &[u8], is_whole: bool) -> Payload<'_> {
    let mut body = bytes;
    let Ok(length) = take_varint(&mut body) else { return Payload::Gone };
    let kept = length.min(RECORD_BYTES_MAX as u64 + 1) as usize;
    match body.get(..kept) {
        Some(payload) => Payload::Found(payload),
        None if is_whole => Payload::Gone,
        None => Payload::Wants(bytes.len() - body.len() + kept),
    }
}

fn cut(payload: &[u8]) -> Vec<u8> {
    match payload.len() > RECORD_BYTES_MAX {
        true => payload[..RECORD_BYTES_KEPT].to_vec(),
        false => payload.to_vec(),
    }
}

/// Fills `bytes` up to `wanted`; `true` where the file ends before.
fn read_up_to(
    bytes: &mut Vec<u8>,
    wanted: usize,
    read_at: impl Fn(&mut [u8], u64) -> io::Result<usize>,
    offset: u64,
) -> io::Result<bool> {
    let mut filled = bytes.len();
    bytes.resize(wanted, 0);
    while filled < wanted {
        match read_at(&mut bytes[filled..], offset + filled as u64)? {
            0 => break,
            read => filled += read,
        }
    }
    bytes.truncate(filled);
    Ok(filled < wanted)
}
