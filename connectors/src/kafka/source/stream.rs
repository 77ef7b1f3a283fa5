//! One stream, as the feed sees it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam_channel::Receiver;
use recount_dataflow::intake::Batch;

use super::bell::Bell;
use super::error::KafkaSourceError;
use super::partition::Item;
use super::shared::Known;
use super::skew::{Front, Upcoming};
use super::stats::StreamStats;
use crate::source::{Ahead, Next};
use crate::streams::StreamEnd;

/// One stream, as far as it was handed out.
pub(super) struct StreamFeed {
    end: Option<StreamEnd>,
    /// `None` where it is not read.
    reading: Option<Reading>,
    ahead: Ahead,
    next: Upcoming,
    /// The next offset.
    position: u64,
    passed_ms: i64,
}

/// What a stream that is read has.
struct Reading {
    /// Whether it is read on behind what was bound before.
    is_live: bool,
    items: Receiver<Item>,
    reader: Arc<Bell>,
    stats: Arc<StreamStats>,
}

impl StreamFeed {
    pub(super) fn new(known: &Known, position: u64) -> Self {
        StreamFeed {
            end: known.end,
            reading: None,
            ahead: Ahead::default(),
            next: Upcoming::Unknown,
            position,
            passed_ms: i64::MIN,
        }
    }

    /// It is being read from now on.
    pub(super) fn attach(&mut self, is_live: bool, items: Receiver<Item>, reader: Arc<Bell>, stats: Arc<StreamStats>) {
        self.reading = Some(Reading { is_live, items, reader, stats });
    }

    /// Whether it is among those that live reading chooses from.
    pub(super) fn is_live(&self) -> bool {
        self.reading.as_ref().is_some_and(|reading| reading.is_live)
    }

    /// What is told of it, where it is read.
    pub(super) fn stats(&self) -> Option<&Arc<StreamStats>> {
        self.reading.as_ref().map(|reading| &reading.stats)
    }

    pub(super) fn front(&self) -> Front {
        Front { passed_ms: self.passed_ms, next: self.next }
    }

    /// Takes what has come out of the channel, up to a batch.
    pub(super) fn pull(&mut self) {
        let Some(reading) = &self.reading else { return };
        while !matches!(self.next, Upcoming::Batch { .. }) {
            let Ok(item) = reading.items.try_recv() else { return };
            reading.reader.ring();
            match item {
                Item::End => self.next = Upcoming::End,
                Item::Batch { batch, first_ms, max_ms } => {
                    self.ahead.put(batch);
                    self.next = Upcoming::Batch { first_ms, max_ms };
                }
            }
            reading.stats.hear(self.next == Upcoming::End);
        }
    }

    /// Tells whether what it has must wait for another.
    pub(super) fn tell_held(&self, is_held: bool) {
        if let Some(reading) = &self.reading {
            let is_held = is_held && matches!(self.next, Upcoming::Batch { .. });
            reading.stats.is_held.store(is_held, Ordering::Relaxed);
        }
    }

    /// Hands out the batch that it has.
    pub(super) fn take(&mut self) -> Option<Batch> {
        let batch = self.ahead.take()?;
        Some(self.hand_out(batch, false))
    }

    fn hand_out(&mut self, batch: Batch, is_part: bool) -> Batch {
        self.position = batch.end().expect("a batch of Kafka holds a record");
        if let Upcoming::Batch { first_ms, max_ms } = self.next
            && !is_part
        {
            self.passed_ms = self.passed_ms.max(first_ms).max(max_ms);
            self.next = Upcoming::Unknown;
        }
        if let Some(reading) = &self.reading {
            reading.stats.next.store(self.position, Ordering::Relaxed);
            reading.stats.passed_ms.store(self.passed_ms, Ordering::Relaxed);
        }
        batch
    }

    /// The next records before `end`; `None` where they are not here yet.
    pub(super) fn next_before(&mut self, stream: u16, end: u64) -> Result<Option<Next>, KafkaSourceError> {
        if end <= self.position {
            return Ok(Some(Next::End));
        }
        if let Some(StreamEnd { at, .. }) = self.end {
            return Err(KafkaSourceError::Ended { stream, at, wanted: end });
        }
        self.pull();
        match self.next {
            Upcoming::Unknown => Ok(None),
            // What was bound was in the partition then, and is before its end now: what is left are offsets without a record.
            Upcoming::End => Ok(Some(self.reach(end))),
            Upcoming::Batch { .. } => {
                let batch = self.ahead.take().expect("a batch that comes next is at hand");
                Ok(Some(match self.ahead.cut(batch, stream, end) {
                    Next::Batch(batch) => {
                        let is_part = self.ahead.is_some();
                        Next::Batch(self.hand_out(batch, is_part))
                    }
                    _ => self.reach(end),
                }))
            }
        }
    }

    fn reach(&mut self, end: u64) -> Next {
        self.position = self.position.max(end);
        if let Some(reading) = &self.reading {
            reading.stats.next.store(self.position, Ordering::Relaxed);
        }
        Next::End
    }
}
