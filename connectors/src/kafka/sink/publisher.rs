//! The publisher: batches in, each once, whatever happens to brokers and producers in between.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::patience::Patience;
use super::producer::{Failure, Producer, Refusal};
use super::progress::{self, Progress, UpTo};
use super::{Batch, Cancel, Delivery, PublisherSettings, SinkError, topics};

/// What became of transactions; at least once, of batches.
#[derive(Debug, Default)]
pub struct Outcomes {
    /// Committed.
    pub committed: AtomicU64,
    /// Aborted, and sent again.
    pub aborted: AtomicU64,
    /// Not known at once: what is committed was read back.
    pub unknown: AtomicU64,
}

/// Whether something that failed is tried again, and why not.
enum Retry {
    Later(String),
    Never(Box<SinkError>),
}

/// Publishes what one sink has to say. One thread owns it.
pub struct Publisher {
    settings: PublisherSettings,
    cancel: Cancel,
    patience: Patience,
    producer: Option<Producer>,
    /// The last progress that is known to be committed.
    progress: Option<Progress>,
    outcomes: Arc<Outcomes>,
    /// The most bytes that a message of each topic may have.
    message_bytes_max: Vec<usize>,
    /// The topics that were made for it.
    made: Vec<String>,
    /// The times, ms since 1970, that a topic does not take of what is being published.
    moved_ms: BTreeSet<i64>,
}

impl Publisher {
    /// Makes the topics that are missing and the producer: from here on no former writer of the sink commits anything. It waits for
    /// brokers for as long as it takes. [`claim`](Publisher::claim) comes next: where a store has several sinks, after all of them
    /// are open, because what one of them left open hides the progress of the others.
    ///
    /// # Errors
    /// Where another writer or another history has published, where a topic is of the wrong kind, and where Kafka refuses.
    pub fn open(settings: PublisherSettings, cancel: Cancel) -> Result<Publisher, SinkError> {
        let patience = Patience::new(settings.identity.sink, cancel.clone());
        let outcomes = Arc::new(Outcomes::default());
        let mut open = Publisher {
            settings,
            cancel,
            patience,
            producer: None,
            progress: None,
            outcomes,
            message_bytes_max: Vec::new(),
            made: Vec::new(),
            moved_ms: BTreeSet::new(),
        };
        loop {
            match topics::ensure(&open.settings, &mut open.made) {
                Ok(message_bytes_max) => {
                    open.message_bytes_max = message_bytes_max;
                    break;
                }
                Err(error) => open.wait_or_fail("looking for the sink's topics", error)?,
            }
        }
        open.make_producer()?;
        Ok(open)
    }

    /// Reads how far the sink has come and puts up this writer's own progress record: who was writer before and wakes up now will
    /// find it. Returns the newest epoch of this generation that is published, `None` where there is none, and where its topics are new:
    /// then all there is is to be published to them. `bound` is the newest epoch that is bound here.
    ///
    /// # Errors
    /// As [`open`](Publisher::open).
    pub fn claim(&mut self, bound: u64) -> Result<Option<u64>, SinkError> {
        self.read_progress(bound)?;
        let generation = self.settings.identity.generation;
        let ours = self.progress.as_ref().filter(|progress| progress.generation == generation);
        let were_there: Vec<bool> = self.settings.topics.iter().map(|topic| !self.made.contains(&topic.name)).collect();
        let goes_on = |progress: &&Progress| progress.goes_on_in(&self.settings.topics, &were_there);
        let epoch = ours.filter(goes_on).map(|progress| progress.epoch);
        if let (Some(ours), None) = (ours, epoch) {
            let (sink, published) = (self.settings.identity.sink, ours.epoch);
            tracing::warn!(
                sink,
                published,
                "the sink's topic is another one, or was made anew: all there is is published to it"
            );
        }
        if let Some(other) = self.progress.as_ref().filter(|progress| progress.generation != generation) {
            let sink = self.settings.identity.sink;
            tracing::warn!(sink, %other, generation, "everything was made anew since; the sink publishes the new history");
        }
        self.publish(&Batch::default(), Some(epoch.unwrap_or(0)))?;
        Ok(epoch)
    }

