//! The identity of a history of epochs. Tokens and correction ids carry it: an epoch's number means nothing without it.

use std::fmt;

/// The identity of one history of epochs. An engine in memory begins a new one at every start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lineage(u64);

impl Lineage {
    /// A new one, from 8 random bytes.
    pub fn new(random: [u8; 8]) -> Self {
        Lineage(u64::from_le_bytes(random))
    }

    /// Of a store, which begins a new history whenever everything is made anew.
    pub fn of_store(store_id: u64, generation: u32) -> Self {
        // An odd factor, so that no two generations are alike.
        Lineage(store_id.wrapping_add(u64::from(generation).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    /// As a number, for tokens.
    pub fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Lineage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
