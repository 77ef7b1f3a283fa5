//! The records of the arrangements and of the edges, but for [`Fact`], which is the domain's.
//!
//! | record | key | holds | kept until |
//! |---|---|---|---|
//! | [`Fact`] | click | a copy or a verdict | copies to `F - dedup_horizon`, verdicts to `F - max_future_skew` |
//! | [`VisitRecord`] | (ad, user), window | how many valid clicks | the start of the day that holds F |
//! | [`CountRecord`] | ad, window | six metrics, by epoch | the rows' retention |
//! | [`OverlapRecord`] | ad, larger window | users counted in more than one of its base windows | as the rows |
//! | [`CorrectionRecord`] | ad, window, epoch | a row before and after | as the rows |

use std::cmp::Ordering;

use bytemuck::{Pod, Zeroable};

use crate::domain::cause::Causes;
use crate::domain::fact::Fact;
use crate::domain::fingerprint::Fingerprint;
use crate::domain::metrics::Metrics;
use crate::domain::window::{Granularity, WindowState};
use crate::trace::Record;

impl Record for Fact {
    const SCHEMA: u16 = 1;
    const FOLDS: bool = false;

    #[inline(always)]
    fn key(&self) -> Fingerprint {
        self.id()
    }

    #[inline]
    fn order(&self, other: &Self) -> Ordering {
        self.id().cmp(&other.id()).then_with(|| self.position().cmp(&other.position()))
    }

    fn advance(&mut self, _since: u64) {}

    fn fold(&mut self, _other: &Self) -> bool {
        false
    }

    fn is_zero(&self) -> bool {
        false
    }
}

/// A window of any granularity in one word: the granularity in the top four bits, the window's number in the rest. In a run,
/// windows of one granularity lie together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Pod, Zeroable)]
#[repr(transparent)]
pub(crate) struct WindowCode(u32);

impl WindowCode {
    /// The code of a numbered window.
    pub(crate) fn new(granularity: Granularity, window: u32) -> Self {
        assert!(window < 1 << 28, "window {window} needs more than 28 bits");
        WindowCode((granularity as u32) << 28 | window)
    }

    /// The granularity.
    pub(crate) fn granularity(self) -> Granularity {
        Granularity::ALL[(self.0 >> 28) as usize]
    }

    /// The window's number.
    pub(crate) fn window(self) -> u32 {
        self.0 & ((1 << 28) - 1)
    }
}

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

    #[inline]
    fn order(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key()).then(self.window.cmp(&other.window))
    }

    fn advance(&mut self, _since: u64) {}

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

    #[inline(always)]
    fn key(&self) -> Fingerprint {
        Fingerprint { hash: u64::from(self.hash[1]) << 32 | u64::from(self.hash[0]), low: self.low }
    }

    #[inline]
    fn order(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key()).then(self.window.cmp(&other.window))
    }

    fn advance(&mut self, _since: u64) {}

    #[inline]
    fn fold(&mut self, other: &Self) -> bool {
        add_i32(&mut self.clicks, other.clicks)
    }

    fn is_zero(&self) -> bool {
        self.clicks == 0
    }
}

/// Changes of the six kept metrics of a row, packed. A sum that would not fit is kept as two records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct PackedMetrics {
    received: i32,
    gross_clicks: i32,
    invalid_clicks: i32,
    unique_users: i32,
    spend_micros: i64,
    invalid_spend_micros: i64,
}

impl PackedMetrics {
    /// One copy's or one user's change.
    pub(crate) fn new(metrics: Metrics) -> Self {
        let narrow = |count: i64| i32::try_from(count).expect("one epoch changes a row by less than 2^31");
        PackedMetrics {
            received: narrow(metrics.received),
            gross_clicks: narrow(metrics.gross_clicks),
            invalid_clicks: narrow(metrics.invalid_clicks),
            unique_users: narrow(metrics.unique_users),
            spend_micros: metrics.spend_micros,
            invalid_spend_micros: metrics.invalid_spend_micros,
        }
    }

    /// Changes the number of users.
    pub(crate) fn add_users(&mut self, users: i32) {
        self.unique_users += users;
    }

