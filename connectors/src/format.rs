//! How records are written, and one record read by itself.

use recount_dataflow::domain::event::Event;
use recount_dataflow::domain::validate::Violation;

use crate::{json, protobuf};

/// How the records of a stream are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    JsonLines,
    /// Protobuf messages, each behind its length as a varint.
    Protobuf,
}

/// A record that could be read.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded<'a> {
    /// What it says; `None` where it holds neither a click nor a verdict.
    pub event: Option<Event<'a>>,
    /// Fields that no version of the contract names.
    pub unknown_fields: u64,
}

/// Reads one record, given without its newline or length.
///
/// # Errors
/// Where it can not be read: reason `unreadable`, and a sentence that says where and what was asked for.
pub fn decode_one(format: Format, record: &[u8]) -> Result<Decoded<'_>, Violation> {
    match format {
        Format::JsonLines => json::decode(record),
        Format::Protobuf => protobuf::decode(record),
    }
}
