//! The store: objects under a prefix, and copies of them in the data directory.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use recount_dataflow::store::{Mapped, NewFile, Store};

use super::client::{Client, Put};
use super::{BucketError, owner, settings, transfer};
use crate::data_dir::DataDir;
use crate::store::{BucketSettings, DirectoryStore, Unnamed};

/// Where checkpoints are, of every generation.
const RUNS_KEY: &str = "runs";

/// Checkpoint files in an object store.
#[derive(Clone)]
pub struct BucketStore {
    client: Arc<Client>,
    copies: DirectoryStore,
    /// The key of this generation's files.
    runs: Arc<str>,
    is_writer: bool,
    /// What one who only reads has fetched. His copies have no names, so they are gone with him.
    fetched: Arc<Mutex<BTreeMap<String, Arc<dyn Mapped>>>>,
    has_forgotten: Arc<AtomicBool>,
}

impl BucketStore {
    /// The checkpoint files of a data directory. Where that is open for writing, the prefix becomes its store's, and this process
    /// the one that writes there; what is of another generation is removed.
    ///
    /// # Errors
    /// Where the object store can not be reached, does not know put-if-absent, or belongs to another store; where another process
    /// took this one's number as a writer; and where the disk fails.
    pub fn open(dir: &DataDir, settings: &BucketSettings) -> Result<BucketStore, BucketError> {
        let (objects, prefix) = settings::objects(settings)?;
        let client = Client::new(objects, prefix, settings.url.clone(), settings.timeout)?;
        BucketStore::over(client, dir)
    }

    pub(super) fn over(client: Client, dir: &DataDir) -> Result<BucketStore, BucketError> {
        match dir.is_writer() {
            true => owner::take(&client, dir)?,
            false => owner::check(&client, dir)?,
        }
        let store = BucketStore::of(Arc::new(client), dir)?;
        if store.is_writer {
            store.clear_others()?;
        }
        Ok(store)
    }

    /// The files of the generation that the directory has begun since.
    pub(crate) fn of_generation(&self, dir: &DataDir) -> Result<BucketStore, BucketError> {
        BucketStore::of(Arc::clone(&self.client), dir)
    }

    fn of(client: Arc<Client>, dir: &DataDir) -> Result<BucketStore, BucketError> {
        Ok(BucketStore {
            client,
            copies: DirectoryStore::open(dir)?,
            runs: dir.runs_dir().into(),
            is_writer: dir.is_writer(),
            fetched: Arc::default(),
            has_forgotten: Arc::default(),
        })
    }

    /// Puts what is in the data directory, and nowhere else yet. Manifests come last: what they name is there then.
    pub(crate) fn move_in(&self) -> Result<(), BucketError> {
        let names = self.copies.list().map_err(BucketError::Copy)?;
        let (manifests, packs): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| name.ends_with(".manifest"));
        for name in packs.iter().chain(&manifests) {
            let file = self.copies.open_file(name).map_err(BucketError::Copy)?;
            let length = file.length().map_err(BucketError::Copy)?;
            // One that is taken was put by an attempt that was broken off.
            let put = transfer::put(&self.client, &self.key(name), &*file, length)?;
            tracing::info!(name, length, ?put, "a file of a checkpoint moves to the object store");
        }
        Ok(())
    }

    /// Deletes what is of other generations.
    pub(crate) fn clear_others(&self) -> Result<(), BucketError> {
        let of_other = |key: &&String| {
            let dir = key.split('/').next().unwrap_or_default();
            dir.starts_with(RUNS_KEY) && dir != &*self.runs
        };
        self.client.list("")?.iter().filter(of_other).try_for_each(|key| self.client.delete(key))
    }

    fn key(&self, name: &str) -> String {
        format!("{}/{name}", self.runs)
    }

    fn fetched(&self) -> MutexGuard<'_, BTreeMap<String, Arc<dyn Mapped>>> {
        self.fetched.lock().expect("nothing panics while it holds what was fetched")
    }

    /// Fetches an object to a file without a name.
    fn fetch(&self, name: &str) -> io::Result<Unnamed> {
        let copy = self.copies.create_unnamed(name)?;
        transfer::fetch(&self.client, &self.key(name), &copy.file())?;
        Ok(copy)
    }

    fn map_copy(&self, name: &str) -> io::Result<Arc<dyn Mapped>> {
        match self.copies.map(name) {
            Err(cause) if cause.kind() == ErrorKind::NotFound => {}
            mapped => return mapped,
        }
        let mut copy = self.fetch(name)?;
        copy.sync()?;
        copy.link()?;
        self.copies.map(name)
    }

    fn map_fetched(&self, name: &str) -> io::Result<Arc<dyn Mapped>> {
        if let Some(mapped) = self.fetched().get(name) {
            return Ok(Arc::clone(mapped));
        }
        let mapped = self.fetch(name)?.map().map_err(|cause| match cause.kind() {
            // That would say that the object is missing.
            ErrorKind::NotFound => {
                io::Error::other(format!("{cause}; a service that has started took it away, try again"))
            }
            _ => cause,
        })?;
        self.fetched().insert(name.to_owned(), Arc::clone(&mapped));
        Ok(mapped)
    }
}

impl Store for BucketStore {
    fn create(&self, name: &str) -> io::Result<Box<dyn NewFile>> {
        assert!(self.is_writer, "{name} is made by one who only reads");
        let copy = self.copies.create_unnamed(name)?;
        Ok(Box::new(NewObject { store: self.clone(), name: name.to_owned(), copy }))
    }

    fn map(&self, name: &str) -> io::Result<Arc<dyn Mapped>> {
        if self.is_writer { self.map_copy(name) } else { self.map_fetched(name) }
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let keys = self.client.list(&self.runs)?;
        let own = |key: String| Some(key.strip_prefix(&*self.runs)?.strip_prefix('/')?.to_owned());
        let names: BTreeSet<String> = keys.into_iter().filter_map(own).collect();
        // Somebody may have deleted objects whose copies are here.
        match self.is_writer {
            true => {
                let copies = self.copies.list()?;
                copies.iter().filter(|copy| !names.contains(*copy)).try_for_each(|copy| self.copies.delete(copy))?;
            }
            false => self.fetched().retain(|name, _| names.contains(name)),
        }
        Ok(names.into_iter().collect())
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        self.client.delete(&self.key(name))?;
        self.copies.delete(name)
    }

    fn forget_copies(&self) -> io::Result<bool> {
        // What is fetched again is no copy of before.
        if !self.is_writer || self.has_forgotten.swap(true, Ordering::Relaxed) {
            return Ok(false);
        }
        let copies = self.copies.list()?;
        copies.iter().try_for_each(|copy| self.copies.delete(copy))?;
        Ok(!copies.is_empty())
    }
}

/// An object to be.
struct NewObject {
    store: BucketStore,
    name: String,
    copy: Unnamed,
}

impl NewFile for NewObject {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.copy.write_all(bytes)
    }

    fn finish(self: Box<Self>) -> io::Result<()> {
        let NewObject { store, name, mut copy } = *self;
        copy.sync()?;
        let key = store.key(&name);
        match transfer::put(&store.client, &key, &*copy.file(), copy.length())? {
            Put::Made => {}
            Put::Taken => return Err(BucketError::Taken { object: store.client.object(&key) }.into()),
        }
        // Where there was none, a file of the name is a copy of what somebody has deleted.
        store.copies.delete(&name)?;
        copy.link()
    }
}
