//! The data directory: who may write in it, and what it was made with.
//!
//! ```text
//! DIR/LOCK              held by the one process that writes
//! DIR/store.json        what the store was made with; made once
//! DIR/writers/NNNNNNNN  one file a writer: the fence, and what files it has begun
//! DIR/log/PPPP/         segments of a partition         (the log)
//! DIR/streams/          which streams there are         (streams; where records come from Kafka)
//! DIR/bindings/         what was bound to every epoch   (bindings)
//! DIR/runs/             checkpoints                     (store; copies, where they are in an object store)
//! DIR/checkpoints.json  which object store, where there is one
//! DIR/bindings-NNNNNN/  the same two, after everything was
//! DIR/runs-NNNNNN/      made anew from the log: of generation N
//! ```
//!
//! The lock keeps two processes apart on one machine. The fence holds where a lock does not: a writer that was stopped, lost its
//! lock and woke up, or a shared directory whose locks are not shared. Every writer makes the next file in `writers/`, which
//! succeeds for one alone, before it looks at anything else; and it checks after every sync, before anybody learns of what was
//! synced, that nobody made the file after its own. A new writer never appends to files of its predecessors: it starts its own,
//! whose names say where the older ones end.

mod error;
mod fence;
mod files;
mod generation;
mod notes;
mod store_file;

use std::io;
use std::sync::Arc;

use recount_dataflow::domain::fingerprint::HashKey;
use recount_dataflow::domain::rules::Rules;

use crate::checksum::Checksum;
use crate::disk::{Disk, DiskError, Lock, OrDiskError as _};

pub use error::{DataDirError, FinishError};
pub use fence::{Fence, Fenced};
pub(crate) use files::{FileName, Files};
pub(crate) use notes::Notes;
pub use store_file::{FORMAT, StoreSource};
use store_file::{STORE_FILE, StoreFile};

/// Where the lock is.
pub(crate) const LOCK_FILE: &str = "LOCK";
/// Where the fence is.
pub(crate) const WRITERS_DIR: &str = "writers";
/// Where the log is.
pub(crate) const LOG_DIR: &str = "log";
/// Where the list of streams is, in a store whose records come from Kafka.
pub(crate) const STREAMS_DIR: &str = "streams";
/// Where the bindings of a new store are.
const BINDINGS_DIR: &str = "bindings";
/// Where the checkpoints of a new store are.
const RUNS_DIR: &str = "runs";
const DIRS: [&str; 4] = [WRITERS_DIR, LOG_DIR, BINDINGS_DIR, RUNS_DIR];

/// What a new store gets, and keeps for good.
#[derive(Clone)]
pub struct NewStore {
    /// Its random identity.
    pub id: u64,
    /// The random secret from which ids get their fingerprints.
    pub hash_secret: [u8; 16],
    /// Where its records come from.
    pub source: StoreSource,
    /// Partitions of its log, from 1 to 4,096; where it has none it does not matter.
    pub partitions: u16,
}

/// The data directory. Without [`DataDir::fence`] it is only read.
pub struct DataDir {
    disk: Arc<dyn Disk>,
    store: StoreFile,
    writer: Option<Writer>,
}

/// What makes this process the one that writes.
struct Writer {
    epoch: u32,
    notes: Notes,
    _lock: Box<dyn Lock>,
}

impl DataDir {
    /// Opens the directory for writing, and makes the store where there is none. From here on no older writer acknowledges
    /// anything.
    ///
    /// # Errors
    /// Where another process holds it, where its format, its source or its rules are not ours, and where the disk fails.
    pub fn open(disk: Arc<dyn Disk>, new: &NewStore, rules: Rules) -> Result<DataDir, DataDirError> {
        DataDir::open_any(disk, Some((new, rules)))
    }

    /// Opens an existing store for writing, whatever its rules are: for `recount rebuild`, which then calls
    /// [`DataDir::begin_generation`].
    ///
    /// # Errors
    /// As [`DataDir::open`], and where there is no store.
    pub fn open_for_rebuild(disk: Arc<dyn Disk>) -> Result<DataDir, DataDirError> {
        DataDir::open_any(disk, None)
    }

