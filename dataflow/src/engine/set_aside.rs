//! Records in no window, kept within bounds.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use crate::domain::rules::DAY_MS;
use crate::domain::validate::Reason;
use crate::read::SetAside;

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

/// Records in no window, by reason. All are counted; which are kept is bounded; a streaming taker gets all.
pub(crate) struct SetAsideList {
    keep: Keep,
    kept: BTreeMap<Reason, Kept>,
    /// Numbers grow in the order in which records were set aside.
    next_number: u64,
    /// How many records had to go, for their age or for want of room.
    dropped: u64,
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

#[derive(Default)]
struct Kept {
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
            dropped: 0,
            stream: streaming.then(Vec::new),
        }
    }

    /// An empty list of the newest records of each reason.
    pub(crate) fn newest() -> Self {
        SetAsideList { keep: Keep::Newest, ..SetAsideList::first(false) }
    }

    /// A list of the newest records that goes on after some numbered ones, oldest first; `dropped` went before.
    pub(crate) fn restore(records: Vec<(u64, SetAside)>, dropped: u64) -> Self {
        let mut list = SetAsideList { dropped, ..SetAsideList::newest() };
        for (number, record) in records {
            list.next_number = number;
            // Who follows may need them all still.
            list.push(record, 0);
        }
        list
    }

    /// How many records had to go.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The number of the oldest record that is kept.
    pub(crate) fn oldest(&self) -> u64 {
        let oldest = self.kept.values().filter_map(|kept| kept.records.front());
        oldest.map(|(number, _)| *number).min().unwrap_or(self.next_number)
    }

    /// The records of epochs up to one that come after a number, oldest first.
    pub(crate) fn after(&self, after: u64, epoch: u64) -> Vec<(u64, Arc<SetAside>)> {
        let kept = self.kept.values().flat_map(|kept| &kept.records);
        let mut records: Vec<_> =
            kept.filter(|(number, record)| after < *number && record.epoch <= epoch).cloned().collect();
        records.sort_by_key(|(number, _)| *number);
        records
    }

    /// The quarantined records of some epochs, in their order.
    pub(crate) fn quarantined(&self, epochs: Range<u64>) -> Vec<Arc<SetAside>> {
        let mut records = Vec::new();
        for kept in self.kept.iter().filter(|(reason, _)| !reason.is_parked()).map(|(_, kept)| &kept.records) {
            let first = kept.partition_point(|(_, record)| record.epoch < epochs.start);
            records.extend(kept.range(first..).take_while(|(_, record)| record.epoch < epochs.end).cloned());
        }
        records.sort_by_key(|(number, _)| *number);
        records.into_iter().map(|(_, record)| record).collect()
    }

    /// Lets go of what there is no room for, but of nothing from `needed_from` on, the first epoch that somebody who follows has not
    /// done with.
    pub(crate) fn let_go(&mut self, needed_from: u64) {
        if self.keep == Keep::Newest {
            self.dropped += self.kept.values_mut().map(|kept| kept.let_go(i64::MIN, needed_from)).sum::<u64>();
        }
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
            self.dropped += kept.let_go(record.set_aside_at_ms - NEWEST_MS, needed_from);
        }
        self.next_number += 1;
        if let Some(stream) = &mut self.stream {
            stream.push(record);
        }
    }

    /// The records after a number, oldest first.
    pub(crate) fn list(
        &self,
        parked: bool,
        reason: Option<&str>,
        after: u64,
        limit: usize,
    ) -> Vec<(u64, Arc<SetAside>)> {
        let asked = |of: &Reason| of.is_parked() == parked && reason.is_none_or(|reason| reason == of.as_str());
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

impl Kept {
    /// Drops what is older than a time or more than there is room for, but never the newest, and nothing of epochs from `needed_from`
    /// on; returns how many went.
    fn let_go(&mut self, from_ms: i64, needed_from: u64) -> u64 {
        let mut dropped = 0;
        while let Some((_, oldest)) = self.records.front().filter(|_| self.records.len() > 1)
            && oldest.epoch < needed_from
            && (oldest.set_aside_at_ms < from_ms || NEWEST_BYTES < self.bytes)
        {
            self.bytes -= RECORD_BYTES + oldest.payload.len();
            self.records.pop_front();
            dropped += 1;
        }
        dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::fact::Position;

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

    #[test]
    fn a_service_keeps_the_newest_and_counts_what_goes() {
        let mut list = SetAsideList::newest();
        list.push(record(0, 1), u64::MAX);
        list.push(record(NEWEST_MS, 1), u64::MAX);
        assert_eq!((numbers(&list), list.dropped()), (vec![1, 2], 0));
        list.push(record(NEWEST_MS + 1, 1), u64::MAX);
        assert_eq!((numbers(&list), list.dropped(), list.oldest()), (vec![2, 3], 1, 2));
        (0..65).for_each(|_| list.push(record(NEWEST_MS + 1, 1 << 20), u64::MAX));
        assert_eq!(list.oldest(), numbers(&list)[0]);
        assert_eq!(numbers(&list).len() as u64 + list.dropped(), 68);
        assert!(numbers(&list).len() < 65, "64 MiB are kept");
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
        assert_eq!((list.oldest(), list.dropped(), list.is_overfull()), (50, 49, true));
        let records = list.after(0, u64::MAX).into_iter().map(|(number, record)| (number, (*record).clone())).collect();
        let mut restored = SetAsideList::restore(records, 49);
        assert_eq!((restored.oldest(), restored.dropped()), (50, 49));
        let epochs = |records: Vec<Arc<SetAside>>| records.iter().map(|record| record.epoch).collect::<Vec<_>>();
        assert_eq!(epochs(restored.quarantined(60..63)), [60, 61, 62]);
        restored.let_go(201);
        assert!(!restored.is_overfull() && restored.oldest() > 130, "{}", restored.oldest());
    }

    #[test]
    fn a_restored_list_goes_on() {
        let mut list = SetAsideList::newest();
        (0..3).for_each(|at_ms| list.push(record(at_ms, 1), u64::MAX));
        let records = list.after(0, u64::MAX).into_iter().map(|(number, record)| (number, (*record).clone())).collect();
        let mut restored = SetAsideList::restore(records, 7);
        restored.push(record(3, 1), u64::MAX);
        assert_eq!((numbers(&restored), restored.dropped()), (vec![1, 2, 3, 4], 7));
    }
}
