//! The streams of a store whose records come from Kafka: which there are, each with its number, and where some of them ended.
//!
//! ```text
//! DIR/streams/NNNNNNNN.json  one change of the list, numbered without gaps; never overwritten
//! ```
//!
//! A stream is one partition of one topic, as long as its offsets mean one thing. Its number is given once, and is durable before
//! the first binding that names it. Where a topic is deleted and made anew, where a partition is cut, and where retention removes
//! what was not read yet, nothing can be read on from where reading stands. Somebody has to accept that records are missing: then
//! the stream *ends* there, for good and with the reason, and another one begins. So no position ever means two things, and a
//! replay knows every gap.

mod error;
mod file;

use std::collections::BTreeMap;
use std::sync::Arc;

use recount_dataflow::domain::fact::Position;
use serde::{Deserialize, Serialize};

use crate::checksum::Checksum;
use crate::data_dir::{DataDir, Fence, STREAMS_DIR};
use crate::disk::{Disk, OrDiskError as _};

pub use error::StreamsError;

/// Streams have numbers of 16 bits.
const STREAMS_MAX: usize = 1 << 16;

/// A stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stream {
    /// The topic's name.
    pub topic: String,
    /// What the broker knows the topic by: another topic of the same name has another id.
    pub topic_id: String,
    /// The partition.
    pub partition: i32,
    /// How its records are written, as in the settings.
    pub format: String,
    /// The offset of the first record that was to be read.
    pub first_offset: u64,
}

impl Stream {
    /// Whether it is of this partition.
    pub fn is_of(&self, topic: &str, partition: i32) -> bool {
        self.topic == topic && self.partition == partition
    }
}

/// Why a stream ended before its topic did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EndReason {
    /// Retention, or somebody, removed records that were not read yet.
    Removed,
    /// The partition ends before what was read.
    Truncated,
    /// The topic was deleted and made anew.
    Recreated,
    /// The topic was deleted.
    Deleted,
}

/// Where a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamEnd {
    /// The stream.
    pub stream: u16,
    /// The next offset that would have been read.
    pub at: u64,
    /// Where reading went on in the same topic, in another stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
    /// Why.
    pub reason: EndReason,
}

/// What is added to the list at once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Streams that end.
    #[serde(default)]
    pub ends: Vec<StreamEnd>,
    /// Streams that begin; they get the next numbers.
    pub begins: Vec<Stream>,
}

/// The list of streams.
pub struct Streams {
    disk: Arc<dyn Disk>,
    checksum: Checksum,
    /// `None` where it is only read.
    fence: Option<Fence>,
    /// How many changes were read or made.
    changes: u32,
    streams: Vec<Stream>,
    ends: BTreeMap<u16, StreamEnd>,
}

impl Streams {
    /// Reads the list, and makes it where there is none.
    ///
    /// # Errors
    /// Where it is damaged, and where the disk fails.
    pub fn open(dir: &DataDir) -> Result<Streams, StreamsError> {
        let disk = dir.disk();
        let fence = dir.is_writer().then(|| dir.fence());
        if fence.is_some() {
            disk.create_dir(STREAMS_DIR).or_disk_error(&*disk, STREAMS_DIR, "the directory can not be made")?;
            file::clear(&*disk)?;
            // The second for a process that was killed before it had synced a change: what is read here is bound to.
            for dir in ["", STREAMS_DIR] {
                disk.sync_dir(dir).or_disk_error(&*disk, dir, "can not be synced")?;
            }
        }
        Streams::read_with(dir, fence)
    }

    /// Reads the list as it is, and makes nothing: whoever it belongs to.
    ///
    /// # Errors
    /// As [`Streams::open`].
    pub fn read(dir: &DataDir) -> Result<Streams, StreamsError> {
        Streams::read_with(dir, None)
    }

    fn read_with(dir: &DataDir, fence: Option<Fence>) -> Result<Streams, StreamsError> {
        let (changes, streams, ends) = (0, Vec::new(), BTreeMap::new());
        let mut list = Streams { disk: dir.disk(), checksum: dir.checksum(), fence, changes, streams, ends };
        list.refresh()?;
        Ok(list)
    }

    /// Reads what was added since: for who reads beside the process that writes.
    ///
    /// # Errors
    /// As [`Streams::open`].
    pub fn refresh(&mut self) -> Result<(), StreamsError> {
        while let Some(change) = file::read(&*self.disk, self.checksum, self.changes)? {
            self.take(change);
        }
        file::check_last(&*self.disk, self.changes)
    }

    /// Refuses positions in streams that are not in the list: nothing else misses its newest file.
    ///
    /// # Errors
    /// Where there is one.
    pub fn check_holds<'a>(&self, positions: impl IntoIterator<Item = &'a Position>) -> Result<(), StreamsError> {
        let known = self.streams.len();
        match positions.into_iter().find(|position| known <= usize::from(position.stream)) {
            None => Ok(()),
            Some(&Position { stream, .. }) => {
                Err(StreamsError::Ends { dir: self.disk.place(STREAMS_DIR), stream, known })
            }
        }
    }

    /// Whether this process adds to it.
    pub fn is_written(&self) -> bool {
        self.fence.is_some()
    }

    /// All streams, by number.
    pub fn all(&self) -> &[Stream] {
        &self.streams
    }

    /// Where a stream ended; `None` where it goes on.
    pub fn end(&self, stream: u16) -> Option<StreamEnd> {
        self.ends.get(&stream).copied()
    }

    /// All ends, by stream.
    pub fn ends(&self) -> impl Iterator<Item = StreamEnd> {
        self.ends.values().copied()
    }

    /// The stream of a partition that goes on.
    pub fn current(&self, topic: &str, partition: i32) -> Option<u16> {
        let goes_on = |(number, stream): (usize, &Stream)| {
            let number = number as u16;
            (stream.is_of(topic, partition) && !self.ends.contains_key(&number)).then_some(number)
        };
        self.streams.iter().enumerate().find_map(goes_on)
    }

    /// Adds to the list. When this returns, it survives a power cut.
    ///
    /// # Errors
    /// Where there would be more streams than can be numbered, where a later writer came, and where the disk fails.
    ///
    /// # Panics
    /// Where the directory was opened for reading, and where a stream ends that does not go on.
    pub fn add(&mut self, change: Change) -> Result<(), StreamsError> {
        let fence = self.fence.as_ref().expect("only who writes in a directory adds streams");
        if STREAMS_MAX < self.streams.len() + change.begins.len() {
            return Err(StreamsError::TooMany { max: STREAMS_MAX });
        }
        for end in &change.ends {
            assert!(usize::from(end.stream) < self.streams.len(), "stream {} ends and never began", end.stream);
            assert!(!self.ends.contains_key(&end.stream), "stream {} ends twice", end.stream);
        }
        if let Err(error) = file::write(&*self.disk, self.checksum, self.changes, &change, fence) {
            fence.check()?;
            return Err(error);
        }
        // After the sync: a writer that came before it has found what was synced, and one that comes later will.
        fence.check()?;
        self.take(change);
        Ok(())
    }

    fn take(&mut self, change: Change) {
        self.changes += 1;
        self.ends.extend(change.ends.into_iter().map(|end| (end.stream, end)));
        self.streams.extend(change.begins);
    }
}
