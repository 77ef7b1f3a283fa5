//! Names of files that writers number on: where a file starts, and who wrote it.

use std::io;
use std::sync::Arc;

use super::notes;
use crate::disk::{Disk, DiskError, DiskFile, OrDiskError as _, delete_prefixed};

/// What a file is called until what it begins with is in it.
const NEW_PREFIX: &str = "new-";

/// A file of a growing sequence: `<start>-<writer>.log`. It ends where the next one in force starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileName {
    /// The first offset, or epoch, in it.
    pub(crate) start: u64,
    /// The epoch of the writer that made it.
    pub(crate) writer: u32,
}

impl FileName {
    /// Its path in a directory.
    pub(crate) fn path(&self, dir: &str) -> String {
        format!("{dir}/{:015}-{:08}.log", self.start, self.writer)
    }

    /// Makes the file, of which `fill` writes what it begins with: it is there with that, durably, or not there.
    ///
    /// # Errors
    /// Where the disk fails. Where it [is full](DiskError::is_full), it may be tried again once [`Files::clear_unnamed`] was called.
    pub(crate) fn make_with(
        &self,
        disk: &dyn Disk,
        dir: &str,
        fill: impl FnOnce(&dyn DiskFile) -> Result<(), DiskError>,
    ) -> Result<Arc<dyn DiskFile>, DiskError> {
        let (new, path) = (format!("{dir}/{NEW_PREFIX}{:08}", self.writer), self.path(dir));
        let file = disk.create_new(&new).or_disk_error(disk, &new, "can not be made")?;
        fill(&*file)?;
        // A sync that fails for want of room has failed: it is not to be taken for a write that can be tried again.
        file.sync_data().map_err(io::Error::other).or_disk_error(disk, &new, "can not be synced")?;
        disk.link(&new, &path).or_disk_error(disk, &path, "can not be made")?;
        disk.delete(&new).map_err(io::Error::other).or_disk_error(disk, &new, "can not be deleted")?;
        disk.sync_dir(dir).map_err(io::Error::other).or_disk_error(disk, dir, "can not be synced")?;
        Ok(file)
    }

    fn parse(name: &str) -> Option<FileName> {
        let (start, writer) = name.strip_suffix(".log")?.split_once('-')?;
        Some(FileName { start: start.parse().ok()?, writer: writer.parse().ok()? })
    }
}

/// The files of a directory.
pub(crate) struct Files {
    /// Those in force, ascending.
    pub(crate) in_force: Vec<FileName>,
    /// Those that a later writer has replaced.
    pub(crate) replaced: Vec<FileName>,
}

impl Files {
    /// Lists a directory.
    pub(crate) fn list(disk: &dyn Disk, dir: &str) -> Result<Files, DiskError> {
        let names = disk.list(dir).or_disk_error(disk, dir, "can not be listed")?;
        let files = names.iter().filter_map(|name| FileName::parse(name)).collect();
        Ok(Files::among(files, &notes::first_begun(disk, dir)?))
    }

    /// Removes what never got its name. Whoever writes in it still was replaced.
    pub(crate) fn clear_unnamed(disk: &dyn Disk, dir: &str) -> Result<(), DiskError> {
        delete_prefixed(disk, dir, NEW_PREFIX)
    }

    /// A writer starts where all before is durable and nothing behind is anybody's yet, so a file of an older writer that starts there
    /// or behind it is void: that writer woke up after it had been replaced. `began` holds the first file of every writer that noted
    /// one, which may be gone.
    fn among(mut files: Vec<FileName>, began: &[FileName]) -> Files {
        files.sort_by_key(|file| (file.start, std::cmp::Reverse(file.writer)));
        let mut last_writer = 0;
        let (in_force, replaced) = files.into_iter().partition(|file| {
            let later = |other: &&FileName| file.writer < other.writer && other.start <= file.start;
            let in_force = last_writer <= file.writer && !began.iter().any(|other| later(&other));
            last_writer = last_writer.max(file.writer);
            in_force
        });
        Files { in_force, replaced }
    }
}

/// The name of a file in its path.
pub(super) fn of_path(path: &str) -> Option<FileName> {
    FileName::parse(path.rsplit('/').next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(start: u64, writer: u32) -> FileName {
        FileName { start, writer }
    }

    #[test]
    fn a_later_writer_voids_what_starts_at_its_start_or_behind_it() {
        let files =
            Files::among(vec![file(50, 1), file(0, 1), file(30, 2), file(30, 1), file(40, 2), file(20, 1)], &[]);
        assert_eq!(files.in_force, [file(0, 1), file(20, 1), file(30, 2), file(40, 2)]);
        assert_eq!(files.replaced, [file(30, 1), file(50, 1)]);
    }

    #[test]
    fn a_later_writer_voids_it_also_when_its_own_first_file_has_gone() {
        let files = Files::among(vec![file(30, 1), file(40, 1), file(50, 2)], &[file(0, 1), file(30, 2), file(60, 3)]);
        assert_eq!(files.in_force, [file(50, 2)]);
        assert_eq!(files.replaced, [file(30, 1), file(40, 1)]);
    }

    #[test]
    fn names_sort_as_their_starts_and_are_read_back() {
        let path = file(1 << 47, 12).path("log/0000");
        assert_eq!(path, "log/0000/140737488355328-00000012.log");
        assert_eq!(FileName::parse(path.rsplit('/').next().unwrap()), Some(file(1 << 47, 12)));
        assert_eq!(FileName::parse("store.json"), None);
    }
}
