//! Records in no window, kept within bounds.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use crate::domain::fact::Position;
use crate::domain::rules::DAY_MS;
use crate::domain::validate::{Reason, Shelf};

/// Records kept of each reason where the first are kept.
const FIRST_RECORDS: usize = 1_000;
/// Payload bytes kept of each reason where the first are kept: records may be a mebibyte long.
const FIRST_BYTES: usize = 16 << 20;
/// Payload bytes kept of each reason where the newest are kept.
const NEWEST_BYTES: usize = 64 << 20;
/// How long a record is kept where the newest are, by the wall clock bound to epochs, in ms.
const NEWEST_MS: i64 = 90 * DAY_MS;
/// What a record takes beside its payload, about, in bytes.
const RECORD_BYTES: usize = 256;

/// A record in no window: quarantined, or parked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// Why.
    pub reason: Reason,
    /// What was found and what is asked for.
    pub detail: String,
    /// Where it was read.
    pub position: Position,
    /// The record as it came; its first 64 KiB where it is over 1 MiB.
    pub payload: Box<[u8]>,
    /// The record's whole length in bytes.
    pub payload_length: u64,
    /// The epoch it came in.
    pub epoch: u64,
    /// The wall clock bound to that epoch, ms since 1970.
    pub set_aside_at_ms: i64,
}

impl SetAside {
    /// A record that came too late.
    pub(crate) fn parked(position: Position, reason: Reason, payload: Box<[u8]>, epoch: u64, wall_ms: i64) -> SetAside {
        let detail = match reason {
            Reason::Late => "the click is below the floor: its window is final",
            _ => "the verdict is below the floor, or every click it is about is: settle it as an adjustment",
        };
        let payload_length = payload.len() as u64;
        SetAside { reason, detail: detail.into(), position, payload, payload_length, epoch, set_aside_at_ms: wall_ms }
    }
}

/// Records in no window, by reason. All are counted; which are kept is bounded; a streaming taker gets all.
pub(crate) struct SetAsideList {
    keep: Keep,
    kept: BTreeMap<Reason, OfReason>,
    /// Numbers grow in the order in which records were set aside.
    next_number: u64,
    /// How many records had to go, for their age or for want of room, by reason.
    dropped: BTreeMap<Reason, u64>,
    /// The same of reasons that are not known, from manifests that did not say.
    dropped_before: u64,
    /// The wall clock, ms, from which on records are young enough.
    from_ms: i64,
    stream: Option<Vec<SetAside>>,
}

/// Which records are kept.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    /// The first of each reason: what went wrong with a file is seen in its first records.
    First,
    /// The newest of each reason, by age and size: a service goes on for years.
    Newest,
}

/// What a list comes to beside its records: with those from the oldest on it is the list again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outline {
    /// The number of the oldest record that is kept of each reason of which any is.
    pub(crate) oldest: BTreeMap<Reason, u64>,
    /// How many records had to go, by reason.
    pub(crate) dropped: BTreeMap<Reason, u64>,
    /// How many records had to go in all.
    pub(crate) dropped_total: u64,
    /// The number of the next record.
    pub(crate) next_number: u64,
    /// What the kept records take, about, in bytes.
    pub(crate) bytes: u64,
}

impl Outline {
    /// Whether a record is kept.
    pub(crate) fn keeps(&self, reason: Reason, number: u64) -> bool {
        self.oldest.get(&reason).is_some_and(|oldest| *oldest <= number)
    }
}

/// The records that are kept of one reason.
#[derive(Default)]
struct OfReason {
    records: VecDeque<(u64, Arc<SetAside>)>,
    bytes: usize,
}

impl SetAsideList {
    /// An empty list of the first records of each reason; `streaming` also keeps every record until it is taken.
    pub(crate) fn first(streaming: bool) -> Self {
        SetAsideList {
            keep: Keep::First,
            kept: BTreeMap::new(),
            next_number: 1,
            dropped: BTreeMap::new(),
            dropped_before: 0,
            from_ms: i64::MIN,
            stream: streaming.then(Vec::new),
        }
    }

