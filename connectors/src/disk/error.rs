//! What the system said, with what was being done and where.

use std::io;

use thiserror::Error;

use super::Disk;

/// A call of the disk that failed.
#[derive(Debug, Error)]
#[error("{place}: {action}: {cause}{}", advice(cause))]
pub struct DiskError {
    /// What could not be done, for example "can not be read".
    pub action: &'static str,
    /// The file or directory.
    pub place: String,
    /// What the system said.
    pub cause: io::Error,
}

impl DiskError {
    /// Whether there was no room.
    pub fn is_full(&self) -> bool {
        is_full(&self.cause)
    }
}

/// Whether the disk, or this user's share of it, is full: it heals when somebody makes room.
pub fn is_full(cause: &io::Error) -> bool {
    matches!(cause.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn advice(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; make room",
        io::ErrorKind::PermissionDenied => "; give this user the right to it",
        _ => "",
    }
}

/// Says where an error of the disk arose.
pub(crate) trait OrDiskError<T> {
    /// The same, with the path and what was being done to it.
    fn or_disk_error(self, disk: &dyn Disk, path: &str, action: &'static str) -> Result<T, DiskError>;
}

impl<T> OrDiskError<T> for io::Result<T> {
    fn or_disk_error(self, disk: &dyn Disk, path: &str, action: &'static str) -> Result<T, DiskError> {
        self.map_err(|cause| DiskError { action, place: disk.place(path), cause })
    }
}
