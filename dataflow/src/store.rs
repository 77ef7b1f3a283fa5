//! What the engine asks of the place where its files outlive it.

use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::domain::fact::Position;

/// A flat directory of files that are written once: a file is there whole, or it is not there.
pub trait Store: Send + Sync + 'static {
    /// Starts a new file. It has no name before [`NewFile::finish`].
    ///
    /// # Errors
    /// What the system said.
    fn create(&self, name: &str) -> io::Result<Box<dyn NewFile>>;

    /// The bytes of a file, without reading them yet. They start at a multiple of 64 bytes in memory.
    ///
    /// # Errors
    /// What the system said; `NotFound` where there is no such file.
    fn map(&self, name: &str) -> io::Result<Arc<dyn Mapped>>;

    /// The names of all files, sorted.
    ///
    /// # Errors
    /// What the system said.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Removes a file; that it is not there is no error.
    ///
    /// # Errors
    /// What the system said.
    fn delete(&self, name: &str) -> io::Result<()>;

    /// Lets go of the copies that this store answers from, where it has any, so that what is mapped next is read where it is kept.
    /// False where there is nothing to let go of: reading again would come to the same.
    ///
    /// # Errors
    /// What the system said.
    fn forget_copies(&self) -> io::Result<bool> {
        Ok(false)
    }
}

/// The inside of an error of a store whose place does not answer, or refuses, for now: what was finished is kept, what failed may
/// or may not have come to be, and the same call may succeed later.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct Away(pub String);

impl Away {
    /// Whether an error is one of these.
    pub fn is(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|inner| inner.is::<Away>())
    }
}

/// A file being written.
pub trait NewFile: Send {
    /// Appends bytes.
    ///
    /// # Errors
    /// What the system said.
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Gives the file its name. When this returns, the file survives a power cut.
    ///
    /// # Errors
    /// `AlreadyExists` where the name is taken: nothing is ever overwritten. Else what the system said; after a failed sync
    /// nothing is known of the file, and the caller stops.
    fn finish(self: Box<Self>) -> io::Result<()>;
}

/// The bytes of a file that stays readable for as long as this is held, deleted or not.
pub trait Mapped: Send + Sync {
    /// The bytes.
    fn bytes(&self) -> &[u8];

    /// Copies the bytes at `at` out. What the device can not read is an error here; to whoever looks at [`bytes`](Mapped::bytes) the
    /// system can only say it by ending the process.
    ///
    /// # Errors
    /// What the system said; `UnexpectedEof` where there are not so many.
    fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        let end = at.checked_add(buffer.len() as u64).filter(|end| *end <= self.bytes().len() as u64);
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(&self.bytes()[at as usize..end as usize]);
        Ok(())
    }
}

/// Some bytes of a file, with their checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u64, u64, u64, u32)", into = "(u64, u64, u64, u32)")]
pub(crate) struct Place {
    /// The number of the pack.
    pub(crate) pack: u64,
    /// Where they start in it.
    pub(crate) at: u64,
    /// How many there are.
    pub(crate) bytes: u64,
    /// Their CRC-32.
    pub(crate) crc: u32,
}

impl From<(u64, u64, u64, u32)> for Place {
    fn from((pack, at, bytes, crc): (u64, u64, u64, u32)) -> Self {
        Place { pack, at, bytes, crc }
    }
}

impl From<Place> for (u64, u64, u64, u32) {
    fn from(Place { pack, at, bytes, crc }: Place) -> Self {
        (pack, at, bytes, crc)
    }
}

/// What is fixed of an epoch: with the log it is enough to make the epoch again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochBinding {
    /// The epoch.
    pub epoch: u64,
    /// The next offset of every stream that has been read from, in order of streams.
    pub positions: Vec<Position>,
    /// W after the epoch; `None` before the first accepted click.
    pub watermark_ms: Option<i64>,
    /// The wall clock, ms since 1970.
    pub wall_ms: i64,
    /// Records delivered in the epoch.
    pub records_in: u64,
}

/// Where bindings are made durable, before anything of their epochs can be read or sent.
pub trait BindingSink: Send {
    /// Takes the next epoch's binding. When this returns, it survives a power cut.
    ///
    /// # Errors
    /// What the system said; the caller stops.
    fn bind(&mut self, binding: &EpochBinding) -> io::Result<()>;
}
