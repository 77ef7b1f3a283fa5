//! Where a store's checkpoints are. A directory whose checkpoints are in an object store has a note that says so, and its `runs` are
//! copies then: nobody takes them for the whole.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

#[cfg(feature = "object-store")]
use super::bucket::BucketError;
use crate::data_dir::DataDir;
#[cfg(feature = "object-store")]
use crate::disk::write_anew;
use crate::disk::{DiskError, OrDiskError as _};

/// The note.
const PLACE_FILE: &str = "checkpoints.json";
/// What it is called until it is whole.
#[cfg(feature = "object-store")]
const NEW_PLACE_FILE: &str = "checkpoints.json.new";
/// Its format.
const FORMAT: u64 = 1;

/// Where checkpoints are to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// In the data directory.
    #[default]
    Directory,
    /// In an object store.
    Bucket(BucketSettings),
}

/// An object store, and how to reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketSettings {
    /// `s3://bucket/prefix`, or with `gs` or `az`; no slash at its end.
    pub url: String,
    /// Options of the crate `object_store`, by name. The value of `X_file` is a path, and the file there holds the value of `X`.
    pub options: BTreeMap<String, String>,
    /// How long one request may take, with its repetitions.
    pub timeout: Duration,
}

/// Why checkpoint files can not be used, in words for the person who has to act.
#[derive(Debug, Error)]
pub enum PlaceError {
    /// They are in another place than the settings say.
    #[error(
        "{dir}: the checkpoints of this store are in {noted}, and the settings say {asked}; start with store.checkpoints = \
         {noted:?}"
    )]
    Elsewhere {
        /// The data directory.
        dir: String,
        /// Where they are.
        noted: String,
        /// Where they should be.
        asked: String,
    },
    /// They are to move, and only the process that writes may move them.
    #[error(
        "{dir}: the checkpoints of this store are in the directory still; they move to {asked} when recount serve is started with \
         these settings"
    )]
    NotMoved {
        /// The data directory.
        dir: String,
        /// Where they should be.
        asked: String,
    },
    /// The note can not be read.
    #[error("{file}: is damaged ({what}); restore this file from a backup")]
    NoteDamaged {
        /// The file.
        file: String,
        /// What is wrong with it.
        what: String,
    },
    /// They are in an object store, and this program can not reach any.
    #[error(
        "store.checkpoints names an object store, and this recount is built without; build it with --features object-store"
    )]
    NoBuckets,
    /// The object store refuses, or can not be reached.
    #[cfg(feature = "object-store")]
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl PlaceError {
    /// Whether the same call may succeed later with nothing changed by a person.
    pub fn is_retryable(&self) -> bool {
        match self {
            #[cfg(feature = "object-store")]
            PlaceError::Bucket(error) => error.is_retryable(),
            PlaceError::Disk(error) => error.is_full(),
            _ => false,
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    format: u64,
    checkpoints: String,
}

/// The object store that the note names; `None` where there is no note, and they are in the directory.
pub(super) fn noted(dir: &DataDir) -> Result<Option<String>, PlaceError> {
    let disk = &*dir.disk();
    let bytes = match disk.read(PLACE_FILE) {
        Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(None),
        read => read.or_disk_error(disk, PLACE_FILE, "can not be read")?,
    };
    let damaged = |what: String| PlaceError::NoteDamaged { file: disk.place(PLACE_FILE), what };
    let note: Note = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
    match note.format {
        FORMAT => Ok(Some(note.checkpoints)),
        format => Err(damaged(format!("its format is {format}, and this version of Recount reads {FORMAT}"))),
    }
}

/// Refuses to look for checkpoints where they are not.
pub(super) fn check(dir: &DataDir, noted: Option<&str>, place: &Place) -> Result<(), PlaceError> {
    let at = || dir.disk().place("");
    match (noted, place) {
        (None, Place::Directory) => Ok(()),
        (Some(noted), Place::Bucket(asked)) if noted == asked.url => Ok(()),
        (None, Place::Bucket(_)) if dir.is_writer() => Ok(()),
        (None, Place::Bucket(asked)) => Err(PlaceError::NotMoved { dir: at(), asked: asked.url.clone() }),
        (Some(noted), asked) => {
            let asked = match asked {
                Place::Directory => "nothing of an object store".to_owned(),
                Place::Bucket(asked) => asked.url.clone(),
            };
            Err(PlaceError::Elsewhere { dir: at(), noted: noted.to_owned(), asked })
        }
    }
}

/// Notes that the checkpoints are in an object store from now on.
#[cfg(feature = "object-store")]
pub(super) fn note(dir: &DataDir, url: &str) -> Result<(), DiskError> {
    let disk = &*dir.disk();
    let note = Note { format: FORMAT, checkpoints: url.to_owned() };
    let text = serde_json::to_string_pretty(&note).expect("strings and numbers are JSON") + "\n";
    write_anew(disk, NEW_PLACE_FILE, text.as_bytes())?;
    disk.rename(NEW_PLACE_FILE, PLACE_FILE).or_disk_error(disk, PLACE_FILE, "can not be made")?;
    disk.sync_dir("").or_disk_error(disk, "", "can not be synced")
}