    /// An empty list of the newest records of each reason.
    pub(crate) fn newest() -> Self {
        SetAsideList { keep: Keep::Newest, ..SetAsideList::first(false) }
    }

    /// A list of the newest records that goes on after some numbered ones, oldest first. Of these, those come back that `outline`
    /// keeps; without it, all. `dropped` went before.
    pub(crate) fn restore(records: Vec<(u64, SetAside)>, dropped: u64, outline: Option<Outline>) -> Self {
        let mut list = SetAsideList::newest();
        for (number, record) in records {
            if outline.as_ref().is_none_or(|outline| outline.keeps(record.reason, number)) {
                list.next_number = number;
                // Who follows may need them all still.
                list.push(record, 0);
            }
        }
        if let Some(outline) = outline {
            (list.next_number, list.dropped) = (outline.next_number, outline.dropped);
        }
        list.dropped_before = dropped.saturating_sub(list.dropped.values().sum());
        list
    }

    /// How many records had to go, by reason.
    pub(crate) fn dropped(&self) -> &BTreeMap<Reason, u64> {
        &self.dropped
    }

    /// How many records had to go.
    pub(crate) fn dropped_total(&self) -> u64 {
        self.dropped_before + self.dropped.values().sum::<u64>()
    }

    /// What the records take, about, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.kept.values().map(|kept| kept.bytes as u64).sum()
    }

    /// The number of the next record.
    pub(crate) fn next_number(&self) -> u64 {
        self.next_number
    }

    /// What the list comes to beside its records.
    pub(crate) fn outline(&self) -> Outline {
        let front = |(reason, kept): (&Reason, &OfReason)| Some((*reason, kept.records.front()?.0));
        Outline {
            oldest: self.kept.iter().filter_map(front).collect(),
            dropped: self.dropped.clone(),
            dropped_total: self.dropped_total(),
            next_number: self.next_number,
            bytes: self.bytes(),
        }
    }

    /// The records of epochs up to one that come after a number, oldest first.
    pub(crate) fn after(&self, after: u64, epoch: u64) -> Vec<(u64, Arc<SetAside>)> {
        let mut records = Vec::new();
        for OfReason { records: kept, .. } in self.kept.values() {
            let first = kept.partition_point(|(number, _)| *number <= after);
            records.extend(kept.range(first..).take_while(|(_, record)| record.epoch <= epoch).cloned());
        }
        records.sort_by_key(|(number, _)| *number);
        records
    }

    /// The quarantined records of some epochs, in their order.
    pub(crate) fn quarantined(&self, epochs: Range<u64>) -> Vec<Arc<SetAside>> {
        let mut records = Vec::new();
        let quarantined = self.kept.iter().filter(|(reason, _)| reason.shelf() == Shelf::Quarantined);
        for kept in quarantined.map(|(_, kept)| &kept.records) {
            let first = kept.partition_point(|(_, record)| record.epoch < epochs.start);
            records.extend(kept.range(first..).take_while(|(_, record)| record.epoch < epochs.end).cloned());
        }
        records.sort_by_key(|(number, _)| *number);
        records.into_iter().map(|(_, record)| record).collect()
    }

    /// Lets go of what is too old or too much, whatever its reason, but of nothing from `needed_from` on, the first epoch that somebody
    /// who follows has not done with.
    pub(crate) fn let_go(&mut self, needed_from: u64) {
        if self.keep == Keep::Newest {
            for (reason, kept) in &mut self.kept {
                kept.let_go(self.from_ms, needed_from, self.dropped.entry(*reason).or_default());
            }
        }
    }

    /// Says what the wall clock is, by which records grow too old, also those of a reason of which no more come.
    pub(crate) fn pass(&mut self, wall_ms: i64) {
        self.from_ms = wall_ms.saturating_sub(NEWEST_MS);
    }

    /// Whether what those who follow need takes more room than there should be.
    pub(crate) fn is_overfull(&self) -> bool {
        self.keep == Keep::Newest && self.kept.values().any(|kept| 2 * NEWEST_BYTES < kept.bytes)
    }

    /// Adds a record, and lets go of what is too old or too much, but of nothing from epoch `needed_from` on.
    pub(crate) fn push(&mut self, record: SetAside, needed_from: u64) {
        let kept = self.kept.entry(record.reason).or_default();
        let bytes = RECORD_BYTES + record.payload.len();
        let has_room = kept.records.len() < FIRST_RECORDS && kept.bytes + bytes <= FIRST_BYTES;
        if self.keep == Keep::Newest || has_room {
            kept.bytes += bytes;
            kept.records.push_back((self.next_number, Arc::new(record.clone())));
        }
        if self.keep == Keep::Newest {
            kept.let_go(self.from_ms, needed_from, self.dropped.entry(record.reason).or_default());
        }
        self.next_number += 1;
        if let Some(stream) = &mut self.stream {
            stream.push(record);
        }
    }

    /// The records of a shelf after a number, oldest first; `reason` narrows.
    pub(crate) fn list(
        &self,
        shelf: Shelf,
        reason: Option<&str>,
        after: u64,
        limit: usize,
    ) -> Vec<(u64, Arc<SetAside>)> {
        let asked = |of: &Reason| of.shelf() == shelf && reason.is_none_or(|reason| reason == of.as_str());
        let of_reasons = self.kept.iter().filter(|(reason, _)| asked(reason));
        let mut records: Vec<_> = of_reasons
            .flat_map(|(_, kept)| kept.records.range(kept.records.partition_point(|(number, _)| *number <= after)..))
            .cloned()
            .collect();
        records.sort_by_key(|(number, _)| *number);
        records.truncate(limit);
        records
    }

    /// What was set aside since the last call, where the list streams.
    pub(crate) fn take(&mut self) -> Vec<SetAside> {
        self.stream.as_mut().map(std::mem::take).unwrap_or_default()
    }
}

