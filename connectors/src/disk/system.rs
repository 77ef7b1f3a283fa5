//! A directory of the system.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use recount_dataflow::store::Mapped;

use super::{Disk, DiskError, DiskFile, Lock, map};

/// A directory of the system, and all below it.
pub struct SystemDisk {
    root: PathBuf,
}

impl SystemDisk {
    /// The directory `root`, which is made, durably, where it is not there.
    ///
    /// # Errors
    /// Where it can not be made.
    pub fn create(root: impl Into<PathBuf>) -> Result<SystemDisk, DiskError> {
        let disk = SystemDisk { root: root.into() };
        disk.make_root().map_err(|cause| disk.error("the directory can not be made", cause))?;
        Ok(disk)
    }

    /// The directory `root` as it is.
    ///
    /// # Errors
    /// Where it is no directory.
    pub fn open(root: impl Into<PathBuf>) -> Result<SystemDisk, DiskError> {
        let disk = SystemDisk { root: root.into() };
        match fs::metadata(&disk.root) {
            Ok(found) if found.is_dir() => Ok(disk),
            Ok(_) => Err(disk.error("can not be opened", ErrorKind::NotADirectory.into())),
            Err(cause) => Err(disk.error("can not be opened", cause)),
        }
    }

    fn error(&self, action: &'static str, cause: io::Error) -> DiskError {
        DiskError { action, place: self.root.display().to_string(), cause }
    }

    fn make_root(&self) -> io::Result<()> {
        if self.root.is_file() {
            return Err(ErrorKind::NotADirectory.into());
        }
        let absolute = std::path::absolute(&self.root)?;
        let missing = absolute.ancestors().take_while(|above| !above.exists()).count();
        fs::create_dir_all(&absolute)?;
        // A directory's own name lies in the one above it. Also where this one was there: whoever made it may have been killed since.
        for above in absolute.ancestors().skip(1).take(missing.max(1)) {
            match sync_dir(above) {
                Err(cause) if missing == 0 && cause.kind() == ErrorKind::PermissionDenied => {
                    tracing::debug!(directory = %above.display(), "it can not be synced, and whoever made this one has to have done it");
                }
                synced => synced?,
            }
        }
        Ok(())
    }

    fn path(&self, path: &str) -> PathBuf {
        if path.is_empty() { self.root.clone() } else { self.root.join(path) }
    }
}

fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

impl Disk for SystemDisk {
    fn place(&self, path: &str) -> String {
        self.path(path).display().to_string()
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        fs::create_dir_all(self.path(path))
    }

    fn create_new(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(self.path(path))?;
        Ok(Arc::new(SystemFile { file }))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(SystemFile { file: File::open(self.path(path))? }))
    }

    fn exists(&self, path: &str) -> io::Result<bool> {
        fs::exists(self.path(path))
    }

    fn link(&self, from: &str, to: &str) -> io::Result<()> {
        fs::hard_link(self.path(from), self.path(to))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }

    fn delete(&self, path: &str) -> io::Result<()> {
        match fs::remove_file(self.path(path)) {
            Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(()),
            deleted => deleted,
        }
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let entries = fs::read_dir(self.path(path))?;
        // A name that is not UTF-8 is none of ours.
        let names = entries.filter_map(|entry| entry.map(|entry| entry.file_name().into_string().ok()).transpose());
        let mut names = names.collect::<io::Result<Vec<String>>>()?;
        names.sort_unstable();
        Ok(names)
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        sync_dir(&self.path(path))
    }

    fn map(&self, path: &str) -> io::Result<Arc<dyn Mapped>> {
        map::map(File::open(self.path(path))?)
    }

    fn lock(&self, path: &str, owner: &str) -> io::Result<Box<dyn Lock>> {
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).clone();
        let file = options.open(self.path(path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(cause)) => return Err(cause),
        }
        // Who holds the lock is written for people; that it can not be written (a full disk) is no reason to refuse.
        let _ = file.set_len(0).and_then(|()| file.write_all_at(owner.as_bytes(), 0));
        Ok(Box::new(SystemLock { _file: file }))
    }
}

struct SystemFile {
    file: File,
}

impl DiskFile for SystemFile {
    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, at)
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        self.file.read_at(buffer, at)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// The lock ends when the file is closed.
struct SystemLock {
    _file: File,
}

impl Lock for SystemLock {}
