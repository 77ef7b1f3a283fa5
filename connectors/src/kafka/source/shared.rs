//! What the source's threads have in common.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use crossbeam_channel::Receiver;

use super::bell::Bell;
use super::error::KafkaSourceError;
use super::partition::Item;
use super::stats::{KafkaStats, StreamStats};
use crate::streams::{Stream, StreamEnd};

/// A stream, as everybody knows it.
#[derive(Clone)]
pub(super) struct Known {
    pub(super) stream: Stream,
    pub(super) end: Option<StreamEnd>,
}

/// What the feed is told.
pub(super) enum News {
    /// A partition is being read.
    Reading { stream: u16, items: Receiver<Item>, reader: Arc<Bell>, stats: Arc<StreamStats> },
    /// A partition should be read, and nobody answers for it.
    Absent(Arc<StreamStats>),
    /// The source can not go on.
    Failed(KafkaSourceError),
}

/// What the source's threads have in common.
pub(super) struct Shared {
    pub(super) stopped: Arc<AtomicBool>,
    /// Wakes the feed.
    pub(super) feed: Arc<Bell>,
    pub(super) stats: Arc<KafkaStats>,
    /// All streams, by number.
    pub(super) known: RwLock<Vec<Known>>,
    /// What the feed has not heard yet: a few for every partition, and an end.
    news: Mutex<VecDeque<News>>,
    /// Positions that are bound and not yet committed.
    bound: Mutex<Option<Vec<(u16, u64)>>>,
}

impl Shared {
    pub(super) fn new(known: Vec<Known>) -> Self {
        Shared {
            stopped: Arc::default(),
            feed: Arc::default(),
            stats: Arc::default(),
            known: RwLock::new(known),
            news: Mutex::default(),
            bound: Mutex::default(),
        }
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    pub(super) fn tell(&self, news: News) {
        self.news.lock().expect("nothing panics while it holds the news").push_back(news);
        self.feed.ring();
    }

    pub(super) fn hear(&self) -> Option<News> {
        self.news.lock().expect("nothing panics while it holds the news").pop_front()
    }

    pub(super) fn put_bound(&self, positions: &[(u16, u64)]) {
        *self.bound.lock().expect("nothing panics while it holds positions") = Some(positions.to_vec());
    }

    pub(super) fn take_bound(&self) -> Option<Vec<(u16, u64)>> {
        self.bound.lock().expect("nothing panics while it holds positions").take()
    }

    pub(super) fn known(&self, stream: u16) -> Option<Known> {
        let known = self.known.read().expect("nothing panics while it holds the streams");
        known.get(usize::from(stream)).cloned()
    }
}
