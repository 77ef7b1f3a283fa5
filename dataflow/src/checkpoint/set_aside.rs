//! Pieces with records that are in no window.

use serde::{Deserialize, Serialize};

use crate::domain::fact::Position;
use crate::domain::validate::Reason;
use crate::published::{Outline, SetAside};

/// All of a record but its payload.
#[derive(Serialize, Deserialize)]
struct Head {
    number: u64,
    reason: String,
    detail: String,
    stream: u16,
    offset: u64,
    payload_length: u64,
    epoch: u64,
    set_aside_at_ms: i64,
}

/// Some numbered records as one piece: each is the lengths of its head and its payload, then both.
pub(crate) fn encode<'a>(records: impl Iterator<Item = (u64, &'a SetAside)>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (number, record) in records {
        let head = Head {
            number,
            reason: record.reason.as_str().to_owned(),
            detail: record.detail.clone(),
            stream: record.position.stream,
            offset: record.position.offset,
            payload_length: record.payload_length,
            epoch: record.epoch,
            set_aside_at_ms: record.set_aside_at_ms,
        };
        let head = serde_json::to_vec(&head).expect("a head has nothing that JSON can not say");
        bytes.extend((head.len() as u32).to_le_bytes());
        bytes.extend((record.payload.len() as u32).to_le_bytes());
        bytes.extend(head);
        bytes.extend(&record.payload);
    }
    bytes
}

/// The records of a piece; `None` where it is none.
pub(crate) fn decode(bytes: &[u8]) -> Option<Vec<(u64, SetAside)>> {
    let record = |part: Option<Part<'_>>| {
        let Part { head, reason, payload, .. } = part?;
        let record = SetAside {
            reason,
            detail: head.detail,
            position: Position { stream: head.stream, offset: head.offset },
            payload: payload.into(),
            payload_length: head.payload_length,
            epoch: head.epoch,
            set_aside_at_ms: head.set_aside_at_ms,
        };
        Some((head.number, record))
    };
    parts(bytes).map(record).collect()
}

/// A piece without the records that are not kept any more; `None` where it is no piece.
pub(crate) fn sift(bytes: &[u8], outline: &Outline) -> Option<Vec<u8>> {
    let mut left = Vec::new();
    for part in parts(bytes) {
        let Part { head, reason, bytes, .. } = part?;
        if outline.keeps(reason, head.number) {
            left.extend(bytes);
        }
    }
    Some(left)
}

/// A record in a piece.
struct Part<'a> {
    head: Head,
    reason: Reason,
    payload: &'a [u8],
    /// All of it.
    bytes: &'a [u8],
}

/// The records of a piece, one by one; at the first thing that is none, `None` and then the end.
fn parts(mut rest: &[u8]) -> impl Iterator<Item = Option<Part<'_>>> {
    std::iter::from_fn(move || {
        let bytes = std::mem::take(&mut rest);
        if bytes.is_empty() {
            return None;
        }
        let part = part(bytes);
        rest = part.as_ref().map_or(&[], |part| &bytes[part.bytes.len()..]);
        Some(part)
    })
}

fn part(bytes: &[u8]) -> Option<Part<'_>> {
    let (lengths, rest) = bytes.split_first_chunk::<8>()?;
    let length = |range: std::ops::Range<usize>| {
        u32::from_le_bytes(lengths[range].try_into().expect("it is four bytes")) as usize
    };
    let (head, rest) = rest.split_at_checked(length(0..4))?;
    let (payload, rest) = rest.split_at_checked(length(4..8))?;
    let head: Head = serde_json::from_slice(head).ok()?;
    Some(Part { reason: Reason::named(&head.reason)?, head, payload, bytes: &bytes[..bytes.len() - rest.len()] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sifting_leaves_what_is_kept_of_each_reason() {
        let record = |reason| SetAside {
            reason,
            detail: "why".to_owned(),
            position: Position { stream: 1, offset: 2 },
            payload: b"payload".to_vec().into(),
            payload_length: 7,
            epoch: 3,
            set_aside_at_ms: 4,
        };
        let records: Vec<(u64, SetAside)> =
            [(1, Reason::Late), (2, Reason::VerdictLate), (3, Reason::Late), (4, Reason::Unreadable)]
                .map(|(number, reason)| (number, record(reason)))
                .into();
        let bytes = encode(records.iter().map(|(number, record)| (*number, record)));
        assert_eq!(decode(&bytes).unwrap(), records);
        let oldest = [(Reason::VerdictLate, 2), (Reason::Late, 3)].into();
        let outline = Outline { oldest, ..Outline::default() };
        let left = decode(&sift(&bytes, &outline).unwrap()).unwrap();
        assert_eq!(left, records[1..3]);
        for cut in [1, 9, bytes.len() - 1] {
            assert!(decode(&bytes[..cut]).is_none() && sift(&bytes[..cut], &outline).is_none(), "cut at {cut}");
        }
    }
}
