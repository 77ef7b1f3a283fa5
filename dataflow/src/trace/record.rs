//! What a run is made of.

use std::cmp::Ordering;

use bytemuck::Pod;

use crate::domain::fingerprint::Fingerprint;

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

    /// Whether the record says nothing and may be dropped.
    fn is_zero(&self) -> bool {
        false
    }
}

/// A rank from a fingerprint and what follows it.
#[inline(always)]
pub(crate) fn rank(key: Fingerprint, rest: u32) -> u128 {
    u128::from(key.hash) << 64 | u128::from(key.low) << 32 | u128::from(rest)
}
