//! A segment, read piece by piece.

use crate::disk::{Disk, DiskError, DiskFile, OrDiskError as _, read_up_to};

/// Bytes read at a time, at least.
const WINDOW_BYTES: usize = 1 << 20;

/// A part of a segment in memory, that moves to where it is asked for.
pub(super) struct Window<'a> {
    disk: &'a dyn Disk,
    path: &'a str,
    file: &'a dyn DiskFile,
    /// The offset of the file's first byte.
    base: u64,
    /// The offset of the first byte in memory.
    start: u64,
    bytes: Vec<u8>,
    read_bytes: usize,
}

impl<'a> Window<'a> {
    /// Over the segment whose first byte is at offset `base`.
    pub(super) fn new(disk: &'a dyn Disk, path: &'a str, file: &'a dyn DiskFile, base: u64) -> Self {
        Window { disk, path, file, base, start: base, bytes: Vec::new(), read_bytes: WINDOW_BYTES }
    }

    /// The same, reading so much at a time: less where most is skipped.
    pub(super) fn reading(self, read_bytes: usize) -> Self {
        Window { read_bytes, ..self }
    }

    /// The bytes at an offset; fewer than `length` where the segment ends.
    pub(super) fn get(&mut self, offset: u64, length: usize) -> Result<&[u8], DiskError> {
        let end = offset + length as u64;
        if offset < self.start || self.start + (self.bytes.len() as u64) < end {
            self.load(offset, length)?;
        }
        let from = (offset - self.start) as usize;
        Ok(&self.bytes[from..self.bytes.len().min(from + length)])
    }

    /// As much as is read at a time, from an offset on; nothing at the segment's end.
    pub(super) fn rest(&mut self, offset: u64) -> Result<&[u8], DiskError> {
        self.load(offset, 0)?;
        Ok(&self.bytes)
    }

    fn load(&mut self, offset: u64, length: usize) -> Result<(), DiskError> {
        self.bytes.resize(length.max(self.read_bytes), 0);
        let read = read_up_to(self.file, &mut self.bytes, offset - self.base);
        let read = read.or_disk_error(self.disk, self.path, "can not be read")?;
        self.bytes.truncate(read);
        self.start = offset;
        Ok(())
    }
}
