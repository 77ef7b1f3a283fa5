//! What goes in the end: whole segments, oldest first.

use super::format::{HEADER_BYTES, Header};
use super::view::{LogView, partition_dir};
use super::{LogError, Retention};
use crate::data_dir::FileName;
use crate::disk::{OrDiskError as _, read_up_to};

/// The oldest segment of a partition, which may go.
struct Oldest {
    partition: u16,
    segment: FileName,
    /// The segment after it, which stays.
    next: FileName,
}

/// Deletes what the settings take and nothing at or behind the floor; returns the bytes deleted.
pub(super) fn retain(view: &LogView, retention: Retention, floor: &[u64], now_ms: i64) -> Result<u64, LogError> {
    assert_eq!(floor.len(), usize::from(view.partitions()), "the floor names every partition");
    let mut deleted = 0;
    if let Some(age) = retention.age {
        let before_ms = now_ms.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
        for partition in 0..view.partitions() {
            while let Some(oldest) = oldest(view, partition, floor)
                && first_arrival_ms(view, partition, oldest.next)?.is_some_and(|arrival_ms| arrival_ms < before_ms)
            {
                deleted += delete(view, &oldest)?;
            }
        }
    }
    if let Some(bytes_max) = retention.bytes {
        let bytes = || (0..view.partitions()).map(|partition| view.bytes(partition)).sum::<u64>();
        while bytes_max < bytes() {
            let candidates = (0..view.partitions()).filter_map(|partition| oldest(view, partition, floor));
            let Some(oldest) = candidates.max_by_key(|oldest| view.bytes(oldest.partition)) else { break };
            deleted += delete(view, &oldest)?;
        }
    }
    Ok(deleted)
}

/// A partition's oldest segment, where it is not its last and nothing of it is needed.
fn oldest(view: &LogView, partition: u16, floor: &[u64]) -> Option<Oldest> {
    let segments = view.segments(partition);
    let (&segment, &next) = (segments.first()?, segments.get(1)?);
    (next.start <= floor[usize::from(partition)]).then_some(Oldest { partition, segment, next })
}

/// When the first batch of a segment arrived: later than all before it, as far as clocks go. `None` where it is empty.
fn first_arrival_ms(view: &LogView, partition: u16, segment: FileName) -> Result<Option<i64>, LogError> {
    let path = segment.path(&partition_dir(partition));
    let disk = view.disk();
    let file = disk.open(&path).or_disk_error(disk, &path, "can not be opened")?;
    let mut bytes = [0; HEADER_BYTES];
    read_up_to(&*file, &mut bytes, 0).or_disk_error(disk, &path, "can not be read")?;
    Ok(Header::read(&bytes, segment.start, view.checksum()).map(|header| header.arrival_ms))
}

fn delete(view: &LogView, oldest: &Oldest) -> Result<u64, LogError> {
    let dir = partition_dir(oldest.partition);
    let path = oldest.segment.path(&dir);
    let disk = view.disk();
    view.remove_first(oldest.partition, oldest.segment);
    disk.delete(&path).or_disk_error(disk, &path, "can not be deleted")?;
    // One by one: a power cut must not bring back an older segment and leave a gap behind it.
    disk.sync_dir(&dir).or_disk_error(disk, &dir, "can not be synced")?;
    Ok(oldest.next.start - oldest.segment.start)
}