    /// The metrics, wide.
    #[inline]
    pub(crate) fn widen(&self) -> Metrics {
        Metrics {
            received: self.received.into(),
            gross_clicks: self.gross_clicks.into(),
            invalid_clicks: self.invalid_clicks.into(),
            unique_users: self.unique_users.into(),
            spend_micros: self.spend_micros,
            invalid_spend_micros: self.invalid_spend_micros,
        }
    }

    #[inline]
    fn try_add(&self, other: &Self) -> Option<Self> {
        Some(PackedMetrics {
            received: self.received.checked_add(other.received)?,
            gross_clicks: self.gross_clicks.checked_add(other.gross_clicks)?,
            invalid_clicks: self.invalid_clicks.checked_add(other.invalid_clicks)?,
            unique_users: self.unique_users.checked_add(other.unique_users)?,
            spend_micros: self.spend_micros.checked_add(other.spend_micros)?,
            invalid_spend_micros: self.invalid_spend_micros.checked_add(other.invalid_spend_micros)?,
        })
    }

    #[inline]
    fn fold(&mut self, other: &Self) -> bool {
        let sum = self.try_add(other);
        *self = sum.unwrap_or(*self);
        sum.is_some()
    }

    pub(crate) fn is_zero(&self) -> bool {
        *self == PackedMetrics::default()
    }
}

/// An edge: the change of a row of a base window, with what touched it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct RowUpdate {
    ad_hash: u64,
    ad_low: u32,
    /// The number of the base window.
    pub(crate) window: u32,
    causes: u64,
    /// The change.
    pub(crate) metrics: PackedMetrics,
}

impl RowUpdate {
    /// The update of one row.
    pub(crate) fn new(ad: Fingerprint, window: u32, causes: Causes, metrics: PackedMetrics) -> Self {
        RowUpdate { ad_hash: ad.hash, ad_low: ad.low, window, causes: causes.bits().into(), metrics }
    }

    /// What touched the row.
    pub(crate) fn causes(&self) -> Causes {
        Causes::from_bits(self.causes as u8)
    }
}

impl Record for RowUpdate {
    const SCHEMA: u16 = 4;
    const FOLDS: bool = true;

    #[inline(always)]
    fn key(&self) -> Fingerprint {
        Fingerprint { hash: self.ad_hash, low: self.ad_low }
    }

    #[inline]
    fn order(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key()).then(self.window.cmp(&other.window))
    }

    fn advance(&mut self, _since: u64) {}

    #[inline]
    fn fold(&mut self, other: &Self) -> bool {
        let folded = self.metrics.fold(&other.metrics);
        self.causes |= if folded { other.causes } else { 0 };
        folded
    }

    /// An update that changes nothing here may still explain a change of a larger window's users: causes are something.
    fn is_zero(&self) -> bool {
        self.causes == 0 && self.metrics.is_zero()
    }
}

/// The change of a row in an epoch; the sum over the epochs up to one is the row at that one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct CountRecord {
    ad_hash: u64,
    ad_low: u32,
    /// The window's number, in the granularity of the arrangement.
    pub(crate) window: u32,
    /// When it changed; all epochs up to `since` are one.
    pub(crate) epoch: u64,
    /// The change.
    pub(crate) metrics: PackedMetrics,
}

impl CountRecord {
    /// The change of one row in one epoch.
    pub(crate) fn new(ad: Fingerprint, window: u32, epoch: u64, metrics: PackedMetrics) -> Self {
        CountRecord { ad_hash: ad.hash, ad_low: ad.low, window, epoch, metrics }
    }
}

impl Record for CountRecord {
    const SCHEMA: u16 = 5;
    const FOLDS: bool = true;

    #[inline(always)]
    fn key(&self) -> Fingerprint {
        Fingerprint { hash: self.ad_hash, low: self.ad_low }
    }

    #[inline]
    fn order(&self, other: &Self) -> Ordering {
        (self.key().cmp(&other.key()))
            .then_with(|| self.window.cmp(&other.window))
            .then_with(|| self.epoch.cmp(&other.epoch))
    }

