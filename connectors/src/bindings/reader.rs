//! Bindings, read back in order.

use std::sync::Arc;

use memchr::memmem;
use recount_dataflow::domain::fact::Position;
use recount_dataflow::store::EpochBinding;

use super::format::{self, MAGIC};
use super::{BindingError, BindingLog};
use crate::checksum::Checksum;
use crate::data_dir::{DataDir, FileName, Files};
use crate::disk::{Disk, OrDiskError as _};

/// The bindings of consecutive epochs, ascending, up to the newest. One file at a time is in memory.
pub struct Bindings {
    disk: Arc<dyn Disk>,
    checksum: Checksum,
    dir: String,
    /// Files to read yet, the next one last, each with the epoch at which it ends.
    files: Vec<(FileName, Option<u64>)>,
    /// Bindings of the file that is being read, the next one last.
    read: Vec<EpochBinding>,
}

impl Bindings {
    /// Reads bindings from an epoch on. It may run beside the process that writes them.
    ///
    /// # Errors
    /// Where they start later or end before, and where the disk fails.
    pub fn read(dir: &DataDir, from_epoch: u64) -> Result<Bindings, BindingError> {
        let (disk, checksum, dir) = (dir.disk(), dir.checksum(), dir.bindings_dir());
        let files = Files::list(&*disk, &dir)?.in_force;
        if let Some(first) = files.first().filter(|first| from_epoch < first.start) {
            return Err(BindingError::Gone { dir: disk.place(&dir), epoch: from_epoch, start: first.start });
        }
        let ends = files.iter().skip(1).map(|next| Some(next.start)).chain([None]);
        let needed = files.iter().copied().zip(ends).filter(|(_, end)| end.is_none_or(|end| from_epoch < end));
        let needed = needed.collect::<Vec<_>>().into_iter().rev().collect();
        let place = disk.place(&dir);
        let mut bindings =
            Bindings { disk: Arc::clone(&disk), checksum, dir: dir.clone(), files: needed, read: Vec::new() };
        bindings.load()?;
        while bindings.read.last().is_some_and(|next| next.epoch < from_epoch) {
            bindings.read.pop();
        }
        if bindings.read.is_empty() {
            // Every epoch before the one asked for was bound.
            let newest = files.last().map(|last| {
                Ok::<_, BindingError>(last.start + read_file(&*disk, checksum, &dir, *last, None)?.len() as u64)
            });
            let next = newest.transpose()?.unwrap_or(1);
            if next < from_epoch {
                return Err(BindingError::Ends { dir: place, epoch: from_epoch - 1, next });
            }
        }
        Ok(bindings)
    }

    /// Reads the next file that holds any; at the end there is none.
    fn load(&mut self) -> Result<(), BindingError> {
        while self.read.is_empty()
            && let Some((file, end)) = self.files.pop()
        {
            self.read = read_file(&*self.disk, self.checksum, &self.dir, file, end)?;
            self.read.reverse();
        }
        Ok(())
    }
}

impl Iterator for Bindings {
    type Item = Result<EpochBinding, BindingError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.load() {
            Ok(()) => self.read.pop().map(Ok),
            Err(error) => {
                self.files.clear();
                Some(Err(error))
            }
        }
    }
}

/// The newest binding behind an epoch, where all behind it hold; `None` where there is none.
///
/// # Errors
/// As [`Bindings::read`], and where any does not hold.
pub fn newest_behind(dir: &DataDir, epoch: u64) -> Result<Option<EpochBinding>, BindingError> {
    let mut newest = None;
    for binding in Bindings::read(dir, epoch + 1)? {
        newest = Some(binding?);
    }
    Ok(newest)
}

/// The newest epoch that is bound; 0 where none is.
///
/// # Errors
/// As [`Bindings::read`].
pub fn newest_bound(dir: &DataDir) -> Result<u64, BindingError> {
    let (disk, checksum, bindings_dir) = (dir.disk(), dir.checksum(), dir.bindings_dir());
    match Files::list(&*disk, &bindings_dir)?.in_force.last() {
        None => Ok(0),
        // A file is named by the first epoch that it may hold, whether it holds any or not.
        Some(last) => Ok(last.start + read_file(&*disk, checksum, &bindings_dir, *last, None)?.len() as u64 - 1),
    }
}

/// Deletes files all of whose epochs are below `epoch`; the newest file stays. Returns how many went.
///
/// # Errors
/// Where the disk fails, and where a later writer came, who may need them. What is left is whole.
///
/// # Panics
/// Where the directory was opened for reading.
pub fn delete_bindings_below(dir: &DataDir, epoch: u64) -> Result<usize, BindingError> {
    let (disk, fence, dir) = (dir.disk(), dir.fence(), dir.bindings_dir());
    let files = Files::list(&*disk, &dir)?.in_force;
    let below = files.windows(2).take_while(|pair| pair[1].start <= epoch).map(|pair| pair[0]);
    let mut deleted = 0;
    for file in below {
        fence.check()?;
        let path = file.path(&dir);
        disk.delete(&path).or_disk_error(&*disk, &path, "can not be deleted")?;
        // One by one: a power cut must not bring back an older file and leave a gap behind it.
        disk.sync_dir(&dir).or_disk_error(&*disk, &dir, "can not be synced")?;
        deleted += 1;
    }
    Ok(deleted)
}

/// All bindings of a file, which ends at epoch `end`; the last file ends where nothing holds any more.
pub(super) fn read_file(
    disk: &dyn Disk,
    checksum: Checksum,
    dir: &str,
    file: FileName,
    end: Option<u64>,
) -> Result<Vec<EpochBinding>, BindingError> {
    let path = file.path(dir);
    let bytes = disk.read(&path).or_disk_error(disk, &path, "can not be read")?;
    let damaged = |at: usize, what| Err(BindingError::Damaged { file: disk.place(&path), at: at as u64, what });
    let mut bindings: Vec<EpochBinding> = Vec::new();
    let mut at = 0;
    loop {
        let epoch = file.start + bindings.len() as u64;
        if end.is_some_and(|end| end <= epoch) {
            return Ok(bindings);
        }
        match format::read(&bytes[at..], checksum) {
            Some((binding, _)) if binding.epoch != epoch => return damaged(at, "a binding is of another epoch"),
            Some((binding, length)) => {
                bindings.push(binding);
                at += length;
            }
            None if end.is_some() => return damaged(at, "a binding does not hold, and the next file starts later"),
            None if holds_any(&bytes[at..], checksum) => {
                return damaged(at, "a binding does not hold, and later ones do");
            }
            None => return Ok(bindings),
        }
    }
}

fn holds_any(bytes: &[u8], checksum: Checksum) -> bool {
    memmem::find_iter(bytes, MAGIC).any(|at| format::read(&bytes[at..], checksum).is_some())
}

/// The positions of the newest binding, where it is of an epoch after `epoch`; nothing else was read since then.
///
/// # Errors
/// As [`Bindings::read`].
pub fn positions_after(dir: &DataDir, epoch: u64, log: &BindingLog) -> Result<Vec<Position>, BindingError> {
    let newest = log.next_epoch() - 1;
    if newest <= epoch {
        return Ok(Vec::new());
    }
    let binding = Bindings::read(dir, newest)?.next().transpose()?;
    Ok(binding.map(|binding| binding.positions).unwrap_or_default())
}