    /// What became of transactions.
    pub fn outcomes(&self) -> Arc<Outcomes> {
        self.outcomes.clone()
    }

    /// The most bytes that a message of each topic may have, as the topics were when this was opened.
    pub fn message_bytes_max(&self) -> &[usize] {
        &self.message_bytes_max
    }

    /// Publishes a batch, and with it that every epoch up to `epoch` is published; with `None` the batch is a part of what a later
    /// one completes. Returns when it is committed, and waits for brokers for as long as it takes.
    ///
    /// # Errors
    /// Where another writer has taken over, where Kafka refuses, and [`SinkError::Cancelled`].
    pub fn publish(&mut self, batch: &Batch, epoch: Option<u64>) -> Result<(), SinkError> {
        let progress = epoch.map(|epoch| Progress::new(&self.settings.identity, &self.settings.topics, epoch));
        self.moved_ms.clear();
        loop {
            self.patience.check()?;
            match self.attempt(batch, progress.as_ref()) {
                Ok(()) => break,
                Err(Failure::Abort(why)) => self.abort(&why, batch)?,
                Err(failure @ Failure::Message(_)) => self.settle(failure, batch)?,
                Err(Failure::Unknown(why)) => {
                    if self.read_back(&why, progress.as_ref())? {
                        break;
                    }
                }
                Err(failure) => return Err(self.fatal(failure)),
            }
        }
        self.patience.rest();
        self.outcomes.committed.fetch_add(1, Ordering::Relaxed);
        if progress.is_some() {
            self.progress = progress;
        }
        Ok(())
    }

    fn attempt(&self, batch: &Batch, progress: Option<&Progress>) -> Result<(), Failure> {
        match self.settings.delivery {
            Delivery::ExactlyOnce => self.producer().transact(batch, progress, &self.moved_ms),
            Delivery::AtLeastOnce => self.producer().deliver(batch, progress, &self.moved_ms),
        }
    }

    /// Takes the open transaction back, so that the batch can be sent again.
    fn abort(&mut self, why: &str, batch: &Batch) -> Result<(), SinkError> {
        if let Some(refused) = self.producer().refused() {
            return self.settle(refused, batch);
        }
        self.patience.wait("a transaction", &why)?;
        self.take_back()?;
        // Of some messages it is known only now what became of them.
        match self.producer().refused() {
            Some(refused) => self.move_times(refused, batch),
            None => Ok(()),
        }
    }

    /// Takes the open transaction back, in which messages were refused, so that it can be sent again with other times.
    fn settle(&mut self, failure: Failure, batch: &Batch) -> Result<(), SinkError> {
        // Of each message is more known than of the transaction.
        let refused = self.producer().refused().unwrap_or(failure);
        self.move_times(refused, batch)?;
        self.take_back()
    }

    /// Lets headers say the times that were refused.
    ///
    /// # Errors
    /// Where no time was, or none that a header may say: it would be refused again.
    fn move_times(&mut self, failure: Failure, batch: &Batch) -> Result<(), SinkError> {
        let Failure::Message(Refusal { why, times_ms, .. }) = &failure else { return Err(self.fatal(failure)) };
        let before = self.moved_ms.len();
        self.moved_ms.extend(batch.movable_ms().filter(|ms| times_ms.contains(ms)));
        let times = self.moved_ms.len() - before;
        if times == 0 {
            return Err(self.fatal(failure));
        }
        let sink = self.settings.identity.sink;
        tracing::warn!(sink, times, %why, "a topic does not take the times of some records; they get that of sending, and a header says theirs");
        Ok(())
    }

    fn take_back(&mut self) -> Result<(), SinkError> {
        self.outcomes.aborted.fetch_add(1, Ordering::Relaxed);
        if self.settings.delivery == Delivery::AtLeastOnce {
            return Ok(());
        }
        match self.producer().abort() {
            Ok(()) => Ok(()),
            Err(Failure::Unknown(_)) => self.reopen(),
            Err(failure) => Err(self.fatal(failure)),
        }
    }

