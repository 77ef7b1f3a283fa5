//! A disk in memory that forgets, tears and fails on demand.
//!
//! It knows what is durable: bytes of a file since its last sync, and names since the last sync of their directory, are lost in
//! a power cut, wholly, in pieces of a sector, or not at all, as a seed says. Every call is a *point*: the kind of the call and
//! the kind of the file. Faults are planned on points ("the third write to the log"), or on the number of a call that changes
//! anything, so that a test can crash at every single one.
//!
//! A handle stands for a process. After a crash its calls fail; [`FaultDisk::restart`] gives the next process, with or without a
//! power cut in between. [`FaultDisk::second_process`] gives one that runs beside the first and does not see its lock.

mod cut;
mod fault;
mod file;
mod state;

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard};

use recount_connectors::disk::{Disk, DiskFile, Lock};
use recount_dataflow::store::Mapped;

pub use cut::Loss;
pub use fault::{Call, Fault, FileKind, Point, What, When};
use file::{HeldLock, MemoryFile, MemoryMap};
use state::{Change, Node, OBSERVER, State};

/// One process's handle of the disk.
#[derive(Clone)]
pub struct FaultDisk {
    shared: Arc<Mutex<State>>,
    process: u64,
}

impl Default for FaultDisk {
    fn default() -> Self {
        FaultDisk { shared: Arc::new(Mutex::new(State::default())), process: 0 }
    }
}

impl FaultDisk {
    /// Plans a fault. Several may be planned; they are numbered in this order until they are forgotten.
    pub fn plan(&self, fault: Fault) -> usize {
        let mut state = self.state();
        state.faults.push(fault);
        state.faults.len() - 1
    }

    /// Whether the planned fault with this number has come.
    pub fn has_come(&self, number: usize) -> bool {
        self.state().faults_come.contains(&number)
    }

    /// Forgets all faults.
    pub fn heal(&self) {
        self.state().forget_faults();
    }

    /// How many calls have changed anything, or tried to.
    pub fn changes(&self) -> u64 {
        self.state().changes
    }

    /// The points of the calls that have changed anything, in order.
    pub fn points(&self) -> Vec<Point> {
        self.state().points.clone()
    }

    /// How many calls of each point there were, changes or not.
    pub fn calls(&self) -> BTreeMap<Point, u64> {
        self.state().calls.clone()
    }

    /// Whether this process is gone.
    pub fn is_crashed(&self) -> bool {
        self.state().dead.contains(&self.process)
    }

    /// Ends this process, if it has not ended, and starts the next one, after losing what a power cut loses.
    pub fn restart(&self, loss: Loss) -> FaultDisk {
        let mut state = self.state();
        state.dead.insert(self.process);
        state.forget_faults();
        state.cut(loss);
        drop(state);
        self.second_process()
    }

    /// Another process beside this one, which does not see its lock.
    pub fn second_process(&self) -> FaultDisk {
        let mut state = self.state();
        state.processes += 1;
        state.locks.clear();
        FaultDisk { shared: Arc::clone(&self.shared), process: state.processes }
    }

    /// Another process on the same machine.
    pub fn honest_process(&self) -> FaultDisk {
        let mut state = self.state();
        state.processes += 1;
        FaultDisk { shared: Arc::clone(&self.shared), process: state.processes }
    }

    /// A process that only looks: it meets no fault, and is not counted.
    pub fn observer(&self) -> FaultDisk {
        FaultDisk { shared: Arc::clone(&self.shared), process: OBSERVER }
    }

    /// A copy of all that is on the disk, with nothing in common with it.
    pub fn copy(&self) -> FaultDisk {
        let state = self.state();
        let files = State { inodes: state.inodes.clone(), names: state.names.clone(), ..State::default() };
        let copy = State { durable_names: files.names.clone(), ..files };
        FaultDisk { shared: Arc::new(Mutex::new(copy)), process: 0 }
    }