impl OfReason {
    /// Drops what is older than a time or more than there is room for, but nothing of epochs from `needed_from` on, and counts it.
    fn let_go(&mut self, from_ms: i64, needed_from: u64, dropped: &mut u64) {
        while let Some((_, oldest)) = self.records.front()
            && oldest.epoch < needed_from
            && (oldest.set_aside_at_ms < from_ms || NEWEST_BYTES < self.bytes)
        {
            self.bytes -= RECORD_BYTES + oldest.payload.len();
            self.records.pop_front();
            *dropped += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(at_ms: i64, payload: usize) -> SetAside {
        SetAside {
            reason: Reason::Late,
            detail: String::new(),
            position: Position::default(),
            payload: vec![b'x'; payload].into(),
            payload_length: payload as u64,
            epoch: 1,
            set_aside_at_ms: at_ms,
        }
    }

    fn numbers(list: &SetAsideList) -> Vec<u64> {
        list.after(0, u64::MAX).iter().map(|(number, _)| *number).collect()
    }

    fn oldest(list: &SetAsideList) -> u64 {
        list.outline().oldest.into_values().min().unwrap()
    }

    /// The list as a checkpoint of epochs up to one brings it back.
    fn restored(list: &SetAsideList, epoch: u64, next_number: u64) -> SetAsideList {
        let records = list.after(0, epoch).into_iter().map(|(number, record)| (number, (*record).clone())).collect();
        let outline = Outline { next_number, ..list.outline() };
        SetAsideList::restore(records, list.dropped_total(), Some(outline))
    }

    #[test]
    fn a_service_keeps_the_newest_and_counts_what_goes() {
        let mut list = SetAsideList::newest();
        list.push(record(0, 1), u64::MAX);
        list.pass(NEWEST_MS);
        list.push(record(NEWEST_MS, 1), u64::MAX);
        assert_eq!((numbers(&list), list.dropped_total()), (vec![1, 2], 0));
        list.pass(NEWEST_MS + 1);
        list.push(record(NEWEST_MS + 1, 1), u64::MAX);
        assert_eq!((numbers(&list), list.dropped_total(), oldest(&list)), (vec![2, 3], 1, 2));
        (0..65).for_each(|_| list.push(record(NEWEST_MS + 1, 1 << 20), u64::MAX));
        assert_eq!(oldest(&list), numbers(&list)[0]);
        assert_eq!(numbers(&list).len() as u64 + list.dropped()[&Reason::Late], 68);
        assert!(numbers(&list).len() < 65, "64 MiB are kept");
    }

    #[test]
    fn a_reason_of_which_no_more_come_grows_old_as_well() {
        let mut list = SetAsideList::newest();
        list.push(SetAside { reason: Reason::VerdictLate, ..record(0, 1) }, u64::MAX);
        list.push(record(NEWEST_MS, 1), u64::MAX);
        list.pass(NEWEST_MS + 1);
        list.let_go(1);
        assert_eq!((numbers(&list), list.dropped_total()), (vec![1, 2], 0), "somebody needs epoch 1");
        list.let_go(u64::MAX);
        assert_eq!((numbers(&list), list.dropped()[&Reason::VerdictLate]), (vec![2], 1));
        assert_eq!(list.bytes() as usize, RECORD_BYTES + 1);
        list.pass(i64::MAX);
        list.let_go(u64::MAX);
        assert_eq!((numbers(&list), list.dropped_total(), list.bytes()), (vec![], 2, 0));
        list.push(record(i64::MAX, 1), u64::MAX);
        assert_eq!(numbers(&list), [3], "numbers go on");
    }

    #[test]
    fn a_replay_keeps_the_first() {
        let mut list = SetAsideList::first(false);
        (0..FIRST_RECORDS as i64 + 5).for_each(|at_ms| list.push(record(at_ms, 1), u64::MAX));
        assert_eq!(numbers(&list), (1..=FIRST_RECORDS as u64).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_needed_stays_until_it_is_not() {
        let mut list = SetAsideList::newest();
        let of = |epoch: u64| SetAside { reason: Reason::Unreadable, epoch, ..record(0, 1 << 20) };
        (1..=200).for_each(|epoch| list.push(of(epoch), 50));
        assert_eq!((oldest(&list), list.dropped_total(), list.is_overfull()), (50, 49, true));
        let mut restored = restored(&list, u64::MAX, 201);
        assert_eq!((oldest(&restored), restored.dropped_total()), (50, 49));
        let epochs = |records: Vec<Arc<SetAside>>| records.iter().map(|record| record.epoch).collect::<Vec<_>>();
        assert_eq!(epochs(restored.quarantined(60..63)), [60, 61, 62]);
        restored.let_go(201);
        assert!(!restored.is_overfull() && oldest(&restored) > 130, "{}", oldest(&restored));
    }

    #[test]
    fn a_restored_list_goes_on() {
        let mut list = SetAsideList::newest();
        (0..3).for_each(|at_ms| list.push(record(at_ms, 1), u64::MAX));
        let records = list.after(0, u64::MAX).into_iter().map(|(number, record)| (number, (*record).clone()));
        let mut restored = SetAsideList::restore(records.collect(), 7, None);
        restored.push(record(3, 1), u64::MAX);
        assert_eq!((numbers(&restored), restored.dropped_total()), (vec![1, 2, 3, 4], 7));
    }

    #[test]
    fn what_had_gone_before_a_restart_is_gone_and_is_counted_once() {
        let of = |epoch: u64| SetAside { epoch, ..record(0, 1 << 20) };
        let mut list = SetAsideList::newest();
        (1..=90).for_each(|epoch| list.push(of(epoch), u64::MAX));
        // A checkpoint of an epoch before the newest, from which the same epochs come again.
        let mut again = restored(&list, 85, 86);
        (86..=90).for_each(|epoch| again.push(of(epoch), u64::MAX));
        assert_eq!(numbers(&again), numbers(&list));
        assert_eq!((again.outline(), again.next_number()), (list.outline(), list.next_number()));
    }
}
