//! Checkpoints: the state after an epoch, in files.
//!
//! A chunk's bytes are written once, into a *pack* of what is new; a *manifest* says which chunks, in which packs, make up the
//! state after one epoch, and what was bound to it. Going on from a checkpoint maps the packs and recomputes nothing.
//!
//! ```text
//!   0000000007-000003.pack      chunks, names, records set aside: new since the checkpoint before; pack 7 of writer 3
//!   0000000007.manifest         checkpoint 7, whoever wrote it: the one that comes second has lost, and stops
//! ```
//! Nothing is overwritten. A pack goes when no kept manifest needs it; what little is still needed of an old pack moves to a
//! new one.

mod arrangements;
mod budget;
mod error;
mod keeper;
mod manifest;
mod names;
mod pack;
mod pieces;
mod restore;
mod set_aside;
mod writer;

pub use budget::{MemoryBudget, StateMemory};
pub use error::CheckpointError;
pub use keeper::{CheckpointInfo, Checkpoints, Damaged, Found, Listed};
pub use restore::Checkpoint;
pub use writer::{Checkpointer, Written, no_fence};
