//! The fence: of all writers that a directory ever had, one is the last.

use std::io::ErrorKind;
use std::sync::Arc;

use thiserror::Error;

use super::notes::Notes;
use super::{WRITERS_DIR, sync_dir};
use crate::disk::{Disk, DiskError, OrDiskError as _};

/// This writer's number, and whether there is a later one.
#[derive(Clone)]
pub struct Fence {
    disk: Arc<dyn Disk>,
    writer: u32,
    notes: Notes,
    successor: Arc<str>,
}

/// Why a writer has to end.
#[derive(Debug, Error)]
pub enum Fenced {
    /// Another one took over.
    #[error(
        "{dir}: writer {writer} was replaced by a later one, so this process must end; nothing that it acknowledged is \
         lost. Run one process a data directory"
    )]
    Replaced {
        /// The directory.
        dir: String,
        /// This writer's number.
        writer: u32,
    },
    /// It can not be known.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl Fence {
    pub(super) fn new(disk: Arc<dyn Disk>, writer: u32, notes: Notes) -> Self {
        Fence { disk, writer, notes, successor: path(writer + 1).into() }
    }

    /// What this writer has begun is noted here.
    pub(crate) fn notes(&self) -> &Notes {
        &self.notes
    }

    /// The writer's epoch: its number among all writers that this directory had, from 1.
    pub fn writer(&self) -> u32 {
        self.writer
    }

    /// Whether this is still the last writer. It is asked after every sync, before anybody learns of what was synced.
    ///
    /// # Errors
    /// Where it is not, or where it can not be known: this process ends.
    pub fn check(&self) -> Result<(), Fenced> {
        // Writers are numbered without gaps and their files are never deleted, so it is enough to look for the next one.
        let replaced = self.disk.exists(&self.successor).or_disk_error(
            &*self.disk,
            &self.successor,
            "it can not be seen whether there is a later writer",
        )?;
        match replaced {
            true => Err(Fenced::Replaced { dir: self.disk.place(""), writer: self.writer }),
            false => Ok(()),
        }
    }
}

fn path(writer: u32) -> String {
    format!("{WRITERS_DIR}/{writer:08}")
}

/// Becomes the next writer. Of two that try at once, the one that comes second becomes the one after.
pub(super) fn take_turn(disk: &dyn Disk) -> Result<(u32, Notes), DiskError> {
    loop {
        let names = disk.list(WRITERS_DIR).or_disk_error(disk, WRITERS_DIR, "can not be listed")?;
        let last = names.iter().filter_map(|name| name.parse::<u32>().ok()).max().unwrap_or(0);
        let path = path(last + 1);
        match disk.create_new(&path) {
            Ok(file) => {
                sync_dir(disk, WRITERS_DIR)?;
                return Ok((last + 1, Notes::new(path, file)));
            }
            Err(cause) if cause.kind() == ErrorKind::AlreadyExists => {}
            Err(cause) => return Err(cause).or_disk_error(disk, &path, "can not be made"),
        }
    }
}
