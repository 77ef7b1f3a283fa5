//! A directory of files that are written once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use recount_dataflow::store::{Mapped, NewFile, Store};

use crate::data_dir::DataDir;
use crate::disk::{Disk, DiskError, DiskFile, OrDiskError as _, delete_prefixed};

/// What a file is called until it is whole.
const NEW_PREFIX: &str = ".new-";
/// Bytes that are gathered before they are written.
const BUFFER_BYTES: usize = 256 << 10;

/// The directory of checkpoints.
#[derive(Clone)]
pub struct DirectoryStore {
    disk: Arc<dyn Disk>,
    dir: Arc<str>,
    /// What the files of this process are called until they are whole.
    new_prefix: Arc<str>,
    made: Arc<AtomicU64>,
}

impl DirectoryStore {
    /// The store of a data directory. Where that is open for writing, what a crash left half written is removed, and what is there
    /// then is durable.
    ///
    /// # Errors
    /// Where the disk fails.
    pub fn open(dir: &DataDir) -> Result<DirectoryStore, DiskError> {
        let writer = dir.is_writer().then(|| dir.fence().writer());
        let (disk, dir) = (dir.disk(), dir.runs_dir());
        if writer.is_some() {
            delete_prefixed(&*disk, &dir, NEW_PREFIX)?;
            // A process may have been killed before it had synced a name it gave: retention goes by what is found here.
            disk.sync_dir(&dir).or_disk_error(&*disk, &dir, "can not be synced")?;
        }
        // Nobody gives a name to what somebody else is writing. Who reads beside the one that writes makes files as well, where they are
        // copies.
        let new_prefix = match writer {
            Some(writer) => format!("{NEW_PREFIX}{writer:08}-").into(),
            None => format!("{NEW_PREFIX}{}-", std::process::id()).into(),
        };
        Ok(DirectoryStore { disk, dir: dir.into(), new_prefix, made: Arc::new(AtomicU64::new(0)) })
    }

    /// A file to be, which has no name yet.
    pub(crate) fn create_unnamed(&self, name: &str) -> io::Result<Unnamed> {
        assert!(!name.starts_with('.') && !name.contains('/'), "{name} is no name for a file of a checkpoint");
        let new_path = self.path(&format!("{}{}-{name}", self.new_prefix, self.made.fetch_add(1, Ordering::Relaxed)));
        let file = self.disk.create_new(&new_path).map_err(|cause| said(&*self.disk, &new_path, "made", cause))?;
        let (disk, buffer) = (Arc::clone(&self.disk), Vec::with_capacity(BUFFER_BYTES));
        Ok(Unnamed { disk, file, new_path, dir: Arc::clone(&self.dir), path: self.path(name), length: 0, buffer })
    }

    /// A file, to read.
    #[cfg(feature = "object-store")]
    pub(crate) fn open_file(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let path = self.path(name);
        self.disk.open(&path).map_err(|cause| said(&*self.disk, &path, "opened", cause))
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.dir)
    }
}

impl Store for DirectoryStore {
    fn create(&self, name: &str) -> io::Result<Box<dyn NewFile>> {
        Ok(Box::new(self.create_unnamed(name)?))
    }

    fn map(&self, name: &str) -> io::Result<Arc<dyn Mapped>> {
        let path = self.path(name);
        self.disk.map(&path).map_err(|cause| said(&*self.disk, &path, "mapped", cause))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = self.disk.list(&self.dir).map_err(|cause| said(&*self.disk, &self.dir, "listed", cause))?;
        names.retain(|name| !name.starts_with('.'));
        Ok(names)
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        let path = self.path(name);
        self.disk.delete(&path).map_err(|cause| said(&*self.disk, &path, "deleted", cause))?;
        // A power cut must not bring back a manifest whose files, deleted after it, stay away.
        sync_dir(&*self.disk, &self.dir)
    }
}

/// A file that has no name yet.
pub(crate) struct Unnamed {
    disk: Arc<dyn Disk>,
    dir: Arc<str>,
    file: Arc<dyn DiskFile>,
    new_path: String,
    path: String,
    length: u64,
    buffer: Vec<u8>,
}

impl Unnamed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = self.file.write_all_at(bytes, self.length);
        written.map_err(|cause| said(&*self.disk, &self.new_path, "written", cause))?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        self.write(&buffer)?;
        buffer.clear();
        self.buffer = buffer;
        Ok(())
    }

    /// Makes all that was written durable, still without a name.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        self.flush()?;
        self.file.sync_data().map_err(|cause| said(&*self.disk, &self.new_path, "synced", cause))
    }

    /// Gives it its name, durably. What is in it must be [synced](Unnamed::sync).
    pub(crate) fn link(self) -> io::Result<()> {
        let disk = &*self.disk;
        disk.link(&self.new_path, &self.path).map_err(|cause| said(disk, &self.path, "made", cause))?;
        disk.delete(&self.new_path).map_err(|cause| said(disk, &self.new_path, "deleted", cause))?;
        sync_dir(disk, &self.dir)
    }
}

/// What a copy of an object needs.
#[cfg(feature = "object-store")]
impl Unnamed {
    /// Maps it without giving it a name: it is gone with the mapping.
    pub(crate) fn map(mut self) -> io::Result<Arc<dyn Mapped>> {
        self.flush()?;
        self.disk.map(&self.new_path).map_err(|cause| said(&*self.disk, &self.new_path, "mapped", cause))
    }

    /// Its bytes, for who writes or reads them elsewhere than at the end. They count once it is synced.
    pub(crate) fn file(&self) -> Arc<dyn DiskFile> {
        Arc::clone(&self.file)
    }

    /// How much was written at the end.
    pub(crate) fn length(&self) -> u64 {
        self.length + self.buffer.len() as u64
    }
}

impl NewFile for Unnamed {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.buffer.len() + bytes.len() > BUFFER_BYTES {
            self.flush()?;
        }
        if bytes.len() >= BUFFER_BYTES {
            return self.write(bytes);
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.sync()?;
        self.link()
    }
}

impl Drop for Unnamed {
    /// What got no name is not wanted. Where it can not be deleted, it is when the store is opened again.
    fn drop(&mut self) {
        let _ = self.disk.delete(&self.new_path);
    }
}

/// Makes names durable. That it fails for want of room is no reason to try again: names are changed, and it is not known which stay.
fn sync_dir(disk: &dyn Disk, dir: &str) -> io::Result<()> {
    disk.sync_dir(dir).map_err(io::Error::other).map_err(|cause| said(disk, dir, "synced", cause))
}

/// The system's error of the same kind, with what was being done, and where.
fn said(disk: &dyn Disk, path: &str, done: &str, cause: io::Error) -> io::Error {
    io::Error::new(cause.kind(), format!("{}: can not be {done}: {cause}", disk.place(path)))
}
