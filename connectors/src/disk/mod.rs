//! The disk: every file that outlives the process goes through one small, blocking trait.
//!
//! [`SystemDisk`] is a directory of the system. The tests have another, in memory, that loses what was not synced, tears
//! writes and fails on demand; a crash point is the kind of a call and the kind of its file, so nothing durable happens
//! without a name. Paths are relative to the disk's root, with `/` between names.
//!
//! What is durable when:
//!
//! - bytes of a file, and its length: after [`DiskFile::sync_data`];
//! - names (made, linked, renamed, deleted): after [`Disk::sync_dir`] of their directory.
//!
//! Everything else a power cut may undo, wholly or in part, and in any order. [`SyncTimes`] tells how long syncs took.

mod error;
mod map;
mod syncs;
mod system;

use std::io;
use std::sync::Arc;

use recount_dataflow::store::Mapped;

pub(crate) use error::OrDiskError;
pub use error::{DiskError, is_full};
pub(crate) use syncs::SyncClock;
pub use syncs::{SYNC_BUCKETS_US, SyncTimes};
pub use system::SystemDisk;

/// A tree of named files.
pub trait Disk: Send + Sync + 'static {
    /// How a person finds the file: for messages.
    fn place(&self, path: &str) -> String;

    /// Makes a directory, and those above it; that it is there already is no error.
    ///
    /// # Errors
    /// What the system said.
    fn create_dir(&self, path: &str) -> io::Result<()>;

    /// Makes an empty file, for writing and reading.
    ///
    /// # Errors
    /// `AlreadyExists` where the name is taken; else what the system said.
    fn create_new(&self, path: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file for reading.
    ///
    /// # Errors
    /// `NotFound` where there is none; else what the system said.
    fn open(&self, path: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Whether there is such a file or directory.
    ///
    /// # Errors
    /// What the system said.
    fn exists(&self, path: &str) -> io::Result<bool>;

    /// Gives a file a second name, and never takes a name from another.
    ///
    /// # Errors
    /// `AlreadyExists` where the new name is taken; else what the system said.
    fn link(&self, from: &str, to: &str) -> io::Result<()>;

    /// Renames a file; one that had the new name is replaced.
    ///
    /// # Errors
    /// What the system said.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Deletes a file; that it is not there is no error. Who has it open or mapped keeps it.
    ///
    /// # Errors
    /// What the system said.
    fn delete(&self, path: &str) -> io::Result<()>;

    /// The names in a directory, sorted.
    ///
    /// # Errors
    /// What the system said.
    fn list(&self, path: &str) -> io::Result<Vec<String>>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// What the system said. Afterwards nothing is known of the names that changed, and the caller stops.
    fn sync_dir(&self, path: &str) -> io::Result<()>;

    /// A file's bytes, for as long as they are held; they are read when they are looked at, and start at a multiple of 64 in
    /// memory. Only for files that are never written again.
    ///
    /// # Errors
    /// What the system said.
    fn map(&self, path: &str) -> io::Result<Arc<dyn Mapped>>;

    /// Takes the lock of a file, which is made where it is not there, and writes `owner` into it. The lock ends when it is
    /// dropped, and with the process.
    ///
    /// # Errors
    /// `WouldBlock` where another holds it; else what the system said.
    fn lock(&self, path: &str, owner: &str) -> io::Result<Box<dyn Lock>>;

    /// All bytes of a file.
    ///
    /// # Errors
    /// What the system said.
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        let file = self.open(path)?;
        let mut bytes = vec![0; file.length()? as usize];
        let read = read_up_to(&*file, &mut bytes, 0)?;
        bytes.truncate(read);
        Ok(bytes)
    }
}

/// An open file.
pub trait DiskFile: Send + Sync {
    /// Writes all of `bytes` at `at`, over what is there or past the end.
    ///
    /// # Errors
    /// What the system said; some of the bytes may have been written.
    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;

    /// Reads some bytes at `at`, 0 at the end.
    ///
    /// # Errors
    /// What the system said.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize>;

    /// The length in bytes.
    ///
    /// # Errors
    /// What the system said.
    fn length(&self) -> io::Result<u64>;

    /// Cuts the file to `length` bytes.
    ///
    /// # Errors
    /// What the system said.
    fn truncate(&self, length: u64) -> io::Result<()>;

    /// Makes bytes and length durable.
    ///
    /// # Errors
    /// What the system said. Afterwards nothing is known of what was written since the last success: another sync may succeed
    /// and mean nothing, so the caller stops.
    fn sync_data(&self) -> io::Result<()>;
}

/// A lock that is held.
pub trait Lock: Send + Sync {}

/// Writes a file that was not there, durably but for its name. Whoever gives it a name for good makes that durable too.
///
/// # Errors
/// Where the disk fails.
pub(crate) fn write_anew(disk: &dyn Disk, path: &str, bytes: &[u8]) -> Result<(), DiskError> {
    // A crash may have left one.
    disk.delete(path).or_disk_error(disk, path, "can not be deleted")?;
    let file = disk.create_new(path).or_disk_error(disk, path, "can not be made")?;
    file.write_all_at(bytes, 0).or_disk_error(disk, path, "can not be written")?;
    file.sync_data().or_disk_error(disk, path, "can not be synced")
}

/// Deletes the files of a directory whose names begin so.
///
/// # Errors
/// Where the disk fails.
pub(crate) fn delete_prefixed(disk: &dyn Disk, dir: &str, prefix: &str) -> Result<(), DiskError> {
    let names = disk.list(dir).or_disk_error(disk, dir, "can not be listed")?;
    for name in names.iter().filter(|name| name.starts_with(prefix)) {
        let path = format!("{dir}/{name}");
        disk.delete(&path).or_disk_error(disk, &path, "can not be deleted")?;
    }
    Ok(())
}

/// Fills `buffer` from `at` on, and says how much of it: less than all at the file's end.
///
/// # Errors
/// What the system said.
pub(crate) fn read_up_to(file: &dyn DiskFile, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(cause),
        }
    }
    Ok(filled)
}
