//! The one thread that writes: takes what waits, writes it to one partition, syncs, and only then tells anybody.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use recount_dataflow::domain::fact::OFFSET_END;

use super::append::Appended;
use super::format::Header;
use super::queue::{Queue, Waiting, Work};
use super::settings::SyncPolicy;
use super::stats::Counters;
use super::view::{LogView, partition_dir};
use super::{AppendError, LogFailure, LogSettings};
use crate::data_dir::{Fence, FileName};
use crate::disk::{Disk, DiskError, DiskFile, OrDiskError as _};

/// When to come again where the disk is full.
const FULL_RETRY_AFTER: Duration = Duration::from_secs(1);

/// The committer's state.
pub(super) struct Committer {
    pub(super) view: Arc<LogView>,
    pub(super) queue: Arc<Queue>,
    pub(super) counters: Arc<Counters>,
    pub(super) fence: Fence,
    pub(super) settings: LogSettings,
    pub(super) heads: Vec<Head>,
    /// The partition that is next.
    pub(super) turn: usize,
    pub(super) buffer: Vec<u8>,
}

/// The segment that a partition grows in.
pub(super) struct Head {
    pub(super) path: String,
    pub(super) file: Arc<dyn DiskFile>,
    /// The offset of the file's first byte.
    pub(super) start: u64,
    /// The offset just past what was written and not taken back.
    pub(super) end: u64,
    /// The offset up to which it is durable.
    pub(super) durable: u64,
}

/// Why a segment was not begun.
pub(super) enum NotBegun {
    /// It was not made.
    Unmade(DiskError),
    /// It was made, and may be lost.
    Unsynced(DiskError),
}

impl NotBegun {
    pub(super) fn into_cause(self) -> DiskError {
        let (NotBegun::Unmade(cause) | NotBegun::Unsynced(cause)) = self;
        cause
    }
}

/// Why a commit did not succeed.
enum Stop {
    /// There is no room; nothing of it is left in the log.
    Full(DiskError),
    /// The log ends.
    Failed(LogFailure),
}

impl<F: Into<LogFailure>> From<F> for Stop {
    fn from(failure: F) -> Self {
        Stop::Failed(failure.into())
    }
}

impl Committer {
    /// Commits until the log is closed or fails.
    pub(super) fn run(mut self, on_failure: impl FnOnce(Arc<LogFailure>)) {
        let mut started: Option<Instant> = None;
        let mut synced = Instant::now();
        loop {
            let not_before = started.map_or_else(Instant::now, |started| started + self.settings.commit_window);
            let sync_at = self.sync_due(synced);
            let work = match sync_at {
                Some(at) if at <= Instant::now() => Work::Idle,
                _ => self.queue.next(not_before, sync_at),
            };
            let is_last = matches!(work, Work::Close);
            let done = match work {
                Work::Commit(waiting) => {
                    started = Some(Instant::now());
                    self.commit(waiting)
                }
                Work::Idle | Work::Close => {
                    synced = Instant::now();
                    self.sync_all().map_err(Arc::new)
                }
            };
            if let Err(failure) = done {
                self.end(&failure);
                return on_failure(failure);
            }
            if is_last {
                return self.end(&Arc::new(LogFailure::Closed));
            }
        }
    }

    /// When what was written has to be synced: `None` where nothing waits for it.
    fn sync_due(&self, synced: Instant) -> Option<Instant> {
        let is_dirty = self.heads.iter().any(|head| head.durable < head.end);
        match self.settings.sync {
            SyncPolicy::Interval(interval) if is_dirty => Some(synced + interval),
            _ => None,
        }
    }

    /// Writes some appends and tells them.
    fn commit(&mut self, waiting: Vec<Waiting>) -> Result<(), Arc<LogFailure>> {
        let (appends, bytes) = (waiting.len(), waiting.iter().map(Waiting::bytes).sum());
        let partition = self.turn;
        self.turn = (self.turn + 1) % self.heads.len();
        let records: u64 = waiting.iter().map(|waiting| u64::from(waiting.sealed.records)).sum();
        let (outcome, failed) = match self.write(partition, bytes, &waiting) {
            Ok(ends) => {
                Counters::add(&self.counters.appends, appends as u64);
                Counters::add(&self.counters.records, records);
                Counters::add(&self.counters.bytes, bytes as u64);
                (Ok(ends), None)
            }
            Err(Stop::Full(cause)) => {
                Counters::add(&self.counters.refused_full, appends as u64);
                (Err(AppendError::DiskFull { place: cause.place, retry_after: FULL_RETRY_AFTER }), None)
            }
            Err(Stop::Failed(failure)) => {
                let failure = Arc::new(failure);
                (Err(AppendError::Stopped(Arc::clone(&failure))), Some(failure))
            }
        };
        self.queue.release(appends, bytes);
        for (number, waiting) in waiting.into_iter().enumerate() {
            let appended = |ends: &Vec<u64>| Appended { partition: partition as u16, end: ends[number] };
            (waiting.done)(outcome.as_ref().map(appended).map_err(AppendError::clone));
        }
        failed.map_or(Ok(()), Err)
    }

