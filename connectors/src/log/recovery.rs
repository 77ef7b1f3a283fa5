//! Where the log ends after a crash.
//!
//! Only the last segment of a partition may end in a torn write: a segment is begun when all before it is durable. There,
//! the first batch that does not hold is where the log ends, unless it is known to have been durable: every header says up to
//! which offset its partition was durable when it was written. So a good header behind a bad batch tells a tail that a power
//! cut left in pieces (it was written along with the bad one) from damage (it was written later).

use std::io::{self, ErrorKind};

use memchr::memmem;

use super::LogError;
use super::committer::{Head, NotBegun};
use super::format::{HEADER_BYTES, Header, MAGIC};
use super::view::partition_dir;
use super::window::Window;
use crate::checksum::Checksum;
use crate::data_dir::{FileName, Files, LOG_DIR};
use crate::disk::{Disk, DiskFile, OrDiskError as _, read_up_to};

/// Bytes that are copied at once.
const COPY_BYTES: u64 = 1 << 20;

/// A partition as it was found.
pub(super) struct Recovered {
    /// Its segments, ascending.
    pub(super) segments: Vec<FileName>,
    /// Everything before is known to be durable.
    pub(super) durable: u64,
    /// Where it ends.
    pub(super) end: u64,
}

/// Finds the end of a partition, and changes nothing.
pub(super) fn read(disk: &dyn Disk, checksum: Checksum, partition: u16) -> Result<Recovered, LogError> {
    let dir = partition_dir(partition);
    if !disk.exists(&dir).or_disk_error(disk, &dir, "can not be looked at")? {
        return Ok(Recovered { segments: Vec::new(), durable: 0, end: 0 });
    }
    let segments = Files::list(disk, &dir)?.in_force;
    check_lengths(disk, partition, &segments)?;
    let (durable, end) = match segments.last() {
        Some(last) => Tail { disk, checksum, partition, path: last.path(&dir), start: last.start }.bounds()?,
        None => (0, 0),
    };
    Ok(Recovered { segments, durable, end })
}

/// Begins this writer's own segment, at the offset up to which all is known to be durable. What was found behind that is written again,
/// there: the process before may have been killed before it synced, or have ended because it could not, and a sync of its file could
/// succeed now and mean nothing.
pub(super) fn take_over(
    disk: &dyn Disk,
    checksum: Checksum,
    partition: u16,
    writer: u32,
) -> Result<(Recovered, Head), LogError> {
    let dir = partition_dir(partition);
    disk.create_dir(&dir).or_disk_error(disk, &dir, "the directory can not be made")?;
    disk.sync_dir(LOG_DIR).or_disk_error(disk, LOG_DIR, "can not be synced")?;
    Files::clear_unnamed(disk, &dir)?;
    let Recovered { mut segments, durable, end } = read(disk, checksum, partition)?;
    let own = FileName { start: durable, writer };
    let head = match segments.last() {
        Some(last) if durable < end => {
            let path = last.path(&dir);
            let file = own.make_with(disk, &dir, |own| {
                let tail = disk.open(&path).or_disk_error(disk, &path, "can not be opened")?;
                copy(&*tail, durable - last.start, own, end - durable).or_disk_error(disk, &path, "can not be copied")
            })?;
            Head { path: own.path(&dir), file, start: durable, end, durable: end }
        }
        _ => Head::begin(disk, partition, own).map_err(NotBegun::into_cause)?,
    };
    // One that starts there is void now: it holds nothing else.
    segments.retain(|segment| segment.start < durable);
    segments.push(own);
    Ok((Recovered { segments, durable: end, end }, head))
}

/// Copies `length` bytes from a place in one file to the beginning of another.
fn copy(from: &dyn DiskFile, from_at: u64, to: &dyn DiskFile, length: u64) -> io::Result<()> {
    let mut buffer = vec![0; COPY_BYTES.min(length) as usize];
    let mut done = 0;
    while done < length {
        let piece = &mut buffer[..COPY_BYTES.min(length - done) as usize];
        if read_up_to(from, piece, from_at + done)? < piece.len() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        to.write_all_at(piece, done)?;
        done += piece.len() as u64;
    }
    Ok(())
}

