//! Checkpoints on disk: files that are written once, in one directory.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use recount_dataflow::store::{Mapped, NewFile, Store};

use crate::data_dir::DataDir;
use crate::disk::{Disk, DiskError, DiskFile, OrDiskError as _};

/// What a file is called until it is whole.
const NEW_PREFIX: &str = ".new-";
/// Bytes that are gathered before they are written.
const BUFFER_BYTES: usize = 256 << 10;

/// The directory of checkpoints.
#[derive(Clone)]
pub struct DirectoryStore {
    disk: Arc<dyn Disk>,
    dir: Arc<str>,
    made: Arc<AtomicU64>,
}

impl DirectoryStore {
    /// The store of a data directory. Where that is open for writing, what a crash left half written is removed.
    ///
    /// # Errors
    /// Where the disk fails.
    pub fn open(dir: &DataDir) -> Result<DirectoryStore, DiskError> {
        let (disk, is_writer, dir) = (dir.disk(), dir.is_writer(), dir.runs_dir());
        if is_writer {
            for name in disk.list(&dir).or_disk_error(&*disk, &dir, "can not be listed")? {
                if name.starts_with(NEW_PREFIX) {
                    let path = format!("{dir}/{name}");
                    disk.delete(&path).or_disk_error(&*disk, &path, "can not be deleted")?;
                }
            }
        }
        Ok(DirectoryStore { disk, dir: dir.into(), made: Arc::new(AtomicU64::new(0)) })
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.dir)
    }
}

impl Store for DirectoryStore {
    fn create(&self, name: &str) -> io::Result<Box<dyn NewFile>> {
        assert!(!name.starts_with('.') && !name.contains('/'), "{name} is no name for a file of a checkpoint");
        let new_path = self.path(&format!("{NEW_PREFIX}{}-{name}", self.made.fetch_add(1, Ordering::Relaxed)));
        let file = self.disk.create_new(&new_path).map_err(|cause| said(&*self.disk, &new_path, "made", cause))?;
        let (disk, buffer) = (Arc::clone(&self.disk), Vec::with_capacity(BUFFER_BYTES));
        Ok(Box::new(Unnamed {
            disk,
            file,
            new_path,
            dir: Arc::clone(&self.dir),
            path: self.path(name),
            length: 0,
            buffer,
        }))
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
        self.disk.sync_dir(&self.dir).map_err(|cause| said(&*self.disk, &self.dir, "synced", cause))
    }
}

/// A file that has no name yet.
struct Unnamed {
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
        self.flush()?;
        let disk = &*self.disk;
        self.file.sync_data().map_err(|cause| said(disk, &self.new_path, "synced", cause))?;
        disk.link(&self.new_path, &self.path).map_err(|cause| said(disk, &self.path, "made", cause))?;
        disk.delete(&self.new_path).map_err(|cause| said(disk, &self.new_path, "deleted", cause))?;
        disk.sync_dir(&self.dir).map_err(|cause| said(disk, &self.dir, "synced", cause))
    }
}

impl Drop for Unnamed {
    /// What got no name is not wanted. Where it can not be deleted, it is when the store is opened again.
    fn drop(&mut self) {
        let _ = self.disk.delete(&self.new_path);
    }
}

/// The system's error of the same kind, with what was being done, and where.
fn said(disk: &dyn Disk, path: &str, done: &str, cause: io::Error) -> io::Error {
    io::Error::new(cause.kind(), format!("{}: can not be {done}: {cause}", disk.place(path)))
}
