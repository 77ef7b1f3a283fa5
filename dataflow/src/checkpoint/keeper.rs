//! The checkpoints that there are.

use std::io;
use std::sync::Arc;

use crate::store::Store;

use super::manifest::{self, Manifest};
use super::{Checkpoint, CheckpointError};

/// The checkpoints of a store, to read.
#[derive(Clone)]
pub struct Checkpoints {
    store: Arc<dyn Store>,
}

/// What is known of a checkpoint from its manifest alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointInfo {
    /// Its number.
    pub number: u64,
    /// The epoch that it holds the state of.
    pub epoch: u64,
    /// The wall clock bound to that epoch, ms since 1970.
    pub wall_ms: i64,
    /// Who wrote it.
    pub writer: u64,
    /// The bytes of the packs that it needs; packs are shared with other checkpoints.
    pub bytes: u64,
}

/// A manifest that is there.
#[derive(Debug)]
pub struct Listed {
    /// The number in its name.
    pub number: u64,
    /// What it says, or why it can not be read.
    pub info: Result<CheckpointInfo, CheckpointError>,
}

/// A checkpoint that can not be used, and why.
#[derive(Debug)]
pub struct Damaged {
    /// Its number.
    pub number: u64,
    /// What is wrong.
    pub why: CheckpointError,
}

/// What looking for the newest usable checkpoint came to.
pub struct Found {
    /// The newest that can be used; `None` where there never was one.
    pub checkpoint: Option<Checkpoint>,
    /// Newer ones that can not, the newest first. Somebody should know.
    pub damaged: Vec<Damaged>,
}

impl Checkpoints {
    /// The checkpoints of a store.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Checkpoints { store }
    }

    /// Every manifest that is there, whether it can be read or not, oldest first.
    ///
    /// # Errors
    /// Where the store fails.
    pub fn list(&self) -> Result<Vec<Listed>, CheckpointError> {
        let mut list = Vec::new();
        for number in numbers(&*self.store)? {
            let info = match read_to_use(&*self.store, number) {
                Ok((manifest, _)) => Ok(info(&manifest)),
                // It has gone meanwhile.
                Err(CheckpointError::NotFound { .. }) => continue,
                Err(error) if error.is_damage() || matches!(error, CheckpointError::Format { .. }) => Err(error),
                Err(error) => return Err(error),
            };
            list.push(Listed { number, info });
        }
        Ok(list)
    }

    /// The newest checkpoint whose every byte is as it was written.
    ///
    /// # Errors
    /// [`CheckpointError::NoneUsable`] where there are some and none can be used, [`CheckpointError::Format`] where a later version
    /// wrote the newest; else where the store fails.
    pub fn newest(&self) -> Result<Found, CheckpointError> {
        self.newest_of(&numbers(&*self.store)?)
    }

    /// The newest checkpoint of an epoch up to `epoch_max` whose every byte is as it was written; the newest of all where none is
    /// that old.
    ///
    /// # Errors
    /// As [`newest`](Checkpoints::newest).
    pub fn newest_up_to(&self, epoch_max: u64) -> Result<Found, CheckpointError> {
        // One that can not be read may be as old as the one before it: it is tried, and told of.
        let mut epoch = 0;
        let mut old: Vec<(u64, u64)> = Vec::new();
        for Listed { number, info } in self.list()? {
            epoch = info.map_or(epoch, |info| info.epoch);
            old.push((epoch, number));
        }
        old.retain(|(epoch, _)| *epoch <= epoch_max);
        // A later number may hold an earlier epoch, where a start went back for a sink.
        old.sort_unstable();
        let old: Vec<u64> = old.into_iter().map(|(_, number)| number).collect();
        match self.newest_of(&old) {
            Ok(found @ Found { checkpoint: Some(_), .. }) => Ok(found),
            Ok(_) | Err(CheckpointError::NoneUsable { .. }) => self.newest(),
            Err(error) => Err(error),
        }
    }

    fn newest_of(&self, numbers: &[u64]) -> Result<Found, CheckpointError> {
        let mut damaged: Vec<Damaged> = Vec::new();
        for number in numbers.iter().rev() {
            match self.load(*number) {
                Ok(checkpoint) => return Ok(Found { checkpoint: Some(checkpoint), damaged }),
                Err(why) if why.is_damage() => damaged.push(Damaged { number: *number, why }),
                Err(error) => return Err(error),
            }
        }
        match damaged.first() {
            None => Ok(Found { checkpoint: None, damaged }),
            Some(Damaged { why, .. }) => {
                Err(CheckpointError::NoneUsable { count: numbers.len(), newest: why.to_string() })
            }
        }
    }

    /// One checkpoint, with every byte checked.
    ///
    /// # Errors
    /// Where it is not there, is damaged, or the store fails.
    pub fn load(&self, number: u64) -> Result<Checkpoint, CheckpointError> {
        match self.load_once(number) {
            // A copy may be damaged, and what it is a copy of whole.
            Err(error) if error.is_damage() && self.forget_copies()? => self.load_once(number),
            loaded => loaded,
        }
    }

    /// The same beside the process that writes; `None` where it has let go of the checkpoint meanwhile. What is loaded stays readable.
    ///
    /// # Errors
    /// Where it is there and damaged, or the store fails.
    pub fn load_kept(&self, number: u64) -> Result<Option<Checkpoint>, CheckpointError> {
        match self.load(number) {
            Err(error) if error.is_damage() && !numbers(&*self.store)?.contains(&number) => Ok(None),
            loaded => loaded.map(Some),
        }
    }

    fn load_once(&self, number: u64) -> Result<Checkpoint, CheckpointError> {
        let (manifest, _) = read_to_use(&*self.store, number)?;
        self.check_parent(&manifest)?;
        Checkpoint::load(&*self.store, manifest)
    }

    /// Refuses a manifest beside another parent than it was made after: the two are not of one history. A parent that has gone, or can
    /// not be read, says nothing.
    fn check_parent(&self, manifest: &Manifest) -> Result<(), CheckpointError> {
        let Some((number, crc)) = manifest.parent else { return Ok(()) };
        match read(&*self.store, number) {
            Ok((_, found)) if found != crc => {
                let what = format!("it was made after another checkpoint {number} than the one that is there");
                Err(CheckpointError::damaged(&manifest::file_name(manifest.number), what))
            }
            _ => Ok(()),
        }
    }

    fn forget_copies(&self) -> Result<bool, CheckpointError> {
        self.store.forget_copies().map_err(CheckpointError::store("copies of checkpoints", "deleting"))
    }
}

