//! What a worker counted of one epoch, for the conservation ledger.

use std::collections::BTreeMap;

use crate::domain::cause::Cause;
use crate::domain::fact::Position;

/// One worker's share of one epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Copies that entered a row.
    pub(crate) received: i64,
    /// Change in the number of clicks.
    pub(crate) gross_clicks: i64,
    /// Corrections, by cause.
    pub(crate) corrections: BTreeMap<Cause, u64>,
    /// Verdicts that entered the ledger.
    pub(crate) verdicts: u64,
    /// Verdicts that came too late.
    pub(crate) parked: Vec<Position>,
    /// Change in the number of conflicting copies.
    pub(crate) conflicting_copies: i64,
}
