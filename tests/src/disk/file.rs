//! Open files, mappings and locks.

use std::io;

use recount_connectors::disk::{DiskFile, Lock};
use recount_dataflow::store::Mapped;

use super::FaultDisk;
use super::fault::{Call, What};

/// A file that a process has open; it stays readable when its name goes.
pub(super) struct MemoryFile {
    pub(super) disk: FaultDisk,
    pub(super) path: String,
    pub(super) inode: usize,
}

impl DiskFile for MemoryFile {
    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.disk.call(Call::Write, &self.path, |state| {
            let is_half = matches!(state.pending, Some(What::CrashAmid | What::Broken | What::Full));
            let bytes = if is_half { &bytes[..bytes.len() / 2] } else { bytes };
            let (at, file) = (at as usize, &mut state.inodes[self.inode].bytes);
            if file.len() < at + bytes.len() {
                file.resize(at + bytes.len(), 0);
            }
            file[at..at + bytes.len()].copy_from_slice(bytes);
            Ok(())
        })
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        self.disk.call(Call::Read, &self.path, |state| {
            let bytes = state.inodes[self.inode].bytes.get(at as usize..).unwrap_or_default();
            let length = bytes.len().min(buffer.len());
            buffer[..length].copy_from_slice(&bytes[..length]);
            Ok(length)
        })
    }

    fn length(&self) -> io::Result<u64> {
        self.disk.call(Call::Length, &self.path, |state| Ok(state.inodes[self.inode].bytes.len() as u64))
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.disk.call(Call::Truncate, &self.path, |state| {
            state.inodes[self.inode].bytes.resize(length as usize, 0);
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        let synced = self.disk.call(Call::SyncData, &self.path, |state| {
            state.inodes[self.inode].sync();
            Ok(())
        });
        if synced.is_err() && !self.disk.is_crashed() {
            self.disk.state().inodes[self.inode].fail_to_sync();
        }
        synced
    }
}

/// The lock of a process that lives.
pub(super) struct HeldLock {
    pub(super) disk: FaultDisk,
    pub(super) path: String,
}

impl Lock for HeldLock {}

impl Drop for HeldLock {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.locks.get(&self.path) == Some(&self.disk.process) {
            state.locks.remove(&self.path);
        }
    }
}

/// Bytes at a multiple of 64.
pub(super) struct MemoryMap {
    disk: FaultDisk,
    path: String,
    lines: Vec<Line>,
    length: usize,
}

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

impl MemoryMap {
    pub(super) fn new(disk: FaultDisk, path: &str, bytes: &[u8]) -> Self {
        let mut lines = vec![Line([0; 64]); bytes.len().div_ceil(64)];
        bytemuck::cast_slice_mut(&mut lines)[..bytes.len()].copy_from_slice(bytes);
        MemoryMap { disk, path: path.to_owned(), lines, length: bytes.len() }
    }
}

impl Mapped for MemoryMap {
    fn bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.lines)[..self.length]
    }

    fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        self.disk.call(Call::Read, &self.path, |_| {
            let bytes = self.bytes().get(at as usize..).and_then(|rest| rest.get(..buffer.len()));
            buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }
}
