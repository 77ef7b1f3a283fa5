//! What is on the disk, and what of it is durable.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, ErrorKind};

use super::fault::{Call, Fault, Point, What};

/// A process that meets no fault and is not counted.
pub(super) const OBSERVER: u64 = u64::MAX;

/// The disk, and who uses it.
#[derive(Default)]
pub(super) struct State {
    /// Every file ever made.
    pub(super) inodes: Vec<Inode>,
    /// Names as processes see them.
    pub(super) names: BTreeMap<String, Node>,
    /// Names that survive a power cut.
    pub(super) durable_names: BTreeMap<String, Node>,
    /// What was done to names since their directories were synced, in order.
    pub(super) unsynced: Vec<Change>,
    pub(super) locks: HashMap<String, u64>,
    pub(super) processes: u64,
    pub(super) dead: HashSet<u64>,
    pub(super) faults: Vec<Fault>,
    pub(super) changes: u64,
    pub(super) points: Vec<Point>,
    /// How many calls of each point there were.
    pub(super) calls: BTreeMap<Point, u64>,
    /// The numbers of the faults that have come.
    pub(super) faults_come: HashSet<usize>,
    /// A fault that came, and acts in the middle of its call or after it.
    pub(super) pending: Option<What>,
}

/// A file.
#[derive(Clone, Default)]
pub(super) struct Inode {
    pub(super) bytes: Vec<u8>,
    pub(super) durable: Vec<u8>,
    /// What the system takes for durable since a sync failed, and is not.
    pub(super) forsaken: Option<Vec<u8>>,
}

impl Inode {
    /// Makes durable what was written, but for what an earlier sync has failed for: the system does not write that again.
    pub(super) fn sync(&mut self) {
        let Some(forsaken) = &self.forsaken else {
            self.durable.clone_from(&self.bytes);
            return;
        };
        let length = if self.bytes.len() == forsaken.len() { self.durable.len() } else { self.bytes.len() };
        let byte = |at: usize| match (self.bytes.get(at), forsaken.get(at)) {
            (Some(now), then) if Some(now) != then => *now,
            _ => self.durable.get(at).copied().unwrap_or(0),
        };
        self.durable = (0..length).map(byte).collect();
    }

    /// A sync has failed: what it was for stays readable as long as the system lives, and is never written.
    pub(super) fn fail_to_sync(&mut self) {
        self.forsaken = Some(self.bytes.clone());
    }
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Dir,
    File(usize),
}

/// A change of a directory. Each is done wholly or not at all.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Put(String, Node),
    Remove(String),
    Rename(String, String),
}

impl Change {
    fn dir(&self) -> &str {
        let (Change::Put(path, _) | Change::Remove(path) | Change::Rename(path, _)) = self;
        dir_of(path)
    }

    pub(super) fn apply(&self, names: &mut BTreeMap<String, Node>) {
        match self {
            Change::Put(path, node) => {
                names.insert(path.clone(), *node);
            }
            Change::Remove(path) => {
                names.remove(path);
            }
            Change::Rename(from, to) => {
                if let Some(node) = names.remove(from) {
                    names.insert(to.clone(), node);
                }
            }
        }
    }
}

/// The directory of a path; the root's is empty.
pub(super) fn dir_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}

impl State {
    /// What was planned for a call comes before it, or is noted to come amid it or after.
    pub(super) fn before(&mut self, process: u64, call: Call, path: &str) -> io::Result<()> {
        self.pending = None;
        if process == OBSERVER {
            return Ok(());
        }
        if self.dead.contains(&process) {
            return Err(What::CrashBefore.error());
        }
        let point = Point::of(call, path);
        *self.calls.entry(point).or_default() += 1;
        let change = call.is_change().then_some(self.changes);
        if call.is_change() {
            self.changes += 1;
            self.points.push(point);
        }
        let due = self.faults.iter_mut().enumerate();
        let due: Vec<(usize, What)> =
            due.filter_map(|(number, fault)| fault.is_due(point, change).then_some((number, fault.what))).collect();
        let Some(&(number, what)) = due.first() else { return Ok(()) };
        self.faults_come.insert(number);
        match what {
            What::CrashBefore => {
                self.dead.insert(process);
                Err(what.error())
            }
            What::CrashAfter => {
                self.pending = Some(what);
                Ok(())
            }
            // A write does half of its work before.
            What::CrashAmid | What::Broken | What::Full if call == Call::Write => {
                self.pending = Some(what);
                Ok(())
            }
            What::CrashAmid => {
                self.dead.insert(process);
                Err(what.error())
            }
            What::Broken | What::Full => Err(what.error()),
        }
    }

    /// What is left of a fault comes after its call.
    pub(super) fn after(&mut self, process: u64) -> io::Result<()> {
        let Some(what) = self.pending.take() else { return Ok(()) };
        if matches!(what, What::CrashAfter | What::CrashAmid) {
            self.dead.insert(process);
        }
        Err(what.error())
    }

    pub(super) fn forget_faults(&mut self) {
        self.faults.clear();
        self.faults_come.clear();
    }

    pub(super) fn new_inode(&mut self) -> usize {
        self.inodes.push(Inode::default());
        self.inodes.len() - 1
    }

    pub(super) fn file(&self, path: &str) -> io::Result<usize> {
        match self.names.get(path) {
            Some(Node::File(number)) => Ok(*number),
            Some(Node::Dir) => Err(ErrorKind::IsADirectory.into()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn inode(&mut self, path: &str) -> io::Result<&mut Inode> {
        let number = self.file(path)?;
        Ok(&mut self.inodes[number])
    }

    /// Refuses a name that is taken, or whose directory is not there.
    pub(super) fn check_free(&self, path: &str) -> io::Result<()> {
        let dir = dir_of(path);
        if !dir.is_empty() && self.names.get(dir) != Some(&Node::Dir) {
            return Err(ErrorKind::NotFound.into());
        }
        if self.names.contains_key(path) { Err(ErrorKind::AlreadyExists.into()) } else { Ok(()) }
    }

    pub(super) fn names_in(&self, dir: &str) -> Vec<String> {
        let within = self.names.keys().filter(|path| dir_of(path) == dir);
        within.map(|path| path[dir.len()..].trim_start_matches('/').to_owned()).collect()
    }

    /// Changes a name; it is not durable yet.
    pub(super) fn change(&mut self, change: Change) {
        change.apply(&mut self.names);
        self.unsynced.push(change);
    }

    /// Makes the names in a directory durable.
    pub(super) fn sync_dir(&mut self, dir: &str) {
        let (synced, left) = std::mem::take(&mut self.unsynced).into_iter().partition(|change| change.dir() == dir);
        self.unsynced = left;
        let synced: Vec<Change> = synced;
        synced.iter().for_each(|change| change.apply(&mut self.durable_names));
    }
}
