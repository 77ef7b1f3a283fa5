//! One sink's thread: it reads epoch after epoch, and publishes them in transactions of whole ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use recount_connectors::kafka::sink::{Batch, Publisher, SinkError};
use recount_dataflow::read::{Follower, ReadError, Reader};

use super::settings::Limits;
use super::stats::SinkStats;

/// How long the thread waits for an epoch before it looks whether to stop.
const WAIT_STEP: Duration = Duration::from_millis(20);
/// How long epochs without messages may go by before progress says so.
const QUIET_MAX: Duration = Duration::from_secs(1);

/// Why a sink can not go on.
#[derive(Debug)]
pub(super) enum FollowError {
    /// It can not publish.
    Sink(SinkError),
    /// What it has to publish can not be read.
    Read(ReadError),
}

impl From<SinkError> for FollowError {
    fn from(error: SinkError) -> Self {
        FollowError::Sink(error)
    }
}

impl From<ReadError> for FollowError {
    fn from(error: ReadError) -> Self {
        FollowError::Read(error)
    }
}

/// When to end: at once where the start is broken off, else when all is published or the time is over.
#[derive(Default)]
pub(super) struct Stop {
    asked: AtomicBool,
    until: Mutex<Option<Instant>>,
}

impl Stop {
    /// Asks for the end: what is complete is published, but not beyond `until`.
    pub(super) fn ask(&self, until: Instant) {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
        self.asked.store(true, Ordering::Release);
    }

    fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }

    /// Whether nobody should wait for anything any more.
    pub(super) fn is_over(&self) -> bool {
        let until = || *self.until.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_asked() && until().is_some_and(|until| until < Instant::now())
    }
}

/// What a sink publishes of an epoch.
pub(super) trait Content {
    /// How many epochs before the one that is read have to be readable too.
    const EPOCHS_BEFORE: u64;

    /// Publishes what of an epoch may be more than a transaction can hold, and may be published again where it is broken off.
    fn publish_ahead(&mut self, _link: &mut Link, _epoch: u64) -> Result<(), FollowError> {
        Ok(())
    }

    /// Adds the messages of an epoch, the same ones whenever it is read.
    fn add(&mut self, reader: &Reader, epoch: u64, batch: &mut Batch) -> Result<(), FollowError>;

    /// Publishes what is missing up to `restored`, the epoch that the engine went on from; what single epochs before it have changed
    /// may not be known any more.
    fn catch_up(&mut self, link: &mut Link, restored: u64) -> Result<(), FollowError>;
}

/// Between the engine and the publisher: what was read, and how far it is published.
pub(super) struct Link {
    pub(super) reader: Reader,
    pub(super) batch: Batch,
    publisher: Publisher,
    limits: Limits,
    stats: Arc<SinkStats>,
    /// The newest epoch that was read: it is published, or in the batch.
    read: u64,
    /// The newest epoch that is published.
    done: u64,
    /// The newest epoch that Kafka's progress tells of, and since when.
    told: u64,
    told_at: Instant,
}

impl Link {
    pub(super) fn new(
        reader: Reader,
        publisher: Publisher,
        limits: Limits,
        stats: Arc<SinkStats>,
        published: Option<u64>,
    ) -> Self {
        let done = published.unwrap_or(0);
        let (batch, told_at) = (Batch::default(), Instant::now());
        Link { reader, batch, publisher, limits, stats, read: done, done, told: done, told_at }
    }