/// Reads one manifest.
pub(super) fn read(store: &dyn Store, number: u64) -> Result<(Manifest, u32), CheckpointError> {
    read_or(store, number, |name, cause| CheckpointError::store(name, "reading")(cause))
}

/// Reads one manifest to go on from it: where the device can not read it, an older one may do.
fn read_to_use(store: &dyn Store, number: u64) -> Result<(Manifest, u32), CheckpointError> {
    read_or(store, number, |name, cause| CheckpointError::damaged(name, format!("it can not be read: {cause}")))
}

fn read_or(
    store: &dyn Store,
    number: u64,
    unread: impl FnOnce(&str, io::Error) -> CheckpointError,
) -> Result<(Manifest, u32), CheckpointError> {
    let name = manifest::file_name(number);
    let file = match store.map(&name) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Err(CheckpointError::NotFound { number }),
        file => file.map_err(CheckpointError::store(&name, "reading"))?,
    };
    // Not through the mapping: what the device can not read would end the process.
    let mut bytes = vec![0; file.bytes().len()];
    file.read_exact_at(&mut bytes, 0).map_err(|cause| unread(&name, cause))?;
    Manifest::decode(&name, &bytes)
}

/// Reads the manifest that was restored and those before it that can be used, oldest first.
pub(super) fn up_to(store: &dyn Store, restored: u64) -> Result<Vec<(Manifest, u32)>, CheckpointError> {
    let read =
        |store: &dyn Store, number| if number == restored { read(store, number) } else { read_to_use(store, number) };
    whole(store, |number| number <= restored, read)
}

/// Reads the manifests that are there and whole, but for those that are known. That one can not be read for another reason is an
/// error: what it needs would be taken for garbage.
pub(super) fn others(store: &dyn Store, known: &[u64]) -> Result<Vec<(Manifest, u32)>, CheckpointError> {
    whole(store, |number| !known.contains(&number), read)
}

fn whole(
    store: &dyn Store,
    is_asked: impl Fn(u64) -> bool,
    read: impl Fn(&dyn Store, u64) -> Result<(Manifest, u32), CheckpointError>,
) -> Result<Vec<(Manifest, u32)>, CheckpointError> {
    let mut manifests = Vec::new();
    for number in numbers(store)?.into_iter().filter(|number| is_asked(*number)) {
        match read(store, number) {
            Ok(manifest) => manifests.push(manifest),
            Err(error) if error.is_damage() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(manifests)
}

fn numbers(store: &dyn Store) -> Result<Vec<u64>, CheckpointError> {
    let names = store.list().map_err(CheckpointError::store("the directory of checkpoints", "listing"))?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| manifest::number_of(name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

fn info(manifest: &Manifest) -> CheckpointInfo {
    CheckpointInfo {
        number: manifest.number,
        epoch: manifest.epoch,
        wall_ms: manifest.wall_ms,
        writer: manifest.writer,
        bytes: manifest.packs.iter().map(|pack| pack.bytes).sum(),
    }
}