    fn producer(&self) -> &Producer {
        self.producer.as_ref().expect("there is a producer whenever a batch is published")
    }

    /// Throws the producer away, and reads what is committed. Returns whether the batch is.
    fn read_back(&mut self, why: &str, progress: Option<&Progress>) -> Result<bool, SinkError> {
        self.outcomes.unknown.fetch_add(1, Ordering::Relaxed);
        self.patience.wait("learning the outcome of a transaction", &why)?;
        self.reopen()?;
        // Nobody else writes our progress. Where the batch had none it is sent again: it changes nothing to publish a value twice.
        Ok(progress.is_some() && self.progress.as_ref() == progress)
    }

    fn reopen(&mut self) -> Result<(), SinkError> {
        // At least once, the epochs in hand are the newest; what is committed can only be older, or the same.
        let bound = u64::MAX;
        self.make_producer()?;
        self.read_progress(bound)
    }

    /// Makes a producer, which fences all former ones; but none of a writer who came later.
    fn make_producer(&mut self) -> Result<(), SinkError> {
        self.producer = None;
        loop {
            self.patience.check()?;
            (self.settings.guard)().map_err(|why| SinkError::Replaced { sink: self.settings.identity.sink, why })?;
            let made = self.peek().and_then(|()| {
                let opened = Producer::open(&self.settings, &self.message_bytes_max, self.cancel.clone());
                opened.map_err(|failure| match failure {
                    Failure::Abort(why) | Failure::Unknown(why) => Retry::Later(why),
                    failure => Retry::Never(Box::new(self.fatal(failure))),
                })
            });
            match made {
                Ok(producer) => {
                    self.producer = Some(producer);
                    return Ok(());
                }
                Err(Retry::Never(error)) => return Err(*error),
                Err(Retry::Later(why)) => self.patience.wait("making a producer", &why)?,
            }
        }
    }

    /// Looks whether a later writer has published, before anybody is fenced.
    fn peek(&self) -> Result<(), Retry> {
        let judged = self.read(UpTo::Committed).and_then(|found| match found {
            Some(found) => found.judge(&self.settings.identity, u64::MAX),
            None => Ok(()),
        });
        judged.map_err(|error| match error.is_retryable() {
            true => Retry::Later(error.to_string()),
            false => Retry::Never(Box::new(error)),
        })
    }

    fn read_progress(&mut self, bound: u64) -> Result<(), SinkError> {
        loop {
            match self.read(UpTo::HighWatermark) {
                Ok(found) => {
                    if let Some(found) = &found {
                        found.judge(&self.settings.identity, bound)?;
                    }
                    self.progress = found;
                    return Ok(());
                }
                Err(error) => self.wait_or_fail("reading the sink's progress", error)?,
            }
        }
    }

    fn read(&self, up_to: UpTo) -> Result<Option<Progress>, SinkError> {
        let PublisherSettings { client, identity, progress_topic, .. } = &self.settings;
        progress::read(client, progress_topic, &identity.key(), up_to)
    }

    fn wait_or_fail(&mut self, doing: &str, error: SinkError) -> Result<(), SinkError> {
        match error.is_retryable() {
            true => self.patience.wait(doing, &error),
            false => Err(error),
        }
    }

    fn fatal(&self, failure: Failure) -> SinkError {
        let sink = self.settings.identity.sink;
        match failure {
            Failure::Fenced(why) | Failure::Abort(why) | Failure::Unknown(why) => SinkError::Fenced { sink, why },
            Failure::Refused(error) => error.into(),
            Failure::Message(Refusal { why, advice, .. }) => {
                let topics: Vec<&str> = self.settings.topics.iter().map(|topic| topic.name.as_str()).collect();
                SinkError::Message { sink, topics: topics.join(", "), why, advice }
            }
            Failure::Cancelled => SinkError::Cancelled,
        }
    }
}
