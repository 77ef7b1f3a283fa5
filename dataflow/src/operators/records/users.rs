//! Distinct users: the edge from `uniques` to `counts`, and the overlaps that `counts` keeps.

use std::cmp::Ordering;

use bytemuck::{Pod, Zeroable};

use crate::domain::fingerprint::Fingerprint;
use crate::domain::metrics::Metrics;
use crate::trace::record::rank;
use crate::trace::{Horizon, Record};

use super::WindowCode;

/// An edge: a change of distinct users. For a base window it is the change itself; for a larger one it is the change of the
/// *overlap*, the sum of its base windows' users less its own. Few users come back within an hour, so overlaps are few.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct UniqueUpdate {
    ad_hash: u64,
    ad_low: u32,
    /// Which window.
    pub(crate) window: WindowCode,
    /// The change.
    pub(crate) users: i64,
}

impl UniqueUpdate {
    /// The change of one window.
    pub(crate) fn new(ad: Fingerprint, window: WindowCode, users: i64) -> Self {
        UniqueUpdate { ad_hash: ad.hash, ad_low: ad.low, window, users }
    }
}

impl Record for UniqueUpdate {
    const SCHEMA: u16 = 6;
    const FOLDS: bool = true;

    #[inline(always)]
    fn key(&self) -> Fingerprint {
        Fingerprint { hash: self.ad_hash, low: self.ad_low }
    }

    #[inline(always)]
    fn rank(&self) -> u128 {
        rank(self.key(), self.window.0)
    }

    #[inline]
    fn fold(&mut self, other: &Self) -> bool {
        self.users += other.users;
        true
    }

    fn is_zero(&self) -> bool {
        self.users == 0
    }
}

/// The change of a window's overlap in an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct OverlapRecord {
    ad_hash: u64,
    ad_low: u32,
    /// Which window; never a base window.
    pub(crate) window: WindowCode,
    /// When it changed; all epochs up to `since` are one.
    pub(crate) epoch: u64,
    /// The change.
    pub(crate) users: i64,
}

impl OverlapRecord {
    /// The change in one epoch.
    pub(crate) fn new(update: &UniqueUpdate, epoch: u64) -> Self {
        let UniqueUpdate { ad_hash, ad_low, window, users } = *update;
        OverlapRecord { ad_hash, ad_low, window, epoch, users }
    }

    /// What it changes of the window's row.
    pub(crate) fn metrics(&self) -> Metrics {
        Metrics { unique_users: -self.users, ..Metrics::default() }
    }
}

impl Record for OverlapRecord {
    const SCHEMA: u16 = 7;
    const FOLDS: bool = true;

    // Windows of several sizes have no common measure: each is looked at.
    fn age(&self) -> i64 {
        i64::MIN
    }

    fn kept_from(horizon: &Horizon) -> i64 {
        horizon.retention.rows_after_ms
    }

    fn is_beyond(&self, horizon: &Horizon) -> bool {
        !self.window.is_row(&horizon.retention)
    }

    #[inline(always)]
    fn key(&self) -> Fingerprint {
        Fingerprint { hash: self.ad_hash, low: self.ad_low }
    }

    #[inline(always)]
    fn rank(&self) -> u128 {
        rank(self.key(), self.window.0)
    }

    #[inline]
    fn tie(&self, other: &Self) -> Ordering {
        self.epoch.cmp(&other.epoch)
    }

    fn advance(&mut self, since: u64) {
        self.epoch = self.epoch.max(since);
    }

    fn fold(&mut self, other: &Self) -> bool {
        self.users += other.users;
        true
    }

    fn is_zero(&self) -> bool {
        self.users == 0
    }
}
