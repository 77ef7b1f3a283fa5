//! What the engine and its readers share.

use std::sync::{Arc, RwLock};

use crate::domain::fingerprint::HashKey;
use crate::domain::rules::Rules;
use crate::operators::context::Windows;

use super::dictionary::Dictionary;
use super::timeline::Timeline;

/// What the engine and its readers share.
pub(crate) struct Shared {
    /// Which epochs are complete.
    pub(crate) timeline: Arc<Timeline>,
    /// The names of the ads.
    pub(crate) dictionary: Dictionary,
    /// Which windows are kept.
    pub(crate) windows: Windows,
    /// What counts.
    pub(crate) rules: Rules,
    /// What ids get their fingerprints from.
    pub(crate) key: HashKey,
    /// The names of the streams.
    pub(crate) streams: Streams,
    /// The number of the checkpoint that the engine went on from.
    pub(crate) restored_from: Option<u64>,
}

/// The names of the streams, by number. There may come more.
pub(crate) struct Streams {
    names: RwLock<Arc<[StreamName]>>,
}

impl Streams {
    /// Streams with these names.
    pub(crate) fn new(names: Vec<StreamName>) -> Self {
        Streams { names: RwLock::new(names.into()) }
    }

    /// Adds a stream, and returns its number.
    ///
    /// # Panics
    /// Where there are as many as can be numbered.
    pub(crate) fn add(&self, name: StreamName) -> u16 {
        let mut names = self.names.write().expect("nothing panics while it holds the names of streams");
        let number = u16::try_from(names.len()).expect("a stream's number has 16 bits");
        *names = names.iter().cloned().chain([name]).collect();
        number
    }

    /// The names now.
    pub(crate) fn all(&self) -> Arc<[StreamName]> {
        Arc::clone(&self.names.read().expect("nothing panics while it holds the names of streams"))
    }
}

/// The name of a stream: a partition of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamName {
    /// The source, for example a file's path.
    pub source: String,
    /// Its partition.
    pub partition: i32,
}
