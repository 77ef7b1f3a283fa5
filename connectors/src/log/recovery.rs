//! Where the log ends after a crash.
//!
//! Only the last segment of a partition may end in a torn write: a segment is begun when all before it is durable. There,
//! the first batch that does not hold is where the log ends, unless it is known to have been durable: every header says up to
//! which offset its partition was durable when it was written. So a good header behind a bad batch tells a tail that a power
//! cut left in pieces (it was written along with the bad one) from damage (it was written later).

use memchr::memmem;

use super::LogError;
use super::committer::{Head, NotBegun};
use super::format::{HEADER_BYTES, Header, MAGIC};
use super::view::partition_dir;
use super::window::Window;
use crate::checksum::Checksum;
use crate::data_dir::{FileName, Files, LOG_DIR};
use crate::disk::{Disk, OrDiskError as _};

/// A partition as it was found.
pub(super) struct Recovered {
    /// Its segments, ascending.
    pub(super) segments: Vec<FileName>,
    /// Where it ends.
    pub(super) end: u64,
}

/// Finds the end of a partition, and changes nothing.
pub(super) fn read(disk: &dyn Disk, checksum: Checksum, partition: u16) -> Result<Recovered, LogError> {
    let dir = partition_dir(partition);
    if !disk.exists(&dir).or_disk_error(disk, &dir, "can not be looked at")? {
        return Ok(Recovered { segments: Vec::new(), end: 0 });
    }
    let segments = Files::list(disk, &dir)?.in_force;
    check_lengths(disk, partition, &segments)?;
    let end = match segments.last() {
        Some(last) => Tail { disk, checksum, partition, path: last.path(&dir), start: last.start }.end()?,
        None => 0,
    };
    Ok(Recovered { segments, end })
}

/// Makes durable what is found, and begins this writer's own segment at the end.
pub(super) fn take_over(
    disk: &dyn Disk,
    checksum: Checksum,
    partition: u16,
    writer: u32,
) -> Result<(Recovered, Head), LogError> {
    let dir = partition_dir(partition);
    disk.create_dir(&dir).or_disk_error(disk, &dir, "the directory can not be made")?;
    disk.sync_dir(LOG_DIR).or_disk_error(disk, LOG_DIR, "can not be synced")?;
    // What a process wrote before it was killed may not have reached the disk. It is synced before it is looked at, so that
    // what was found here is found again.
    if let Some(last) = Files::list(disk, &dir)?.in_force.last() {
        let path = last.path(&dir);
        let file = disk.open(&path).or_disk_error(disk, &path, "can not be opened")?;
        file.sync_data().or_disk_error(disk, &path, "can not be synced")?;
    }
    let Recovered { mut segments, end } = read(disk, checksum, partition)?;
    let own = FileName { start: end, writer };
    let head = Head::begin(disk, partition, own).map_err(NotBegun::into_cause)?;
    // An empty segment ends where it starts, and there ours starts too.
    segments.retain(|segment| segment.start < end);
    segments.push(own);
    Ok((Recovered { segments, end }, head))
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
    /// The offset of the first batch that does not hold.
    fn end(&self) -> Result<u64, LogError> {
        let file = self.disk.open(&self.path).or_disk_error(self.disk, &self.path, "can not be opened")?;
        let mut window = Window::new(self.disk, &self.path, &*file, self.start);
        let mut offset = self.start;
        while let Some(end) = self.batch_end(&mut window, offset)? {
            offset = end;
        }
        self.check_torn(&mut window, offset)?;
        Ok(offset)
    }

    /// The end of the batch at `offset`; `None` where there is none that holds.
    fn batch_end(&self, window: &mut Window<'_>, offset: u64) -> Result<Option<u64>, LogError> {
        let Some(header) = Header::read(window.get(offset, HEADER_BYTES)?, offset, self.checksum) else {
            return Ok(None);
        };
        let body = window.get(header.body(), header.body_bytes as usize)?;
        let holds = body.len() == header.body_bytes as usize && self.checksum.of(body) == header.body_checksum;
        Ok(holds.then_some(header.end()))
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
