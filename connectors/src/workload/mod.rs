//! A workload from a seed: clicks with retries, late arrivals, verdicts and reversals, in the order of arrival.
//!
//! ```text
//! settings ─▶ Workload: an iterator of records ─┬─▶ Output: a file, plain or compressed
//!                 ▲   a bounded heap of what    └─▶ Batches: straight to an engine
//!                 └── is still to arrive
//! ```
//!
//! The same settings give the same records on any machine: randomness comes from ChaCha8, and a record's strings are functions
//! of its numbers. Ads and users are drawn uniformly, but for one hot ad that may have a share of all clicks.

mod batches;
mod encode;
mod output;
mod plan;
mod record;
mod settings;

pub use batches::Batches;
pub use output::{OutputError, write_file};
pub use plan::Workload;
pub use record::{Breakage, ClickRecord, Record, VerdictRecord};
pub use settings::{WorkloadError, WorkloadSettings};