    /// Opens an existing store for reading, beside the process that writes.
    ///
    /// # Errors
    /// Where there is no store, where its format is not ours, and where the disk fails.
    pub fn read_only(disk: Arc<dyn Disk>) -> Result<DataDir, DataDirError> {
        let store = StoreFile::load(&*disk)?.ok_or_else(|| DataDirError::NoStore { dir: disk.place("") })?;
        Ok(DataDir { disk, store, writer: None })
    }

    fn open_any(disk: Arc<dyn Disk>, new: Option<(&NewStore, Rules)>) -> Result<DataDir, DataDirError> {
        let lock = take_lock(&*disk)?;
        let found = StoreFile::load(&*disk)?;
        match (&found, new) {
            (Some(store), Some((new, rules))) => {
                store.check_source(&*disk, new.source)?;
                store.check_rules(&*disk, &rules)?;
                store.warn_of_partitions(new);
            }
            (Some(_), None) => {}
            (None, Some((new, _))) => {
                store_file::check_partitions(new)?;
                check_no_data(&*disk)?;
            }
            (None, None) => return Err(DataDirError::NoStore { dir: disk.place("") }),
        }
        make_dirs(&*disk)?;
        match (found, new) {
            (Some(store), rules) => {
                // Whoever makes everything anew does without the bindings.
                let bindings = rules.map(|_| generation::bindings_dir(store.generation));
                check_begun(&*disk, bindings.as_deref())?;
            }
            (None, new) => {
                let (new, rules) = new.expect("without a store and a new one nothing comes this far");
                StoreFile::create(&*disk, new, rules)?;
            }
        }
        // Who is refused has replaced nobody.
        let (epoch, notes) = fence::take_turn(&*disk)?;
        // Who was writer until now may have made another generation the store's.
        let store = StoreFile::load(&*disk)?.ok_or_else(|| DataDirError::NoStore { dir: disk.place("") })?;
        if let Some((_, rules)) = new {
            store.check_rules(&*disk, &rules)?;
        }
        let dir = DataDir { disk, store, writer: Some(Writer { epoch, notes, _lock: lock }) };
        // What a rebuild left that did not come to its end, or to its last step.
        generation::clear_others(&*dir.disk, dir.store.generation, &dir.fence())?;
        Ok(dir)
    }

    /// Begins the next generation, in which everything is made anew from the log, by these rules: from here on this directory's
    /// bindings and checkpoints are those of the next generation, of which there are none. The store itself stays as it was, for
    /// everybody and for whoever opens it next, until [`DataDir::finish_generation`].
    ///
    /// # Errors
    /// Where the disk fails.
    ///
    /// # Panics
    /// Where the directory was opened for reading.
    pub fn begin_generation(&mut self, rules: Rules) -> Result<(), DataDirError> {
        assert!(self.writer.is_some(), "a generation is begun by the process that writes");
        let next = self.store.generation + 1;
        for dir in [generation::bindings_dir(next), generation::runs_dir(next)] {
            self.disk.create_dir(&dir).or_disk_error(&*self.disk, &dir, "the directory can not be made")?;
        }
        sync_dir(&*self.disk, "")?;
        self.store = StoreFile { generation: next, rules, ..self.store.clone() };
        Ok(())
    }

    /// Makes the generation that was begun the store's, and deletes what was of the one before. A crash leaves one or the other.
    ///
    /// # Errors
    /// Where the disk fails, and where a later writer came.
    ///
    /// # Panics
    /// Where the directory was opened for reading.
    pub fn finish_generation(&self) -> Result<(), FinishError> {
        let fence = self.fence();
        self.store.prepare(&*self.disk).map_err(FinishError::DataDir)?;
        fence.check()?;
        self.store.replace(&*self.disk).map_err(FinishError::DataDir)?;
        Ok(generation::clear_others(&*self.disk, self.store.generation, &fence)?)
    }

    /// Refuses a directory in which the last file that was begun of a partition, or of the bindings, is gone: what looks like the end
    /// of the others is none. A directory that is opened for writing was looked at; one that is read may be, beside whoever writes.
    ///
    /// # Errors
    /// Where one is gone, and where the disk fails.
    pub fn check_begun(&self) -> Result<(), DataDirError> {
        let bindings = self.bindings_dir();
        let mut missing = None;
        loop {
            match check_begun(&*self.disk, Some(&bindings)) {
                // Who takes over deletes what it has replaced, once its own file is noted: it may be done by now.
                Err(DataDirError::FileMissing { file }) if missing.as_ref() != Some(&file) => missing = Some(file),
                checked => return checked,
            }
        }
    }

