//! What the numbers mean: the rules of the contract, pure.
//!
//! Nothing here knows of timely, clocks, files, randomness or hash order. A rule reads the *set* of facts that it is given,
//! never the order in which they came; that is why replaying and retracting agree.

pub mod cause;
pub mod click;
pub mod event;
pub mod fact;
pub mod fingerprint;
pub mod ledger;
pub mod metrics;
pub mod resolution;
pub mod retention;
pub mod rules;
pub mod validate;
pub mod verdict;
pub mod watermark;
pub mod window;
