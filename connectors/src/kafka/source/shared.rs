//! What the source's threads have in common.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
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
    /// A partition is being read: live, or only so far as it was bound before.
    Reading { stream: u16, is_live: bool, items: Receiver<Item>, reader: Arc<Bell>, stats: Arc<StreamStats> },
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

    /// Does a thread's work. Without the thread its partitions would stand still and nobody would hear of it, so a panic ends the
    /// source.
    pub(super) fn guard(&self, thread: &str, work: impl FnOnce()) {
        // The panic itself was reported by the panic hook.
        if catch_unwind(AssertUnwindSafe(work)).is_err() {
            self.tell(News::Failed(KafkaSourceError::Panicked { thread: thread.to_owned() }));
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_panics_ends_the_source() {
        let shared = Shared::new(Vec::new());
        shared.guard("kafka-read-0", || {});
        assert!(shared.hear().is_none());
        shared.guard("kafka-read-1", || panic!("offset 5 came when 7 was next"));
        match shared.hear() {
            Some(News::Failed(error)) => assert!(error.to_string().contains("\"kafka-read-1\""), "{error}"),
            _ => panic!("nobody hears of it"),
        }
    }
}
