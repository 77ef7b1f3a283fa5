//! Names of files that writers number on: where a file starts, and who wrote it.

use crate::disk::{Disk, DiskError, OrDiskError as _};

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
        Ok(Files::among(names.iter().filter_map(|name| FileName::parse(name)).collect()))
    }

    /// A writer starts at the end that it found, so a file of an older writer that starts there or behind it is void: that
    /// writer woke up after it had been replaced.
    fn among(mut files: Vec<FileName>) -> Files {
        files.sort_by_key(|file| (file.start, std::cmp::Reverse(file.writer)));
        let mut last_writer = 0;
        let (in_force, replaced) = files.into_iter().partition(|file| {
            let in_force = last_writer <= file.writer;
            last_writer = last_writer.max(file.writer);
            in_force
        });
        Files { in_force, replaced }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(start: u64, writer: u32) -> FileName {
        FileName { start, writer }
    }

    #[test]
    fn a_later_writer_voids_what_starts_at_its_start_or_behind_it() {
        let files = Files::among(vec![file(50, 1), file(0, 1), file(30, 2), file(30, 1), file(40, 2), file(20, 1)]);
        assert_eq!(files.in_force, [file(0, 1), file(20, 1), file(30, 2), file(40, 2)]);
        assert_eq!(files.replaced, [file(30, 1), file(50, 1)]);
    }

    #[test]
    fn names_sort_as_their_starts_and_are_read_back() {
        let path = file(1 << 47, 12).path("log/0000");
        assert_eq!(path, "log/0000/140737488355328-00000012.log");
        assert_eq!(FileName::parse(path.rsplit('/').next().unwrap()), Some(file(1 << 47, 12)));
        assert_eq!(FileName::parse("store.json"), None);
    }
}
