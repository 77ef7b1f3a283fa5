//! From events to batches: what every source does to its records before the engine sees them.
//!
//! A source reads records, decodes each to an [`Event`], and pushes it to a [`BatchBuilder`]; that validates it, fingerprints
//! its ids and packs a [`Fact`], or sets the record aside as broken. This work needs no engine, so sources do it on threads of
//! their own. The finished [`Batch`] holds records in the order of their stream.

mod names;

use std::sync::Arc;

use crate::domain::event::Event;
use crate::domain::fact::{Fact, Position};
use crate::domain::fingerprint::{Fingerprint, HashKey};
use crate::domain::rules::Rules;
use crate::domain::validate::{RECORD_BYTES_KEPT, RECORD_BYTES_MAX, Reason, Violation, validate};

use names::Names;

/// The bytes that a batch's records were decoded from, so that a record that is set aside is kept as it came.
pub trait RawRecords: Send + Sync {
    /// The record that starts at `offset`: its bytes, and the offset just past it.
    fn record(&self, offset: u64) -> (&[u8], u64);
}

/// Some consecutive records of one stream, decoded.
pub struct Batch {
    /// The stream's number.
    pub stream: u16,
    /// Accepted records, in order of offset.
    pub facts: Vec<Fact>,
    /// Broken records, in order of offset.
    pub broken: Vec<Broken>,
    /// Ads that this intake met for the first time in its newest day.
    pub ads: Vec<AdName>,
    /// Offsets of records with fields that no version of the contract names, ascending, and how many each has.
    pub unknown_fields: Vec<(u64, u64)>,
    /// Where the records' bytes are.
    pub raw: Arc<dyn RawRecords>,
}

impl Batch {
    /// How many records the batch holds.
    pub fn records(&self) -> usize {
        self.facts.len() + self.broken.len()
    }

    /// The offset just past its last record; `None` where it has none.
    pub fn end(&self) -> Option<u64> {
        let last = [self.facts.last().map(|fact| fact.position()), self.broken.last().map(|broken| broken.position)];
        last.into_iter().flatten().max().map(|last| self.raw.record(last.offset).1)
    }

    /// Cuts the batch at an offset of its stream, and returns the records that start there or behind it. The names of ads stay
    /// with the first part: they may be known before they are needed, and not after.
    pub fn split_off(&mut self, offset: u64) -> Batch {
        let facts = self.facts.partition_point(|fact| fact.position().offset < offset);
        let broken = self.broken.partition_point(|broken| broken.position.offset < offset);
        let unknown = self.unknown_fields.partition_point(|(at, _)| *at < offset);
        Batch {
            stream: self.stream,
            facts: self.facts.split_off(facts),
            broken: self.broken.split_off(broken),
            ads: Vec::new(),
            unknown_fields: self.unknown_fields.split_off(unknown),
            raw: Arc::clone(&self.raw),
        }
    }
}

/// A record that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Where it was read.
    pub position: Position,
    /// Which rule, and what was found.
    pub violation: Violation,
    /// The record as it came; its first 64 KiB where it is over 1 MiB.
    pub payload: Box<[u8]>,
    /// The record's whole length in bytes.
    pub payload_length: u64,
}

/// The name of an ad, for some time: no click that the engine took in under this name, until it is named again, lies behind the day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdName {
    /// The ad.
    pub ad: Fingerprint,
    /// The number of a day, UTC, since 1970.
    pub day: u32,
    /// Its name.
    pub name: Box<str>,
}

/// What turns one thread's events into batches. It remembers which ads it has named already, so that a name crosses to the
/// engine about once a thread and day of event time and not once a click; that an ad is named again says that it is still alive.
///
/// An engine has to know a name before the first click that counts on it. So batches of one intake are handed out in the order in which
/// they were made, or their names go ahead of them.
pub struct Intake {
    key: HashKey,
    rules: Rules,
    names: Names,
}

impl Intake {
    /// An intake for the store with this key and these rules.
    pub fn new(key: HashKey, rules: Rules) -> Self {
        Intake { key, rules, names: Names::default() }
    }

    /// Starts a batch of records of one stream. `capacity` is the number of records expected.
    pub fn batch(&mut self, stream: u16, capacity: usize, raw: Arc<dyn RawRecords>) -> BatchBuilder<'_> {
        self.names.begin();
        let facts = Vec::with_capacity(capacity);
        let batch = Batch { stream, facts, broken: Vec::new(), ads: Vec::new(), unknown_fields: Vec::new(), raw };
        BatchBuilder { intake: self, batch }
    }
}

/// A batch being built.
pub struct BatchBuilder<'a> {
    intake: &'a mut Intake,
    batch: Batch,
}

impl BatchBuilder<'_> {
    /// Takes in one decoded record, or sets it aside where it breaks a rule. Offsets ascend. `payload` is the record as it
    /// came; `arrival_ms` is when the service took it, `None` in files.
    pub fn push(&mut self, event: &Event<'_>, offset: u64, payload: &[u8], arrival_ms: Option<i64>) {
        if let Err(violation) = validate(event, arrival_ms, &self.intake.rules) {
            return self.push_broken(violation, offset, payload, payload.len() as u64);
        }
        let position = Position { stream: self.batch.stream, offset };
        let fact = match event {
            Event::Click(click) => {
                let ad = self.intake.key.ad(&click.ad_id);
                self.intake.names.see(ad, click);
                Fact::copy_of(click, ad, position, &self.intake.key, &self.intake.rules)
            }
            Event::Verdict(verdict) => Fact::verdict(verdict, position, &self.intake.key),
        };
        self.batch.facts.push(fact);
    }

    /// Sets a record aside. `payload` is the record as it came, or its beginning; `payload_length` is its whole length.
    pub fn push_broken(&mut self, violation: Violation, offset: u64, payload: &[u8], payload_length: u64) {
        let kept = match payload_length > RECORD_BYTES_MAX as u64 {
            true => &payload[..payload.len().min(RECORD_BYTES_KEPT)],
            false => payload,
        };
        let position = Position { stream: self.batch.stream, offset };
        self.batch.broken.push(Broken { position, violation, payload: kept.into(), payload_length });
    }

    /// Counts fields, of the record at an offset, that no version of the contract names.
    pub fn add_unknown_fields(&mut self, offset: u64, fields: u64) {
        if fields > 0 {
            self.batch.unknown_fields.push((offset, fields));
        }
    }

    /// The batch.
    pub fn finish(self) -> Batch {
        Batch { ads: self.intake.names.finish(), ..self.batch }
    }
}

/// The violation of a record that can not be read.
pub fn unreadable(detail: impl Into<String>) -> Violation {
    Violation::new(Reason::Unreadable, detail)
}
