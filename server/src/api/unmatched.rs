//! The verdicts that have met no click, which `ListParked` lists under a reason of their own.

use std::time::Instant;

use prost::Message as _;
use recount_dataflow::domain::fact::Position;
use recount_dataflow::domain::fingerprint::Fingerprint;
use recount_dataflow::read::UnmatchedPlace;

use super::call::Shared;
use super::errors::CallError;
use super::page::Budget;
use crate::convert::{to_wire, wire};
use crate::limits::UNMATCHED_FACTS_MAX;

/// The reason.
pub(super) const UNMATCHED: &str = "unmatched";
/// A place as bytes, little-endian: the fingerprint's hash and its low bits, the stream, the offset.
const PLACE_BYTES: usize = 8 + 4 + 2 + 8;

/// The verdicts from a place on, and the place at which the next page begins. Which of them a page has is decided in the order
/// of the engine's list, which is a store's own; on the page they are in the order of their positions.
pub(super) fn page(
    shared: &Shared,
    epoch: u64,
    from: UnmatchedPlace,
    records_max: usize,
    deadline: Instant,
) -> Result<(Vec<wire::SetAside>, Option<UnmatchedPlace>), CallError> {
    let snapshot = shared.reader.snapshot(Some(epoch))?;
    let page = snapshot.unmatched_verdicts(from, records_max, UNMATCHED_FACTS_MAX, Some(deadline))?;
    let mut budget = Budget::new(records_max);
    let (mut records, mut next) = (Vec::new(), page.next);
    for place in page.verdicts {
        if Instant::now() >= deadline {
            return Err(CallError::deadline());
        }
        let message = record(shared, place.position);
        if !budget.take(message.encoded_len()) {
            next = Some(place);
            break;
        }
        records.push((place.position, message));
    }
    records.sort_unstable_by_key(|(position, _)| *position);
    Ok((records.into_iter().map(|(_, message)| message).collect(), next))
}

fn record(shared: &Shared, position: Position) -> wire::SetAside {
    let raw = shared.evidence.raw(position);
    let detail = match raw {
        Some(_) => "the verdict has met no click",
        None => "the verdict has met no click; its record can not be read any more",
    };
    let payload = raw.unwrap_or_default();
    wire::SetAside {
        reason: UNMATCHED.into(),
        detail: detail.into(),
        position: Some(to_wire::record_position(&shared.streams(), position)),
        payload_length: payload.len() as i64,
        payload,
        set_aside_at_ms: 0,
    }
}

/// A place as bytes for a token.
pub(super) fn encode(place: UnmatchedPlace) -> [u8; PLACE_BYTES] {
    let UnmatchedPlace { click: Fingerprint { hash, low }, position: Position { stream, offset } } = place;
    let mut bytes = [0; PLACE_BYTES];
    bytes[..8].copy_from_slice(&hash.to_le_bytes());
    bytes[8..12].copy_from_slice(&low.to_le_bytes());
    bytes[12..14].copy_from_slice(&stream.to_le_bytes());
    bytes[14..].copy_from_slice(&offset.to_le_bytes());
    bytes
}

/// The place of such bytes.
pub(super) fn decode(bytes: &[u8; PLACE_BYTES]) -> UnmatchedPlace {
    let hash = u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes"));
    let low = u32::from_le_bytes(bytes[8..12].try_into().expect("4 bytes"));
    let stream = u16::from_le_bytes(bytes[12..14].try_into().expect("2 bytes"));
    let offset = u64::from_le_bytes(bytes[14..].try_into().expect("8 bytes"));
    UnmatchedPlace { click: Fingerprint { hash, low }, position: Position { stream, offset } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_comes_back_as_it_was() {
        let click = Fingerprint { hash: u64::MAX - 1, low: 7 };
        let place = UnmatchedPlace { click, position: Position { stream: 3, offset: 1 << 47 } };
        assert_eq!(decode(&encode(place)), place);
    }
}