    #[inline]
    fn advance(&mut self, since: u64) {
        self.epoch = self.epoch.max(since);
    }

    #[inline]
    fn fold(&mut self, other: &Self) -> bool {
        self.metrics.fold(&other.metrics)
    }

    #[inline]
    fn is_zero(&self) -> bool {
        self.metrics.is_zero()
    }
}

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

    #[inline]
    fn order(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key()).then(self.window.cmp(&other.window))
    }

    fn advance(&mut self, _since: u64) {}

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
}

impl Record for OverlapRecord {
    const SCHEMA: u16 = 7;
    const FOLDS: bool = true;

    #[inline(always)]
    fn key(&self) -> Fingerprint {
        Fingerprint { hash: self.ad_hash, low: self.ad_low }
    }

    #[inline]
    fn order(&self, other: &Self) -> Ordering {
        (self.key().cmp(&other.key()))
            .then_with(|| self.window.cmp(&other.window))
            .then_with(|| self.epoch.cmp(&other.epoch))
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

/// One correction. Epochs are kept apart for as long as the row lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct CorrectionRecord {
    ad_hash: u64,
    ad_low: u32,
    /// Which window.
    pub(crate) window: WindowCode,
    /// When it was corrected.
    pub(crate) epoch: u64,
    /// The row's corrections so far, this one included.
    pub(crate) revision: u32,
    causes: u16,
    is_final: u16,
    /// The wall clock bound to the epoch, ms since 1970.
    pub(crate) wall_ms: i64,
    before: [i64; 6],
    after: [i64; 6],
}

impl CorrectionRecord {
    /// The first correction of one row.
    pub(crate) fn new(ad: Fingerprint, window: WindowCode, epoch: u64, before: Metrics, after: Metrics) -> Self {
        CorrectionRecord {
            ad_hash: ad.hash,
            ad_low: ad.low,
            window,
            epoch,
            revision: 1,
            before: unpack(before),
            after: unpack(after),
            ..CorrectionRecord::zeroed()
        }
    }

    /// The same with what else is known of it: why it was, and the state that the epoch left its window in.
    pub(crate) fn with(self, revision: u32, causes: Causes, state: WindowState, wall_ms: i64) -> Self {
        let is_final = u16::from(state == WindowState::Final);
        CorrectionRecord { revision, causes: causes.bits().into(), is_final, wall_ms, ..self }
    }

    /// The state that the epoch left its window in.
    pub(crate) fn state(&self) -> WindowState {
        if self.is_final == 0 { WindowState::Closed } else { WindowState::Final }
    }

    /// What touched the row.
    pub(crate) fn causes(&self) -> Causes {
        Causes::from_bits(self.causes as u8)
    }

    /// The row before.
    pub(crate) fn before(&self) -> Metrics {
        pack(self.before)
    }

    /// The row after.
    pub(crate) fn after(&self) -> Metrics {
        pack(self.after)
    }
}

impl Record for CorrectionRecord {
    const SCHEMA: u16 = 8;
    const FOLDS: bool = false;

    #[inline(always)]
    fn key(&self) -> Fingerprint {
        Fingerprint { hash: self.ad_hash, low: self.ad_low }
    }

    fn order(&self, other: &Self) -> Ordering {
        (self.key().cmp(&other.key()))
            .then_with(|| self.window.cmp(&other.window))
            .then_with(|| self.epoch.cmp(&other.epoch))
    }

    fn advance(&mut self, _since: u64) {}

    fn fold(&mut self, _other: &Self) -> bool {
        false
    }

    fn is_zero(&self) -> bool {
        false
    }
}

fn unpack(metrics: Metrics) -> [i64; 6] {
    let Metrics { received, gross_clicks, invalid_clicks, unique_users, spend_micros, invalid_spend_micros } = metrics;
    [received, gross_clicks, invalid_clicks, unique_users, spend_micros, invalid_spend_micros]
}

fn pack(words: [i64; 6]) -> Metrics {
    let [received, gross_clicks, invalid_clicks, unique_users, spend_micros, invalid_spend_micros] = words;
    Metrics { received, gross_clicks, invalid_clicks, unique_users, spend_micros, invalid_spend_micros }
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
