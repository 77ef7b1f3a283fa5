//! Why a data directory is refused.

use thiserror::Error;

use super::Fenced;
use crate::disk::DiskError;

/// Why a data directory is refused, in words for the person who has to act.
#[derive(Debug, Error)]
pub enum DataDirError {
    /// Another process writes in it.
    #[error(
        "{dir}: another process{} writes in it; stop that one first, or choose another directory",
        .pid.map_or_else(String::new, |pid| format!(" (pid {pid})"))
    )]
    Locked {
        /// The directory.
        dir: String,
        /// The other process, where it said so.
        pid: Option<u32>,
    },
    /// There is no store to read.
    #[error("{dir}: holds no store; check the path, or make one with recount serve --data-dir {dir}")]
    NoStore {
        /// The directory.
        dir: String,
    },
    /// A newer version of Recount made it.
    #[error(
        "{file}: the store has format {found}, and this version of Recount reads up to {known}; use a newer version"
    )]
    NewerFormat {
        /// The file that says so.
        file: String,
        /// The store's format.
        found: u64,
        /// The newest that can be read.
        known: u64,
    },
    /// The file that describes the store is damaged.
    #[error("{file}: is damaged ({what}); restore this file from a backup, the rest of the directory may be whole")]
    StoreFileDamaged {
        /// The file.
        file: String,
        /// What is wrong with it.
        what: String,
    },
    /// There are data, and the file that describes the store is gone.
    #[error("{file}: is missing, and there are data beside it that can not be read without; restore it from a backup")]
    StoreFileMissing {
        /// The file.
        file: String,
    },
    /// A file that a writer began is gone.
    #[error(
        "{file}: is missing, and it was the newest of its directory, so nothing else can tell what it held; restore it from a \
         backup; where it is of bindings, the store can be made anew from its log with: recount rebuild"
    )]
    FileMissing {
        /// The file.
        file: String,
    },
    /// Settings that decide results are not those that the store was made with.
    #[error(
        "{dir}: was made with other settings, and they decide what counts: {}; start with the old ones, or recount \
         everything by the new ones with: recount rebuild --data-dir {dir}",
        .differences.join(", ")
    )]
    RulesChanged {
        /// The directory.
        dir: String,
        /// Each setting that differs, with both values.
        differences: Vec<String>,
    },
    /// The store has a log of its own, and Kafka was asked for.
    #[error(
        "{dir}: this store keeps its records in a log of its own, and the settings have a [source.kafka]; take that out, or \
         choose another directory for what comes from Kafka"
    )]
    HasLog {
        /// The directory.
        dir: String,
    },
    /// The store's records come from Kafka, and that was not asked for.
    #[error(
        "{dir}: the records of this store come from Kafka; start with the settings that have its [source.kafka], by --config"
    )]
    OfKafka {
        /// The directory.
        dir: String,
    },
    /// More partitions than can be named, or none.
    #[error("a log has 1 to {max} partitions, not {partitions}")]
    Partitions {
        /// How many were asked for.
        partitions: u16,
        /// The most there can be.
        max: u16,
    },
    /// A later writer came meanwhile.
    #[error(transparent)]
    Fenced(#[from] Fenced),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl DataDirError {
    /// Whether the same call may succeed later with nothing changed by a person.
    pub fn is_retryable(&self) -> bool {
        matches!(self, DataDirError::Locked { .. })
    }
}

/// Why a generation could not be made the store's.
#[derive(Debug, Error)]
pub enum FinishError {
    /// `store.json` could not be replaced.
    #[error(transparent)]
    DataDir(DataDirError),
    /// This process is no longer the one that writes.
    #[error(transparent)]
    Fenced(#[from] Fenced),
    /// What was of the generation before could not be deleted; the store is the new one.
    #[error(transparent)]
    Disk(#[from] DiskError),
}
