//! Records in no window, kept within bounds.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::domain::validate::Reason;
use crate::read::SetAside;

/// Records kept of each reason.
const KEPT_RECORDS: usize = 1_000;
/// Payload bytes kept of each reason: records may be a mebibyte long.
const KEPT_BYTES: usize = 16 << 20;

/// The first records of each reason. All are counted; a streaming taker gets all.
pub(crate) struct SetAsideList {
    kept: BTreeMap<Reason, Kept>,
    /// Numbers grow in the order in which records were set aside.
    next_number: u64,
    stream: Option<Vec<SetAside>>,
}

#[derive(Default)]
struct Kept {
    records: Vec<(u64, Arc<SetAside>)>,
    bytes: usize,
}

impl SetAsideList {
    /// An empty list; `streaming` also keeps every record until it is taken.
    pub(crate) fn new(streaming: bool) -> Self {
        SetAsideList { kept: BTreeMap::new(), next_number: 1, stream: streaming.then(Vec::new) }
    }

    /// A list of numbered records, oldest first, that goes on after them.
    pub(crate) fn restore(records: Vec<(u64, SetAside)>) -> Self {
        let mut list = SetAsideList::new(false);
        for (number, record) in records {
            list.next_number = number;
            list.push(record);
        }
        list
    }

    /// The number of the oldest record that is kept.
    pub(crate) fn oldest(&self) -> u64 {
        let oldest = self.kept.values().filter_map(|kept| kept.records.first());
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

    /// Adds a record.
    pub(crate) fn push(&mut self, record: SetAside) {
        let kept = self.kept.entry(record.reason).or_default();
        if kept.records.len() < KEPT_RECORDS && kept.bytes + record.payload.len() <= KEPT_BYTES {
            kept.bytes += record.payload.len();
            kept.records.push((self.next_number, Arc::new(record.clone())));
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
            .flat_map(|(_, kept)| &kept.records[kept.records.partition_point(|(number, _)| *number <= after)..])
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
