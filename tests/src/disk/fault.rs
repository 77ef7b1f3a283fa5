//! What can go wrong, and where.

use std::fmt;
use std::io::{self, ErrorKind};

/// A kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Call {
    CreateDir,
    CreateNew,
    Open,
    Exists,
    Link,
    Rename,
    Delete,
    List,
    SyncDir,
    Map,
    Lock,
    Write,
    Read,
    Length,
    Truncate,
    SyncData,
}

impl Call {
    /// Whether it changes what is on the disk, or makes it durable.
    pub fn is_change(self) -> bool {
        !matches!(self, Call::Open | Call::Exists | Call::List | Call::Map | Call::Read | Call::Length)
    }
}

/// A kind of file, known by its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum FileKind {
    Root,
    Lock,
    Store,
    Writer,
    Log,
    Binding,
    Run,
    Pack,
    Manifest,
}

impl FileKind {
    fn of(path: &str) -> FileKind {
        match path.split(['/', '-']).next().unwrap_or_default() {
            "LOCK" => FileKind::Lock,
            "writers" => FileKind::Writer,
            "log" => FileKind::Log,
            "bindings" => FileKind::Binding,
            "runs" if path.ends_with(".pack") => FileKind::Pack,
            "runs" if path.ends_with(".manifest") => FileKind::Manifest,
            "runs" => FileKind::Run,
            name if name.starts_with("store.json") => FileKind::Store,
            _ => FileKind::Root,
        }
    }
}

/// The name of a call on a file: what crash points are known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Point {
    /// What is done.
    pub call: Call,
    /// To what.
    pub kind: FileKind,
}

impl Point {
    pub(super) fn of(call: Call, path: &str) -> Point {
        Point { call, kind: FileKind::of(path) }
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of {:?}", self.call, self.kind)
    }
}

/// A fault, and when it comes.
#[derive(Clone, Debug)]
pub struct Fault {
    /// When.
    pub when: When,
    /// What.
    pub what: What,
}

/// When a fault comes.
#[derive(Clone, Copy, Debug)]
pub enum When {
    /// At the change with this number, from 0.
    Change(u64),
    /// At a call of this point, after `skip` others of it; once.
    Once {
        /// The point.
        point: Point,
        /// How many calls of it go well before.
        skip: u64,
    },
    /// At every call of this point.
    Every(Point),
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The process ends before the call does anything.
    CrashBefore,
    /// The process ends after the call has done its work.
    CrashAfter,
    /// The process ends in the middle: of a write, half is done.
    CrashAmid,
    /// The device fails; of a write, half is done.
    Broken,
    /// There is no room; of a write, half is done.
    Full,
}

impl Fault {
    /// Something goes wrong at a call of this point, after `skip` others of it; once.
    pub fn once(point: Point, skip: u64, what: What) -> Fault {
        Fault { when: When::Once { point, skip }, what }
    }

    /// The process ends before the change with this number.
    pub fn crash_before(change: u64) -> Fault {
        Fault { when: When::Change(change), what: What::CrashBefore }
    }

    /// The process ends after the change with this number.
    pub fn crash_after(change: u64) -> Fault {
        Fault { when: When::Change(change), what: What::CrashAfter }
    }

    /// The process ends amid the change with this number.
    pub fn crash_amid(change: u64) -> Fault {
        Fault { when: When::Change(change), what: What::CrashAmid }
    }

    /// The device fails at the change with this number.
    pub fn broken(change: u64) -> Fault {
        Fault { when: When::Change(change), what: What::Broken }
    }

    /// There is no room at the change with this number.
    pub fn full(change: u64) -> Fault {
        Fault { when: When::Change(change), what: What::Full }
    }

    /// The device fails at every call of a point.
    pub fn always_broken(call: Call, kind: FileKind) -> Fault {
        Fault { when: When::Every(Point { call, kind }), what: What::Broken }
    }

    /// There is no room at any call of a point.
    pub fn always_full(call: Call, kind: FileKind) -> Fault {
        Fault { when: When::Every(Point { call, kind }), what: What::Full }
    }

    /// Whether it comes now; `change` is the number of the change that is about to be made.
    pub(super) fn is_due(&mut self, point: Point, change: Option<u64>) -> bool {
        match &mut self.when {
            When::Change(number) => change == Some(*number),
            When::Every(every) => *every == point,
            When::Once { point: once, skip } => {
                if *once != point {
                    return false;
                }
                let is_due = *skip == 0;
                // After it came it never comes again: no history is that long.
                *skip = skip.checked_sub(1).unwrap_or(u64::MAX);
                is_due
            }
        }
    }
}

impl What {
    /// The error that the caller sees, where the process goes on.
    pub(super) fn error(self) -> io::Error {
        match self {
            What::Full => ErrorKind::StorageFull.into(),
            // EIO has no kind of its own.
            What::Broken => io::Error::from_raw_os_error(5),
            What::CrashBefore | What::CrashAfter | What::CrashAmid => io::Error::other("the process has crashed"),
        }
    }
}