    /// Whether it was opened for writing.
    pub fn is_writer(&self) -> bool {
        self.writer.is_some()
    }

    /// The disk.
    pub fn disk(&self) -> Arc<dyn Disk> {
        Arc::clone(&self.disk)
    }

    /// The store's random identity.
    pub fn store_id(&self) -> u64 {
        self.store.id
    }

    /// What turns this store's ids into fingerprints.
    pub fn hash_key(&self) -> HashKey {
        HashKey::new(self.store.hash_secret)
    }

    /// Where its records come from, fixed when the store was made.
    pub fn source(&self) -> StoreSource {
        self.store.source
    }

    /// Partitions of the log, fixed when the store was made.
    pub fn partitions(&self) -> u16 {
        self.store.partitions
    }

    /// How often everything was made anew.
    pub fn generation(&self) -> u32 {
        self.store.generation
    }

    /// Where the bindings are.
    pub(crate) fn bindings_dir(&self) -> String {
        generation::bindings_dir(self.store.generation)
    }

    /// Where the checkpoints are.
    pub(crate) fn runs_dir(&self) -> String {
        generation::runs_dir(self.store.generation)
    }

    /// The settings that decide the store's results.
    pub fn rules(&self) -> Rules {
        self.store.rules
    }

    /// The settings in which rules that something here was made by differ from the store's, each with both values.
    pub fn differences(&self, made_by: &Rules) -> Vec<String> {
        store_file::differences(made_by, &self.store.rules)
    }

    /// What says whether this process is still the one that writes.
    ///
    /// # Panics
    /// Where the directory was opened for reading.
    pub fn fence(&self) -> Fence {
        let writer = self.writer.as_ref().expect("only a directory that was opened for writing has a writer");
        Fence::new(self.disk(), writer.epoch, writer.notes.clone())
    }

    pub(crate) fn checksum(&self) -> Checksum {
        Checksum::new(self.store.id)
    }
}

fn take_lock(disk: &dyn Disk) -> Result<Box<dyn Lock>, DataDirError> {
    let owner = format!("{}\n", std::process::id());
    match disk.lock(LOCK_FILE, &owner) {
        Ok(lock) => Ok(lock),
        Err(cause) if cause.kind() == std::io::ErrorKind::WouldBlock => {
            let holder = disk.read(LOCK_FILE).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            let pid = holder.and_then(|holder| holder.trim().parse().ok());
            Err(DataDirError::Locked { dir: disk.place(""), pid })
        }
        Err(cause) => Err(DiskError { action: "can not be locked", place: disk.place(LOCK_FILE), cause }.into()),
    }
}

/// Makes the directories that are not there.
fn make_dirs(disk: &dyn Disk) -> Result<(), DiskError> {
    for dir in DIRS {
        disk.create_dir(dir).or_disk_error(disk, dir, "the directory can not be made")?;
    }
    sync_dir(disk, "")
}

/// Refuses a directory in which the last file that was begun of a partition, or of the bindings, is gone.
fn check_begun(disk: &dyn Disk, bindings: Option<&str>) -> Result<(), DataDirError> {
    for (dir, file) in notes::last_begun(disk)? {
        let is_asked = dir.starts_with(LOG_DIR) || Some(dir.as_str()) == bindings;
        if is_asked && !disk.exists(&file).or_disk_error(disk, &file, "can not be looked at")? {
            return Err(DataDirError::FileMissing { file: disk.place(&file) });
        }
    }
    Ok(())
}

/// A new key over old data would give every id another fingerprint.
fn check_no_data(disk: &dyn Disk) -> Result<(), DataDirError> {
    for dir in [LOG_DIR, STREAMS_DIR, BINDINGS_DIR, RUNS_DIR] {
        let exists = disk.exists(dir).or_disk_error(disk, dir, "can not be looked at")?;
        if exists && !disk.list(dir).or_disk_error(disk, dir, "can not be listed")?.is_empty() {
            return Err(DataDirError::StoreFileMissing { file: disk.place(STORE_FILE) });
        }
    }
    Ok(())
}

fn sync_dir(disk: &dyn Disk, path: &str) -> Result<(), DiskError> {
    // A sync that fails for want of room has failed: who waits for room must not take the next one for it.
    disk.sync_dir(path).map_err(io::Error::other).or_disk_error(disk, path, "can not be synced")
}
