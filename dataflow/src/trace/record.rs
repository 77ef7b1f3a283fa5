//! What a run is made of.

use std::cmp::Ordering;

use bytemuck::Pod;

use crate::domain::fingerprint::Fingerprint;
use crate::domain::retention::Retention;

/// A fixed-width record. Its key begins with a 96-bit [`Fingerprint`], whose uniform `hash` decides where it sorts.
///
/// Two records that are equal by [`order`](Record::order) describe the same thing and may be folded into one.
pub(crate) trait Record: Pod + Send + Sync + 'static {
    /// The number of the layout, written into every chunk; a changed layout takes a new number.
    const SCHEMA: u16;

    /// Whether equal records fold. Where they do not, merging skips the work.
    const FOLDS: bool;

    /// Whether chunks carry a filter: where most keys that are asked for are not there.
    const FILTERED: bool = true;

    /// What records of an earlier layout are now, in their order; `None` where there was no such layout. `records` are their bytes.
    fn from_older(_schema: u16, _records: &[u8]) -> Option<Vec<Self>> {
        None
    }

    /// The fingerprint that the record is found by.
    fn key(&self) -> Fingerprint;

    /// Where the record sorts: `key().hash` in the high 64 bits, in the others what follows it. One comparison of two words
    /// decides nearly always, and compiles to no branch.
    fn rank(&self) -> u128;

    /// The order of two records of one rank: by epoch, where they have one.
    fn tie(&self, _other: &Self) -> Ordering {
        Ordering::Equal
    }

    /// The total order of a run.
    #[inline]
    fn order(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank()).then_with(|| self.tie(other))
    }

    /// Moves the record's epoch forward to `since`, where it has one: no read tells epochs below `since` apart.
    fn advance(&mut self, _since: u64) {}

    /// Adds an equal record to this one, and says whether it did: where the sum would not fit, both stay.
    fn fold(&mut self, _other: &Self) -> bool {
        false
    }

    /// The measure of what is forgotten: a time, or the number of a window. The greatest where nothing ever is.
    fn age(&self) -> i64 {
        i64::MAX
    }

    /// The least age from which on no record is forgotten yet.
    fn kept_from(_horizon: &Horizon) -> i64 {
        i64::MIN
    }

    /// Whether the record may be forgotten: nobody asks about it any more.
    fn is_beyond(&self, _horizon: &Horizon) -> bool {
        false
    }

    /// Whether the record says nothing and may be dropped.
    fn is_zero(&self) -> bool {
        false
    }
}

/// What an arrangement may forget.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Horizon {
    /// What is still asked about.
    pub(crate) retention: Retention,
    /// The first window that is, in the size of the arrangement's own windows.
    pub(crate) first_window: u32,
}

impl Horizon {
    /// Everything is asked about.
    pub(crate) const NONE: Horizon = Horizon { retention: Retention::ALL, first_window: 0 };
}

/// A rank from a fingerprint and what follows it.
#[inline(always)]
pub(crate) fn rank(key: Fingerprint, rest: u32) -> u128 {
    u128::from(key.hash) << 64 | u128::from(key.low) << 32 | u128::from(rest)
}