    /// Changes a file's bytes, durably, as decay and people do.
    ///
    /// # Panics
    /// Where there is no such file.
    pub fn damage(&self, path: &str, damage: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        let inode = state.inode(path).unwrap_or_else(|_| panic!("there is no {path}"));
        damage(&mut inode.bytes);
        inode.durable = inode.bytes.clone();
        inode.forsaken = None;
    }

    /// All files and their lengths, by path.
    pub fn files(&self) -> Vec<(String, usize)> {
        let state = self.state();
        let files = state.names.iter().filter_map(|(path, node)| match node {
            Node::File(number) => Some((path.clone(), state.inodes[*number].bytes.len())),
            Node::Dir => None,
        });
        files.collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.lock().expect("nothing panics while it holds the disk")
    }

    /// Runs one call, with what was planned for it.
    fn call<T>(&self, call: Call, path: &str, run: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.state();
        state.before(self.process, call, path)?;
        let done = run(&mut state);
        state.after(self.process)?;
        done
    }
}

impl Disk for FaultDisk {
    fn place(&self, path: &str) -> String {
        format!("memory/{path}")
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        self.call(Call::CreateDir, path, |state| {
            let mut above = String::new();
            for name in path.split('/') {
                above = if above.is_empty() { name.to_owned() } else { format!("{above}/{name}") };
                if !state.names.contains_key(&above) {
                    state.change(Change::Put(above.clone(), Node::Dir));
                }
            }
            Ok(())
        })
    }

    fn create_new(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        let number = self.call(Call::CreateNew, path, |state| {
            state.check_free(path)?;
            let number = state.new_inode();
            state.change(Change::Put(path.to_owned(), Node::File(number)));
            Ok(number)
        })?;
        Ok(Arc::new(MemoryFile { disk: self.clone(), path: path.to_owned(), inode: number }))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        let number = self.call(Call::Open, path, |state| state.file(path))?;
        Ok(Arc::new(MemoryFile { disk: self.clone(), path: path.to_owned(), inode: number }))
    }

    fn exists(&self, path: &str) -> io::Result<bool> {
        self.call(Call::Exists, path, |state| Ok(path.is_empty() || state.names.contains_key(path)))
    }

    fn link(&self, from: &str, to: &str) -> io::Result<()> {
        self.call(Call::Link, to, |state| {
            let number = state.file(from)?;
            state.check_free(to)?;
            state.change(Change::Put(to.to_owned(), Node::File(number)));
            Ok(())
        })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.call(Call::Rename, to, |state| {
            state.file(from)?;
            state.change(Change::Rename(from.to_owned(), to.to_owned()));
            Ok(())
        })
    }

    fn delete(&self, path: &str) -> io::Result<()> {
        self.call(Call::Delete, path, |state| {
            if state.names.contains_key(path) {
                state.change(Change::Remove(path.to_owned()));
            }
            Ok(())
        })
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        self.call(Call::List, path, |state| match state.names.get(path) {
            Some(Node::Dir) => Ok(state.names_in(path)),
            _ => Err(ErrorKind::NotFound.into()),
        })
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        self.call(Call::SyncDir, path, |state| {
            state.sync_dir(path);
            Ok(())
        })
    }

    fn map(&self, path: &str) -> io::Result<Arc<dyn Mapped>> {
        let bytes = self.call(Call::Map, path, |state| Ok(state.inode(path)?.bytes.clone()))?;
        Ok(Arc::new(MemoryMap::new(self.clone(), path, &bytes)))
    }

    fn lock(&self, path: &str, owner: &str) -> io::Result<Box<dyn Lock>> {
        let process = self.process;
        self.call(Call::Lock, path, |state| {
            if state.locks.get(path).is_some_and(|holder| !state.dead.contains(holder)) {
                return Err(ErrorKind::WouldBlock.into());
            }
            if !state.names.contains_key(path) {
                let number = state.new_inode();
                state.change(Change::Put(path.to_owned(), Node::File(number)));
            }
            state.inode(path)?.bytes = owner.as_bytes().to_vec();
            state.locks.insert(path.to_owned(), process);
            Ok(())
        })?;
        Ok(Box::new(HeldLock { disk: self.clone(), path: path.to_owned() }))
    }
}