    /// Makes some appends durable in one partition, and returns where each ends.
    fn write(&mut self, partition: usize, bytes: usize, waiting: &[Waiting]) -> Result<Vec<u64>, Stop> {
        self.make_room(partition, bytes as u64)?;
        let head = &mut self.heads[partition];
        let checksum = self.view.checksum();
        self.buffer.clear();
        let mut ends = Vec::with_capacity(waiting.len());
        let mut offset = head.end;
        for Waiting { sealed, .. } in waiting {
            let header = Header {
                body_bytes: sealed.body.len() as u32,
                records: sealed.records,
                body_checksum: sealed.body_checksum,
                arrival_ms: sealed.arrival_ms,
                offset,
                durable: head.durable,
                writer: self.fence.writer(),
            };
            self.buffer.extend_from_slice(&header.to_bytes(checksum));
            self.buffer.extend_from_slice(&sealed.body);
            offset = header.end();
            ends.push(offset);
        }
        let disk = self.view.disk();
        let written = head.file.write_all_at(&self.buffer, head.end - head.start);
        if let Err(cause) = written.or_disk_error(disk, &head.path, "can not be written") {
            // What was written of it would otherwise lie between what is there and what comes.
            let cut = head.file.truncate(head.end - head.start);
            cut.or_disk_error(disk, &head.path, "can not be cut")?;
            return Err(if cause.is_full() { Stop::Full(cause) } else { Stop::Failed(cause.into()) });
        }
        head.end = offset;
        match self.settings.sync {
            SyncPolicy::Always => self.sync(partition)?,
            SyncPolicy::Interval(_) => self.fence.check()?,
        }
        Ok(ends)
    }

    /// Begins the next segment where this one has no room.
    fn make_room(&mut self, partition: usize, bytes: u64) -> Result<(), Stop> {
        let head = &self.heads[partition];
        if head.end + bytes >= OFFSET_END {
            return Err(LogFailure::PartitionFull { place: self.view.place(partition as u16) }.into());
        }
        let used = head.end - head.start;
        if used == 0 || used + bytes <= self.settings.segment_bytes {
            return Ok(());
        }
        // Only the last segment may have a tail that is not durable.
        self.sync(partition)?;
        let segment = FileName { start: self.heads[partition].end, writer: self.fence.writer() };
        let head = match Head::begin(self.view.disk(), partition as u16, segment) {
            Ok(head) => head,
            Err(NotBegun::Unmade(cause)) if cause.is_full() => return Err(Stop::Full(cause)),
            Err(NotBegun::Unmade(cause) | NotBegun::Unsynced(cause)) => return Err(cause.into()),
        };
        self.note(partition as u16, &head)?;
        self.heads[partition] = head;
        self.view.add_segment(partition as u16, segment);
        Ok(())
    }

    /// Notes that a segment was begun; where there is no room for that, the segment goes again.
    fn note(&self, partition: u16, head: &Head) -> Result<(), Stop> {
        let disk = self.view.disk();
        match self.fence.notes().begun(disk, [head.path.as_str()]) {
            Ok(()) => Ok(()),
            Err(full) if full.is_full() => {
                // It is made again where there is room again. Until then appends that still fit go to the segment before it, past
                // its start: were its name to come back after a power cut, the log would end there.
                disk.delete(&head.path).or_disk_error(disk, &head.path, "can not be deleted")?;
                let dir = partition_dir(partition);
                disk.sync_dir(&dir).or_disk_error(disk, &dir, "can not be synced")?;
                Err(Stop::Full(full))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn sync_all(&mut self) -> Result<(), LogFailure> {
        (0..self.heads.len()).try_for_each(|partition| self.sync(partition))
    }

    /// Makes what was written durable, and then readable.
    fn sync(&mut self, partition: usize) -> Result<(), LogFailure> {
        let head = &mut self.heads[partition];
        if head.durable == head.end {
            return Ok(());
        }
        let started = Instant::now();
        head.file.sync_data().or_disk_error(self.view.disk(), &head.path, "can not be synced")?;
        self.counters.syncs.observe(started.elapsed());
        // After the sync: a writer that came before it has found what was synced, and one that comes later will.
        self.fence.check()?;
        head.durable = head.end;
        self.view.publish(partition as u16, head.end);
        Ok(())
    }

    fn end(&self, failure: &Arc<LogFailure>) {
        for waiting in self.queue.fail(failure) {
            (waiting.done)(Err(AppendError::Stopped(Arc::clone(failure))));
        }
        self.view.end_all();
    }
}

impl Head {
    /// Makes a segment, and its name durable.
    pub(super) fn begin(disk: &dyn Disk, partition: u16, segment: FileName) -> Result<Head, NotBegun> {
        let dir = partition_dir(partition);
        let path = segment.path(&dir);
        let file = disk.create_new(&path).or_disk_error(disk, &path, "can not be made").map_err(NotBegun::Unmade)?;
        // A sync that fails for want of room has failed: the name is there, and is not to be made again.
        let synced = disk.sync_dir(&dir).map_err(io::Error::other);
        synced.or_disk_error(disk, &dir, "can not be synced").map_err(NotBegun::Unsynced)?;
        Ok(Head { path, file, start: segment.start, end: segment.start, durable: segment.start })
    }
}
