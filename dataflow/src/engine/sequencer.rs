//! The sequencer: cuts streams of records into epochs and binds them.
//!
//! It is pure but for what it is handed: the same batches cut at the same places give the same epochs, bindings and parked
//! records, whatever clock runs. `W` and `F` judge an epoch's records as they stood before it, so an epoch is judged when it is
//! sealed, whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;

use crate::domain::fact::{Fact, Position};
use crate::domain::validate::Reason;
use crate::domain::watermark::Watermark;
use crate::intake::{Batch, Broken, RawRecords};
use crate::operators::context::Bound;
use crate::published::{AfterEpoch, Binding, SetAside};

/// Collects records until an epoch is sealed.
pub(crate) struct Sequencer {
    epoch_records: usize,
    /// The epoch that is open.
    epoch: u64,
    watermark: Watermark,
    positions: BTreeMap<u16, u64>,
    /// The greatest time that any record has carried.
    event_ms_max: i64,
    open: Open,
}

/// What the open epoch holds.
#[derive(Default)]
struct Open {
    records: usize,
    facts: Vec<(Vec<Fact>, Arc<dyn RawRecords>)>,
    broken: Vec<Broken>,
    unknown_fields: u64,
}

/// A sealed epoch: its binding, and the facts that are left to the graph.
pub(crate) struct Sealed {
    /// What is fixed of it.
    pub(crate) binding: Binding,
    /// Its facts, in pieces.
    pub(crate) facts: Vec<Vec<Fact>>,
}

impl Sequencer {
    /// A sequencer that goes on after an epoch.
    pub(crate) fn new(after: &AfterEpoch, epoch_records: usize) -> Self {
        assert!(0 < epoch_records, "an epoch holds at least one record");
        Sequencer {
            epoch_records,
            epoch: after.epoch + 1,
            watermark: after.bound.watermark_after,
            positions: after.positions.clone(),
            event_ms_max: after.event_ms_max,
            open: Open::default(),
        }
    }

    /// Records in the open epoch.
    pub(crate) fn open_records(&self) -> usize {
        self.open.records
    }

    /// The newest sealed epoch.
    pub(crate) fn newest(&self) -> u64 {
        self.epoch - 1
    }

    /// Takes as much of a batch as the open epoch has room for, and returns what is left. The epoch is full when it says so.
    pub(crate) fn take(&mut self, mut batch: Batch) -> Option<Batch> {
        let room = self.epoch_records - self.open.records;
        let rest = if batch.records() > room { Some(split(&mut batch, room)) } else { None };
        self.take_all(batch);
        rest
    }

    /// Takes a whole batch, however many records the open epoch holds then.
    pub(crate) fn take_all(&mut self, mut batch: Batch) {
        self.open.records += batch.records();
        let last = [batch.facts.last().map(|fact| fact.position()), batch.broken.last().map(|broken| broken.position)];
        if let Some(last) = last.into_iter().flatten().max() {
            self.positions.insert(batch.stream, batch.raw.record(last.offset).1);
        }
        self.open.unknown_fields += batch.unknown_fields.iter().map(|(_, fields)| fields).sum::<u64>();
        self.open.broken.append(&mut batch.broken);
        if !batch.facts.is_empty() {
            self.open.facts.push((batch.facts, batch.raw));
        }
    }

    /// Whether the open epoch has no room left.
    pub(crate) fn is_full(&self) -> bool {
        self.epoch_records <= self.open.records
    }

    /// Seals the open epoch. `wall_ms` is bound to it; without one, the greatest time that any record has carried.
    pub(crate) fn seal(&mut self, wall_ms: Option<i64>) -> Sealed {
        let open = std::mem::take(&mut self.open);
        let before = self.watermark;
        let mut judged = Judged::default();
        let mut facts = Vec::with_capacity(open.facts.len());
        for (mut piece, raw) in open.facts {
            judged.judge(&mut piece, &raw, before);
            facts.push(piece);
        }
        if let Some(click_ms_max) = judged.click_ms_max {
            self.watermark.advance(click_ms_max);
        }
        self.event_ms_max = self.event_ms_max.max(judged.event_ms_max);
        let wall_ms = wall_ms.unwrap_or(self.event_ms_max);
        let epoch = self.epoch;
        self.epoch += 1;

        let quarantined = open.broken.into_iter().map(|broken| SetAside {
            reason: broken.violation.reason,
            detail: broken.violation.detail,
            position: broken.position,
            payload: broken.payload,
            payload_length: broken.payload_length,
            epoch,
            set_aside_at_ms: wall_ms,
        });
        let parked = judged
            .late
            .into_iter()
            .map(|(position, reason, payload)| SetAside::parked(position, reason, payload, epoch, wall_ms));
        let mut set_aside: Vec<SetAside> = quarantined.chain(parked).collect();
        set_aside.sort_by_key(|record| record.position);
        let bound = Bound { watermark_before: before, watermark_after: self.watermark, wall_ms };
        let binding = Binding {
            epoch,
            bound,
            positions: self.positions.clone(),
            records_in: open.records as u64,
            unknown_fields: open.unknown_fields,
            event_ms_max: self.event_ms_max,
            set_aside,
            verdicts: judged.verdicts,
        };
        Sealed { binding, facts }
    }
}

/// What comes of judging an epoch's facts by the floor.
#[derive(Default)]
struct Judged {
    /// The greatest event time of an accepted click.
    click_ms_max: Option<i64>,
    /// The greatest time of any fact.
    event_ms_max: i64,
    late: Vec<(Position, Reason, Box<[u8]>)>,
    verdicts: HashMap<Position, Box<[u8]>>,
}

impl Judged {
    /// Takes the late facts out of a piece, and tells the verdicts left in it what was frozen when they came.
    fn judge(&mut self, facts: &mut Vec<Fact>, raw: &Arc<dyn RawRecords>, watermark: Watermark) {
        let mut any_late = false;
        for fact in facts.iter_mut() {
            let event_ms = fact.event_ms();
            self.event_ms_max = self.event_ms_max.max(event_ms);
            let late = watermark.is_late(event_ms);
            any_late |= late;
            if fact.is_copy() {
                self.click_ms_max = self.click_ms_max.max((!late).then_some(event_ms));
            } else if !late {
                self.verdicts.insert(fact.position(), raw.record(fact.position().offset).0.into());
                *fact = fact.accepted_at(watermark.floor_ms());
            }
        }
        if any_late {
            facts.retain(|fact| {
                let late = watermark.is_late(fact.event_ms());
                if late {
                    let reason = if fact.is_copy() { Reason::Late } else { Reason::VerdictLate };
                    self.late.push((fact.position(), reason, raw.record(fact.position().offset).0.into()));
                }
                !late
            });
        }
    }
}

/// Cuts a batch after its first `records` records; what follows is returned.
fn split(batch: &mut Batch, records: usize) -> Batch {
    let place = |broken: &Broken| batch.facts.partition_point(|fact| fact.position() < broken.position);
    let broken =
        batch.broken.iter().enumerate().take_while(|(number, broken)| number + place(broken) < records).count();
    let facts = batch.facts[records - broken..].first().map(|fact| fact.position());
    let next = facts.into_iter().chain(batch.broken[broken..].first().map(|broken| broken.position)).min();
    batch.split_off(next.map_or(u64::MAX, |next| next.offset))
}
