//! What moves between workers, and the operators that decide.
//!
//! An operator takes the records of its complete epochs, decides, and emits. What it decides with is a plain struct that knows
//! nothing of timely ([`Ledger`](ledger::Ledger), [`Visits`](visits::Visits), [`Counts`](counts::Counts)); a file beside it
//! holds the plumbing.

pub(crate) mod arrangements;
pub(crate) mod context;
pub(crate) mod correct;
pub(crate) mod counts;
pub(crate) mod inbox;
pub(crate) mod ledger;
pub(crate) mod packet;
pub(crate) mod publish;
pub(crate) mod records;
pub(crate) mod resolve;
pub(crate) mod tally;
pub(crate) mod uniques;
pub(crate) mod view;
pub(crate) mod visits;
