//! Events as JSON: the proto3 mapping of the contract, with the liberties that it grants.
//!
//! Two readers agree on every input, which a property test holds them to. `slow` is the definition: it takes everything
//! that the contract allows, and says what is wrong with the rest. `fast` takes the shape in which nearly every event is
//! written, in one pass over the bytes and without an allocation, and leaves all else to the other.

mod fast;
mod scan;
mod slow;
#[cfg(test)]
mod tests;
mod time;

use recount_dataflow::domain::validate::Violation;
use recount_dataflow::intake::unreadable;

use crate::format::Decoded;

/// Reads one line, given without its newline.
///
/// # Errors
/// Where the line can not be read: reason `unreadable`.
pub fn decode(line: &[u8]) -> Result<Decoded<'_>, Violation> {
    match std::str::from_utf8(line) {
        Ok(line) => decode_text(line),
        Err(error) => {
            Err(unreadable(format!("expected UTF-8, found other bytes at column {}", error.valid_up_to() + 1)))
        }
    }
}

/// The same by the definition alone, which is slower: what [`decode`] is held to.
///
/// # Errors
/// As [`decode`].
pub fn decode_by_definition(line: &[u8]) -> Result<Decoded<'_>, Violation> {
    match std::str::from_utf8(line) {
        Ok(line) => slow::event(line).map_err(unreadable),
        Err(_) => decode(line),
    }
}

/// Reads one line that is known to be UTF-8.
pub(crate) fn decode_text(line: &str) -> Result<Decoded<'_>, Violation> {
    match fast::event(line) {
        Some(decoded) => Ok(decoded),
        None => slow::event(line).map_err(unreadable),
    }
}

/// Whether a line holds nothing but white space: no record.
pub(crate) fn is_blank(line: &[u8]) -> bool {
    line.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'))
}
