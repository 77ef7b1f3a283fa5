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
