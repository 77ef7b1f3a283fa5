//! The questions of the contract, answered in its messages, and known to no transport: [`crate::grpc`] and [`crate::http`] bring
//! requests here and carry answers away.
//!
//! [`check`] has the rules of requests, [`errors`] what a refusal says, [`token`] the opaque tokens, [`call`] what every call
//! has; [`outlet`] is the bounded way out to a subscriber. The rest is a file a question.

pub(crate) mod call;
mod check;
pub(crate) mod corrections;
pub(crate) mod counts;
pub(crate) mod errors;
pub(crate) mod events;
pub(crate) mod explain;
pub(crate) mod ingest;
mod ingest_metrics;
pub(crate) mod outlet;
mod page;
mod reasons;
pub(crate) mod set_aside;
pub(crate) mod status;
pub(crate) mod subscribe;
mod token;
mod unmatched;

pub(crate) use self::call::Shared;
pub(crate) use self::errors::CallError;

pub use crate::limits::Bounds;
use crate::lineage::Lineage;

/// A token that a read can ask to see included: the next offset of each stream.
pub fn ingest_token(lineage: Lineage, positions: &[(u16, u64)]) -> Vec<u8> {
    token::encode_positions(lineage.number(), positions)
}
