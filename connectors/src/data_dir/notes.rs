//! What a writer notes in its fence file: the files that it has begun.
//!
//! A file of the log, or of bindings, that is gone could not be missed by looking at the others: the one before it ends where that
//! one would have begun, as if a crash had come just then. So each is noted, durably, before anything is written to it, and whoever
//! opens the directory looks whether the last one noted of every directory is there. Retention and later writers delete others only.
//!
//! A note is a line: 8 hexadecimal digits, the CRC-32 of the path, and the path. What does not hold was torn in a crash.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use super::{FileName, WRITERS_DIR, files};
use crate::disk::{Disk, DiskError, DiskFile, OrDiskError as _};

/// A writer's notes, open for more; for any thread.
#[derive(Clone)]
pub(crate) struct Notes {
    path: Arc<str>,
    file: Arc<dyn DiskFile>,
    /// Bytes that hold notes.
    length: Arc<Mutex<u64>>,
}

impl Notes {
    /// In the empty file at `path`.
    pub(super) fn new(path: String, file: Arc<dyn DiskFile>) -> Self {
        Notes { path: path.into(), file, length: Arc::new(Mutex::new(0)) }
    }

    /// Notes files that were begun, durably. It is done before the first byte is written to any of them.
    ///
    /// # Errors
    /// Where the disk fails. Where it [is full](DiskError::is_full), nothing was noted, and nothing of it comes back: it may be tried
    /// again. Else it may have been noted.
    pub(crate) fn begun<'a>(&self, disk: &dyn Disk, files: impl IntoIterator<Item = &'a str>) -> Result<(), DiskError> {
        let lines: String = files.into_iter().map(line).collect();
        let mut length = self.length.lock().expect("nothing panics while it holds the notes");
        let written = self.file.write_all_at(lines.as_bytes(), *length);
        if let Err(cause) = written.or_disk_error(disk, &self.path, "can not be written") {
            let cut = self.file.truncate(*length);
            cut.map_err(io::Error::other).or_disk_error(disk, &self.path, "can not be cut")?;
            // What was written of it must not come back: the file that it names may be deleted now.
            self.sync(disk)?;
            return Err(cause);
        }
        self.sync(disk)?;
        *length += lines.len() as u64;
        Ok(())
    }

    /// The same, for as long as `on_full` says to try again where the disk is full.
    pub(crate) fn begun_in_time<'a>(
        &self,
        disk: &dyn Disk,
        files: impl IntoIterator<Item = &'a str> + Clone,
        mut on_full: impl FnMut(&DiskError) -> bool,
    ) -> Result<(), DiskError> {
        loop {
            match self.begun(disk, files.clone()) {
                Err(full) if full.is_full() && on_full(&full) => {}
                noted => return noted,
            }
        }
    }

    fn sync(&self, disk: &dyn Disk) -> Result<(), DiskError> {
        // A sync that fails for want of room has failed: it is not to be taken for a write that can be tried again.
        let synced = self.file.sync_data().map_err(io::Error::other);
        synced.or_disk_error(disk, &self.path, "can not be synced")
    }
}

/// The last file begun in each directory, by its path, as far as any writer has noted it.
pub(super) fn last_begun(disk: &dyn Disk) -> Result<BTreeMap<String, String>, DiskError> {
    let mut last = BTreeMap::new();
    for name in disk.list(WRITERS_DIR).or_disk_error(disk, WRITERS_DIR, "can not be listed")? {
        let path = format!("{WRITERS_DIR}/{name}");
        let bytes = disk.read(&path).or_disk_error(disk, &path, "can not be read")?;
        for noted in bytes.split(|byte| *byte == b'\n').filter_map(read) {
            if let Some((dir, _)) = noted.rsplit_once('/') {
                last.insert(dir.to_owned(), noted.to_owned());
            }
        }
    }
    Ok(last)
}

/// The first file that each writer has begun in a directory, as far as it has noted one.
pub(super) fn first_begun(disk: &dyn Disk, dir: &str) -> Result<Vec<FileName>, DiskError> {
    let mut first = Vec::new();
    for name in disk.list(WRITERS_DIR).or_disk_error(disk, WRITERS_DIR, "can not be listed")? {
        let path = format!("{WRITERS_DIR}/{name}");
        let bytes = disk.read(&path).or_disk_error(disk, &path, "can not be read")?;
        let mut noted = bytes.split(|byte| *byte == b'\n').filter_map(read);
        let is_in = |noted: &&str| noted.rsplit_once('/').is_some_and(|(of, _)| of == dir);
        first.extend(noted.find(is_in).and_then(files::of_path));
    }
    Ok(first)
}

/// A path as a line.
fn line(path: &str) -> String {
    format!("{:08x} {path}\n", crc32fast::hash(path.as_bytes()))
}

/// The path in a line; `None` where it does not hold.
fn read(line: &[u8]) -> Option<&str> {
    let (sum, path) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    (u32::from_str_radix(sum, 16) == Ok(crc32fast::hash(path.as_bytes()))).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_that_does_not_hold_is_none() {
        let whole = line("log/0000/000000000000000-00000001.log");
        assert_eq!(read(whole.trim_end().as_bytes()), Some("log/0000/000000000000000-00000001.log"));
        (0..whole.len() - 1).for_each(|cut| assert_eq!(read(&whole.as_bytes()[..cut]), None, "cut at {cut}"));
        assert_eq!(read(b"00000000 log/0000/a"), None);
        assert_eq!(read(b"\xff\xff"), None);
    }
}