/// Deletes segments that later writers have replaced.
pub(super) fn clear(disk: &dyn Disk, partition: u16) -> Result<(), LogError> {
    let dir = partition_dir(partition);
    for segment in Files::list(disk, &dir)?.replaced {
        let path = segment.path(&dir);
        disk.delete(&path).or_disk_error(disk, &path, "can not be deleted")?;
    }
    Ok(())
}

/// Every segment but the last reaches to the start of the next.
fn check_lengths(disk: &dyn Disk, partition: u16, segments: &[FileName]) -> Result<(), LogError> {
    for pair in segments.windows(2) {
        let path = pair[0].path(&partition_dir(partition));
        let file = disk.open(&path).or_disk_error(disk, &path, "can not be opened")?;
        let length = file.length().or_disk_error(disk, &path, "its length can not be read")?;
        if pair[0].start + length < pair[1].start {
            return Err(LogError::Damaged {
                file: disk.place(&path),
                at: length,
                partition,
                offset: pair[0].start + length,
                what: "it is shorter than it was, or the segment after it is missing",
            });
        }
    }
    Ok(())
}

/// The last segment of a partition.
struct Tail<'a> {
    disk: &'a dyn Disk,
    checksum: Checksum,
    partition: u16,
    path: String,
    start: u64,
}

impl Tail<'_> {
    /// The offset before which all is known to be durable, and that of the first batch that does not hold.
    fn bounds(&self) -> Result<(u64, u64), LogError> {
        let file = self.disk.open(&self.path).or_disk_error(self.disk, &self.path, "can not be opened")?;
        // A segment is begun when all before it is durable.
        let (mut durable, mut offset) = (self.start, self.start);
        let mut refused = None;
        loop {
            let mut window = Window::new(self.disk, &self.path, &*file, self.start);
            while let Some(header) = self.batch(&mut window, offset)? {
                (durable, offset) = (durable.max(header.durable), header.end());
            }
            match self.check_torn(&mut window, offset) {
                // Beside whoever writes, what did not hold a moment ago may have been written since.
                Err(LogError::Damaged { .. }) if refused != Some(offset) => refused = Some(offset),
                checked => return checked.map(|()| (durable, offset)),
            }
        }
    }

    /// The header of the batch at `offset`; `None` where there is none that holds.
    fn batch(&self, window: &mut Window<'_>, offset: u64) -> Result<Option<Header>, LogError> {
        let Some(header) = Header::read(window.get(offset, HEADER_BYTES)?, offset, self.checksum) else {
            return Ok(None);
        };
        let body = window.get(header.body(), header.body_bytes as usize)?;
        let holds = body.len() == header.body_bytes as usize && self.checksum.of(body) == header.body_checksum;
        Ok(holds.then_some(header))
    }

    /// Refuses a bad batch that was durable once.
    fn check_torn(&self, window: &mut Window<'_>, torn: u64) -> Result<(), LogError> {
        let mut offset = torn;
        loop {
            let bytes = window.rest(offset)?;
            if bytes.len() < HEADER_BYTES {
                return Ok(());
            }
            for found in memmem::find_iter(bytes, MAGIC) {
                let at = offset + found as u64;
                let header = Header::read(&bytes[found..], at, self.checksum);
                if header.is_some_and(|header| torn < header.durable) {
                    return Err(LogError::Damaged {
                        file: self.disk.place(&self.path),
                        at: torn - self.start,
                        partition: self.partition,
                        offset: torn,
                        what: "a batch does not hold, and later ones do",
                    });
                }
            }
            // A header may lie across the end of the window.
            offset += (bytes.len() + 1 - HEADER_BYTES) as u64;
        }
    }
}
