//! Valid clicks of the users of ads: the edge to `uniques`, and what it keeps.

use bytemuck::{Pod, Zeroable};

use crate::domain::fingerprint::Fingerprint;
use crate::trace::record::rank;
use crate::trace::{Horizon, Record};

/// An edge: a valid click of a user of an ad in a base window came (+1) or went (-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct VisitUpdate {
    visit_hash: u64,
    visit_low: u32,
    ad_low: u32,
    ad_hash: u64,
    /// The number of the base window.
    pub(crate) window: u32,
    /// Change in the number of valid clicks.
    pub(crate) clicks: i32,
}

impl VisitUpdate {
    /// The update of one visit.
    pub(crate) fn new(visit: Fingerprint, ad: Fingerprint, window: u32, clicks: i32) -> Self {
        VisitUpdate { visit_hash: visit.hash, visit_low: visit.low, ad_low: ad.low, ad_hash: ad.hash, window, clicks }
    }

    /// The ad that was visited.
    pub(crate) fn ad(&self) -> Fingerprint {
        Fingerprint { hash: self.ad_hash, low: self.ad_low }
    }
}

impl Record for VisitUpdate {
    const SCHEMA: u16 = 2;
    const FOLDS: bool = true;

    #[inline(always)]
    fn key(&self) -> Fingerprint {
        Fingerprint { hash: self.visit_hash, low: self.visit_low }
    }

    #[inline(always)]
    fn rank(&self) -> u128 {
        rank(self.key(), self.window)
    }

    #[inline]
    fn fold(&mut self, other: &Self) -> bool {
        add_i32(&mut self.clicks, other.clicks)
    }

    fn is_zero(&self) -> bool {
        self.clicks == 0
    }
}

/// How many valid clicks a user of an ad has in a base window. Twenty bytes: the hash is two words, so that nothing is padded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct VisitRecord {
    hash: [u32; 2],
    low: u32,
    /// The number of the base window.
    pub(crate) window: u32,
    /// Valid clicks; differences until they are folded.
    pub(crate) clicks: i32,
}

impl From<&VisitUpdate> for VisitRecord {
    fn from(update: &VisitUpdate) -> Self {
        let hash = [update.visit_hash as u32, (update.visit_hash >> 32) as u32];
        VisitRecord { hash, low: update.visit_low, window: update.window, clicks: update.clicks }
    }
}

impl Record for VisitRecord {
    const SCHEMA: u16 = 3;
    const FOLDS: bool = true;

    fn age(&self) -> i64 {
        self.window.into()
    }

    fn kept_from(horizon: &Horizon) -> i64 {
        horizon.first_window.into()
    }

    fn is_beyond(&self, horizon: &Horizon) -> bool {
        self.window < horizon.first_window
    }

    #[inline(always)]
    fn key(&self) -> Fingerprint {
        Fingerprint { hash: u64::from(self.hash[1]) << 32 | u64::from(self.hash[0]), low: self.low }
    }

    #[inline(always)]
    fn rank(&self) -> u128 {
        rank(self.key(), self.window)
    }

    #[inline]
    fn fold(&mut self, other: &Self) -> bool {
        add_i32(&mut self.clicks, other.clicks)
    }

    fn is_zero(&self) -> bool {
        self.clicks == 0
    }
}

fn add_i32(sum: &mut i32, other: i32) -> bool {
    match sum.checked_add(other) {
        Some(both) => {
            *sum = both;
            true
        }
        None => false,
    }
}