    pub(super) fn name(&self) -> &'static str {
        self.stats.name
    }

    /// The first epoch that is not published.
    pub(super) fn next(&self) -> u64 {
        self.done + 1
    }

    /// Whether the batch is large enough to be sent.
    pub(super) fn is_full(&self) -> bool {
        self.limits.messages <= self.batch.len() || self.limits.bytes <= self.batch.byte_len()
    }

    /// Whether it was long enough ago that something was published.
    fn is_due(&self) -> bool {
        self.limits.interval <= self.told_at.elapsed()
    }

    /// Publishes the batch, and with it that every epoch up to `epoch` is published.
    pub(super) fn publish(&mut self, epoch: u64) -> Result<(), SinkError> {
        self.send(Some(epoch))?;
        self.pass(epoch);
        (self.told, self.told_at) = (epoch, Instant::now());
        self.stats.told(epoch);
        Ok(())
    }

    /// Publishes what was read so far, so that the batch is empty.
    pub(super) fn publish_read(&mut self) -> Result<(), SinkError> {
        if self.batch.is_empty() { Ok(()) } else { self.publish(self.read) }
    }

    /// Publishes the batch as a part of what a later one completes.
    pub(super) fn publish_part(&mut self) -> Result<(), SinkError> {
        self.send(None)
    }

    /// Nothing up to `epoch` is to be published any more.
    pub(super) fn pass(&mut self, epoch: u64) {
        (self.done, self.read) = (epoch, epoch);
        self.stats.passed(epoch);
    }

    fn send(&mut self, epoch: Option<u64>) -> Result<(), SinkError> {
        let began = Instant::now();
        self.publisher.publish(&self.batch, epoch)?;
        self.stats.published(self.batch.len(), self.batch.byte_len(), began.elapsed());
        self.batch.clear();
        Ok(())
    }
}

/// A sink that follows the engine.
pub(super) struct Follow<C> {
    link: Link,
    content: C,
    follower: Follower,
    /// The epoch that the engine went on from.
    restored: u64,
    stop: Arc<Stop>,
}

impl<C: Content> Follow<C> {
    /// Begins to follow, before anything is fed: no epoch leaves the history unread from here on.
    pub(super) fn new(link: Link, content: C, stop: Arc<Stop>) -> Self {
        let restored = link.reader.readable().since;
        let first = link.next().max(restored + 1);
        let follower = link.reader.follow(first.saturating_sub(C::EPOCHS_BEFORE));
        Follow { link, content, follower, restored, stop }
    }

    /// Publishes until it is told to stop, and then what is complete.
    pub(super) fn run(mut self) -> Result<(), FollowError> {
        if self.link.next() <= self.restored {
            self.content.catch_up(&mut self.link, self.restored)?;
        }
        loop {
            // Asked first: what completes after that is published still.
            let is_last = self.stop.is_asked();
            let upper = self.wait()?;
            self.read_below(upper)?;
            self.publish_rest(is_last)?;
            if is_last {
                if self.link.told < self.link.done {
                    self.link.publish(self.link.done)?;
                }
                return Ok(());
            }
        }
    }

    /// Waits a moment for the next epoch, and returns the first that is not complete.
    fn wait(&self) -> Result<u64, ReadError> {
        match self.link.reader.wait_for(self.link.read + 1, Instant::now() + WAIT_STEP) {
            Ok(readable) => Ok(readable.upper),
            // Where the engine has stopped, what it completed can still be read.
            Err(ReadError::DeadlineExceeded | ReadError::Stopped) => Ok(self.link.reader.readable().upper),
            Err(error) => Err(error),
        }
    }

    /// Reads the epochs below `upper`, and publishes what fills a batch.
    fn read_below(&mut self, upper: u64) -> Result<(), FollowError> {
        while self.link.read + 1 < upper {
            let epoch = self.link.read + 1;
            self.content.publish_ahead(&mut self.link, epoch)?;
            self.content.add(&self.link.reader, epoch, &mut self.link.batch)?;
            self.link.read = epoch;
            if self.link.batch.is_empty() {
                self.link.batch.clear();
                self.link.pass(epoch);
                self.advance();
            } else if self.link.is_full() {
                self.link.publish(epoch)?;
                self.advance();
            }
        }
        Ok(())
    }

    /// Publishes what was read, where it has waited long enough for more, and otherwise now and then how far the sink has come.
    fn publish_rest(&mut self, is_last: bool) -> Result<(), FollowError> {
        if !self.link.batch.is_empty() && (is_last || self.link.is_due()) {
            self.link.publish(self.link.read)?;
            self.advance();
        }
        if self.link.batch.is_empty() && self.link.told < self.link.done && QUIET_MAX <= self.link.told_at.elapsed() {
            self.link.publish(self.link.done)?;
        }
        Ok(())
    }

    /// Lets go of the history that is not needed any more.
    fn advance(&self) {
        self.follower.advance(self.link.next().saturating_sub(C::EPOCHS_BEFORE));
    }
}
