//! Where the engine binds its epochs.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use recount_dataflow::store::{BindingSink, EpochBinding};

use super::reader::read_file;
use super::{BindingError, format};
use crate::checksum::Checksum;
use crate::data_dir::{DataDir, Fence, FileName, Files};
use crate::disk::{Disk, DiskError, DiskFile, OrDiskError as _, SyncClock, SyncTimes};

/// Bytes after which the next file is begun.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Called where the disk is full: waits a while, and says whether to try again.
type OnFull = Box<dyn FnMut(&DiskError) -> bool + Send>;

/// The bindings, open for the next epoch's.
pub struct BindingLog {
    disk: Arc<dyn Disk>,
    checksum: Checksum,
    fence: Fence,
    on_full: OnFull,
    /// The epoch that is bound next.
    next: u64,
    dir: String,
    path: String,
    file: Arc<dyn DiskFile>,
    /// Bytes of the file that are durable.
    length: u64,
    file_bytes_max: u64,
    syncs: Arc<SyncClock>,
}

impl BindingLog {
    /// Finds the newest binding, and begins a file with it: whoever wrote it may not have synced it. `on_full` is asked where the disk is
    /// full, now and when an epoch is bound: it waits a while and says whether to try again; meanwhile the feed stands still, and reads
    /// go on.
    ///
    /// # Errors
    /// Where bindings are damaged, where the disk fails, and where a later writer came.
    ///
    /// # Panics
    /// Where the directory was opened for reading.
    pub fn open(
        dir: &DataDir,
        mut on_full: impl FnMut(&DiskError) -> bool + Send + 'static,
    ) -> Result<BindingLog, BindingError> {
        let (disk, checksum, fence, dir) = (dir.disk(), dir.checksum(), dir.fence(), dir.bindings_dir());
        let files = Files::list(&*disk, &dir)?.in_force;
        let (mut next, mut newest) = (1, None);
        if let Some(last) = files.last() {
            let mut bindings = read_file(&*disk, checksum, &dir, *last, None)?;
            (next, newest) = (last.start + bindings.len() as u64, bindings.pop());
        }
        let writer = fence.writer();
        let (path, file, length) = loop {
            Files::clear_unnamed(&*disk, &dir)?;
            let begun = match &newest {
                Some(newest) => begin_with(&*disk, &dir, FileName { start: next - 1, writer }, newest, checksum),
                None => begin(&*disk, &dir, FileName { start: next, writer }),
            };
            match begun {
                Err(full) if full.is_full() && on_full(&full) => {}
                begun => break begun?,
            }
        };
        fence.notes().begun_in_time(&*disk, [path.as_str()], &mut on_full)?;
        fence.check()?;
        for replaced in Files::list(&*disk, &dir)?.replaced {
            let path = replaced.path(&dir);
            disk.delete(&path).or_disk_error(&*disk, &path, "can not be deleted")?;
        }
        let on_full = Box::new(on_full);
        let syncs = Arc::new(SyncClock::default());
        let file_bytes_max = FILE_BYTES_MAX;
        Ok(BindingLog { disk, checksum, fence, on_full, next, dir, path, file, length, file_bytes_max, syncs })
    }

    /// Begins the next file after so many bytes.
    pub fn with_file_bytes(self, file_bytes_max: u64) -> Self {
        BindingLog { file_bytes_max, ..self }
    }

    /// The epoch that is bound next: one more than the newest that was.
    pub fn next_epoch(&self) -> u64 {
        self.next
    }

    /// What reads how long syncs took, for any thread, also when the engine has the sink.
    pub fn sync_times(&self) -> impl Fn() -> SyncTimes + Send + Sync + 'static {
        let syncs = Arc::clone(&self.syncs);
        move || syncs.read()
    }

    /// Makes the binding durable, or leaves nothing of it.
    fn write(&mut self, bytes: &[u8]) -> Result<(), DiskError> {
        if self.length >= self.file_bytes_max {
            let own = FileName { start: self.next, writer: self.fence.writer() };
            (self.path, self.file, self.length) = begin_noted(&*self.disk, &self.dir, own, &self.fence)?;
        }
        let written = self.file.write_all_at(bytes, self.length);
        if let Err(cause) = written.or_disk_error(&*self.disk, &self.path, "can not be written") {
            let cut = self.file.truncate(self.length);
            cut.or_disk_error(&*self.disk, &self.path, "can not be cut")?;
            return Err(cause);
        }
        let started = Instant::now();
        let synced = self.file.sync_data();
        // A sync that fails for want of room has failed: it is not to be taken for a write that can be tried again.
        synced.map_err(io::Error::other).or_disk_error(&*self.disk, &self.path, "can not be synced")?;
        self.syncs.observe(started.elapsed());
        self.length += bytes.len() as u64;
        Ok(())
    }
}

impl BindingSink for BindingLog {
    fn bind(&mut self, binding: &EpochBinding) -> io::Result<()> {
        assert_eq!(binding.epoch, self.next, "epochs are bound one after the other");
        let mut bytes = Vec::new();
        format::write(binding, self.checksum, &mut bytes);
        while let Err(error) = self.write(&bytes) {
            if !error.is_full() || !(self.on_full)(&error) {
                return Err(io::Error::new(error.cause.kind(), error));
            }
        }
        // After the sync: a writer that came before it has found what was synced, and one that comes later will.
        self.fence.check().map_err(io::Error::other)?;
        self.next += 1;
        Ok(())
    }
}

/// A file, and the bytes of it that are durable.
type Begun = (String, Arc<dyn DiskFile>, u64);

/// Makes a file that begins with a binding.
fn begin_with(
    disk: &dyn Disk,
    dir: &str,
    file: FileName,
    binding: &EpochBinding,
    checksum: Checksum,
) -> Result<Begun, DiskError> {
    let mut bytes = Vec::new();
    format::write(binding, checksum, &mut bytes);
    let path = file.path(dir);
    let made = file
        .make_with(disk, dir, |file| file.write_all_at(&bytes, 0).or_disk_error(disk, &path, "can not be written"))?;
    Ok((path, made, bytes.len() as u64))
}

/// Makes a file, and its name durable.
fn begin(disk: &dyn Disk, dir: &str, file: FileName) -> Result<Begun, DiskError> {
    let path = file.path(dir);
    let made = disk.create_new(&path).or_disk_error(disk, &path, "can not be made")?;
    let synced = disk.sync_dir(dir).map_err(io::Error::other);
    synced.or_disk_error(disk, dir, "can not be synced")?;
    Ok((path, made, 0))
}

/// The same, and notes it.
fn begin_noted(disk: &dyn Disk, dir: &str, file: FileName, fence: &Fence) -> Result<Begun, DiskError> {
    let begun = begin(disk, dir, file)?;
    let path = &begun.0;
    match fence.notes().begun(disk, [path.as_str()]) {
        Ok(()) => Ok(begun),
        Err(full) if full.is_full() => {
            // It is made again where there is room again.
            disk.delete(path).or_disk_error(disk, path, "can not be deleted")?;
            Err(full)
        }
        Err(error) => Err(error),
    }
}
