//! A store in memory, which tests may damage.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use recount_dataflow::store::{Mapped, NewFile, Store};

/// Files start at multiples of so many bytes in memory.
const ALIGNMENT: usize = 64;

type Files = BTreeMap<String, Arc<Aligned>>;

/// Files in memory. Clones share them.
#[derive(Clone, Default)]
pub struct MemStore {
    files: Arc<Mutex<Files>>,
}

/// Bytes at an aligned address.
pub struct Aligned {
    buffer: Vec<u8>,
    start: usize,
    length: usize,
}

impl Aligned {
    /// A copy of some bytes.
    pub fn new(bytes: &[u8]) -> Self {
        let mut buffer = vec![0; bytes.len() + ALIGNMENT];
        let start = buffer.as_ptr().align_offset(ALIGNMENT);
        buffer[start..start + bytes.len()].copy_from_slice(bytes);
        Aligned { buffer, start, length: bytes.len() }
    }
}

impl Mapped for Aligned {
    fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.start + self.length]
    }
}

impl MemStore {
    fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().expect("nothing panics while it holds the files")
    }

    /// Replaces a file by what a function makes of its bytes.
    pub fn damage(&self, name: &str, damage: impl FnOnce(&mut Vec<u8>)) {
        let mut files = self.files();
        let mut bytes = files[name].bytes().to_vec();
        damage(&mut bytes);
        files.insert(name.to_owned(), Arc::new(Aligned::new(&bytes)));
    }

    /// A copy of all files, with nothing in common with this store.
    pub fn copy(&self) -> MemStore {
        MemStore { files: Arc::new(Mutex::new(self.files().clone())) }
    }

    /// The bytes of all files.
    pub fn byte_len(&self) -> usize {
        self.files().values().map(|file| file.length).sum()
    }
}

impl Store for MemStore {
    fn create(&self, name: &str) -> io::Result<Box<dyn NewFile>> {
        Ok(Box::new(Unnamed { store: self.clone(), name: name.to_owned(), bytes: Vec::new() }))
    }

    fn map(&self, name: &str) -> io::Result<Arc<dyn Mapped>> {
        let file = self.files().get(name).cloned();
        Ok(file.ok_or(io::ErrorKind::NotFound)?)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.files().keys().cloned().collect())
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        self.files().remove(name);
        Ok(())
    }
}

struct Unnamed {
    store: MemStore,
    name: String,
    bytes: Vec<u8>,
}

impl NewFile for Unnamed {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(self: Box<Self>) -> io::Result<()> {
        let mut files = self.store.files();
        if files.contains_key(&self.name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        files.insert(self.name, Arc::new(Aligned::new(&self.bytes)));
        Ok(())
    }
}
