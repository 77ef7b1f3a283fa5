//! What the engine remembers: hash-sorted immutable runs, and the spine that keeps them few.
//!
//! A [`Run`](run::Run) is a sorted sequence of fixed-width [`Record`](record::Record)s, cut into bounded [`Chunk`](chunk::Chunk)s.
//! Records sort by a uniform keyed hash first, so building, merging and probing all run forward through memory, a worker owns a
//! contiguous range of the hash space, and its share of a run is a slice. A chunk is one block of bytes with a versioned layout:
//! what is in memory is what a file would hold.

pub(crate) mod beside;
pub(crate) mod block;
pub(crate) mod builder;
pub(crate) mod chunk;
mod going;
pub(crate) mod layout;
pub(crate) mod merge;
pub(crate) mod record;
pub(crate) mod run;
pub(crate) mod scale;
pub(crate) mod sort;
pub(crate) mod spine;
pub(crate) mod sweep;
#[cfg(test)]
mod tests;
mod weaver;

pub(crate) use beside::{Beside, Helpers};
pub(crate) use block::ALIGNMENT;
pub(crate) use record::{Horizon, Record};
pub(crate) use run::Run;
pub(crate) use spine::Spine;
