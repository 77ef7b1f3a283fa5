//! The conservation ledger: nothing that came in is unaccounted for.

use std::collections::BTreeMap;

use super::validate::{Reason, Shelf};

/// What became of every record, cumulative to one epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Records delivered, broken ones counted, blank lines not.
    pub records_in: u64,
    /// Copies accepted.
    pub received: u64,
    /// Of them those that are clicks.
    pub gross_clicks: u64,
    /// Verdicts accepted.
    pub verdicts: u64,
    /// Parked records by reason.
    pub parked: BTreeMap<Reason, u64>,
    /// Quarantined records by reason.
    pub quarantined: BTreeMap<Reason, u64>,
    /// Duplicates that differ from their click in ad, user or price.
    pub conflicting_copies: u64,
    /// Fields that no version of the contract names, over all records.
    pub unknown_fields: u64,
}

impl Totals {
    /// Copies that are not clicks.
    pub fn duplicates(&self) -> u64 {
        self.received - self.gross_clicks
    }

    /// Parked records of every reason.
    pub fn parked_total(&self) -> u64 {
        self.parked.values().sum()
    }

    /// Quarantined records of every reason.
    pub fn quarantined_total(&self) -> u64 {
        self.quarantined.values().sum()
    }

    /// Counts records that were set aside.
    pub fn set_aside(&mut self, reason: Reason, records: u64) {
        let by_reason = match reason.shelf() {
            Shelf::Parked => &mut self.parked,
            Shelf::Quarantined => &mut self.quarantined,
        };
        *by_reason.entry(reason).or_default() += records;
    }

    /// Checks that `records in = received + verdicts + parked + quarantined`.
    ///
    /// # Panics
    /// Where it does not hold: that is a bug of ours, and money may be wrong.
    pub fn assert_conserved(&self, epoch: u64) {
        let accounted = self.received + self.verdicts + self.parked_total() + self.quarantined_total();
        assert!(
            self.records_in == accounted,
            "epoch {epoch}: {} records came in, {accounted} are accounted for: {self:?}",
            self.records_in
        );
    }
}
