//! What of the log can be read: which segments there are, and how far they are durable.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use recount_dataflow::domain::fact::Position;

use super::LogError;
use super::reader::BatchReader;
use super::recovery::{self, Recovered};
use crate::checksum::Checksum;
use crate::data_dir::{DataDir, FileName, LOG_DIR};
use crate::disk::Disk;

/// The readable log. It is shared by the log that writes, by sources and by raw stores.
pub struct LogView {
    disk: Arc<dyn Disk>,
    checksum: Checksum,
    partitions: Vec<Partition>,
}

struct Partition {
    dir: String,
    state: Mutex<State>,
    /// The end moved, or nobody will move it any more.
    moved: Condvar,
}

struct State {
    /// Ascending; each ends where the next starts, and the last at `end`.
    segments: Vec<FileName>,
    /// Everything before is durable.
    end: u64,
    /// Whether a log may still append.
    is_live: bool,
}

/// Where an offset is to be found.
pub(super) struct Span {
    pub(super) segment: FileName,
    pub(super) path: String,
    /// The offset at which the segment ends, or what is durable of it.
    pub(super) limit: u64,
}

impl LogView {
    /// The log as it is now, beside the process that writes it; it does not grow.
    ///
    /// # Errors
    /// Where the disk fails, or the log is damaged.
    pub fn read_only(dir: &DataDir) -> Result<Arc<LogView>, LogError> {
        let disk = dir.disk();
        let recovered = (0..dir.partitions()).map(|partition| recovery::read(&*disk, dir.checksum(), partition));
        let recovered = recovered.collect::<Result<Vec<_>, _>>()?;
        Ok(LogView::new(dir, recovered, false))
    }

    pub(super) fn new(dir: &DataDir, recovered: Vec<Recovered>, is_live: bool) -> Arc<LogView> {
        let partition = |(number, Recovered { segments, end, .. }): (usize, Recovered)| Partition {
            dir: partition_dir(number as u16),
            state: Mutex::new(State { segments, end, is_live }),
            moved: Condvar::new(),
        };
        let partitions = recovered.into_iter().enumerate().map(partition).collect();
        Arc::new(LogView { disk: dir.disk(), checksum: dir.checksum(), partitions })
    }

    /// Whether a source can start at these positions, as far as can be known before the records are read.
    ///
    /// # Errors
    /// Where it can not.
    pub fn check_starts(self: &Arc<Self>, positions: &[Position]) -> Result<(), LogError> {
        for partition in 0..self.partitions() {
            let position = Position::in_stream(positions, partition).unwrap_or(0);
            BatchReader::at(Arc::clone(self), partition, position)?;
        }
        self.check_reaches(positions)
    }

    /// Whether the log reaches these positions.
    ///
    /// # Errors
    /// Where it ends before one.
    pub fn check_reaches(&self, positions: &[Position]) -> Result<(), LogError> {
        let of_log = positions.iter().filter(|position| position.stream < self.partitions());
        let behind = |position: &&Position| self.end(position.stream) < position.offset;
        of_log.copied().find(|position| behind(&position)).map_or(Ok(()), |Position { stream, offset }| {
            Err(LogError::Ends { place: self.place(stream), offset, end: self.end(stream) })
        })
    }

    /// The number of partitions.
    pub fn partitions(&self) -> u16 {
        self.partitions.len() as u16
    }

    /// The offset up to which a partition is durable.
    pub fn end(&self, partition: u16) -> u64 {
        self.state(partition).end
    }

    /// The oldest offset that a partition holds: 0, unless retention took some.
    pub fn start(&self, partition: u16) -> u64 {
        let state = self.state(partition);
        state.segments.first().map_or(state.end, |first| first.start)
    }

    /// Bytes that a partition holds.
    pub fn bytes(&self, partition: u16) -> u64 {
        self.end(partition) - self.start(partition)
    }

    pub(super) fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    pub(super) fn checksum(&self) -> Checksum {
        self.checksum
    }

    pub(super) fn place(&self, partition: u16) -> String {
        self.disk.place(&self.partitions[usize::from(partition)].dir)
    }

    pub(super) fn segments(&self, partition: u16) -> Vec<FileName> {
        self.state(partition).segments.clone()
    }

    /// Waits until something behind `offset` is durable, and returns the end. `None` where that will not happen any more, or
    /// where `is_stopped` says so after [`LogView::wake`].
    pub(super) fn wait_beyond(&self, partition: u16, offset: u64, is_stopped: impl Fn() -> bool) -> Option<u64> {
        let moved = &self.partitions[usize::from(partition)].moved;
        let stays = |state: &mut State| state.end <= offset && state.is_live && !is_stopped();
        let state = moved.wait_while(self.state(partition), stays).expect(UNPOISONED);
        (offset < state.end && !is_stopped()).then_some(state.end)
    }

    /// Lets everybody who waits look again.
    pub(super) fn wake(&self) {
        for partition in &self.partitions {
            drop(partition.state.lock().expect(UNPOISONED));
            partition.moved.notify_all();
        }
    }

    /// More is durable.
    pub(super) fn publish(&self, partition: u16, end: u64) {
        let mut state = self.state(partition);
        assert!(state.end <= end, "partition {partition} ended at {} and shrank to {end}", state.end);
        state.end = end;
        drop(state);
        self.partitions[usize::from(partition)].moved.notify_all();
    }

    /// A segment was begun at the end.
    pub(super) fn add_segment(&self, partition: u16, segment: FileName) {
        self.state(partition).segments.push(segment);
    }

    /// The oldest segment is about to be deleted.
    pub(super) fn remove_first(&self, partition: u16, segment: FileName) {
        let mut state = self.state(partition);
        assert_eq!(state.segments.first(), Some(&segment), "segments go oldest first");
        state.segments.remove(0);
    }

    /// Nothing is appended any more.
    pub(super) fn end_all(&self) {
        (0..self.partitions()).for_each(|partition| self.state(partition).is_live = false);
        self.wake();
    }

    /// The segment that an offset before the end lies in.
    pub(super) fn locate(&self, partition: u16, offset: u64) -> Result<Span, LogError> {
        let dir = &self.partitions[usize::from(partition)].dir;
        let state = self.state(partition);
        let at = state.segments.partition_point(|segment| segment.start <= offset);
        let Some(number) = at.checked_sub(1) else {
            let start = state.segments.first().map_or(state.end, |first| first.start);
            drop(state);
            return Err(LogError::Gone { place: self.place(partition), offset, start });
        };
        let segment = state.segments[number];
        let limit = state.segments.get(at).map_or(state.end, |next| next.start);
        Ok(Span { segment, path: segment.path(dir), limit })
    }

    fn state(&self, partition: u16) -> MutexGuard<'_, State> {
        self.partitions[usize::from(partition)].state.lock().expect(UNPOISONED)
    }
}

const UNPOISONED: &str = "nothing panics while it holds the list of segments";

/// A partition's directory.
pub(super) fn partition_dir(partition: u16) -> String {
    format!("{LOG_DIR}/{partition:04}")
}
