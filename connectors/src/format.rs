//! How records are written, and one record read by itself.

use recount_dataflow::domain::event::Event;
use recount_dataflow::domain::validate::{Reason, Violation};
use recount_dataflow::intake::BatchBuilder;

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

/// Takes in what was read of a record, or sets it aside.
#[inline]
pub(crate) fn push_decoded(
    builder: &mut BatchBuilder<'_>,
    decoded: Result<Decoded<'_>, Violation>,
    offset: u64,
    payload: &[u8],
    arrival_ms: Option<i64>,
) {
    let event: Event<'_> = match decoded {
        Ok(Decoded { event, unknown_fields }) => {
            builder.add_unknown_fields(offset, unknown_fields);
            match event {
                Some(event) => event,
                None => {
                    let violation = Violation::new(Reason::BodyMissing, "expected a click or a verdict, found neither");
                    return builder.push_broken(violation, offset, payload, payload.len() as u64);
                }
            }
        }
        Err(violation) => return builder.push_broken(violation, offset, payload, payload.len() as u64),
    };
    builder.push(&event, offset, payload, arrival_ms);
}
