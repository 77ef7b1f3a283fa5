//! Looking at a sink before it is claimed: nobody is fenced, and nothing is made.

use super::patience::Patience;
use super::progress::{self, Progress, UpTo};
use super::{Cancel, PublisherSettings, SinkError, topics};

impl PublisherSettings {
    /// Looks at the topics that are there, and at how far the sink has come: the newest epoch of this generation that is published,
    /// `None` where there is none. A transaction that is still open hides what came after its beginning. `bound` is the newest epoch
    /// that is bound here. It waits for brokers for as long as it takes.
    ///
    /// # Errors
    /// Where another writer or another history has published, where a topic is of the wrong kind, where Kafka refuses, and
    /// [`SinkError::Cancelled`].
    pub fn look(&self, bound: u64, cancel: Cancel) -> Result<Option<u64>, SinkError> {
        let mut patience = Patience::new(self.identity.sink, cancel);
        loop {
            patience.check()?;
            match self.look_once(bound) {
                Err(error) if error.is_retryable() => patience.wait("looking at the sink's topics", &error)?,
                looked => return looked,
            }
        }
    }

    fn look_once(&self, bound: u64) -> Result<Option<u64>, SinkError> {
        let there = topics::look(self)?;
        if !there.progress {
            return Ok(None);
        }
        let found = progress::read(&self.client, &self.progress_topic, &self.identity.key(), UpTo::Committed)?;
        found.iter().try_for_each(|found| found.judge(&self.identity, bound))?;
        let goes_on = |found: &Progress| {
            found.generation == self.identity.generation && found.goes_on_in(&self.topics, &there.topics)
        };
        Ok(found.filter(goes_on).map(|found| found.epoch))
    }
}
