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

    /// The fingerprint that the record is found by.
    fn key(&self) -> Fingerprint;

    /// The total order of a run: by `key().hash` first, then by the rest of the key, and last by epoch.
    fn order(&self, other: &Self) -> Ordering;

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
