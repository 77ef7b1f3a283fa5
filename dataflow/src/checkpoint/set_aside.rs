//! Pieces with records that are in no window.

use serde::{Deserialize, Serialize};

use crate::domain::fact::Position;
use crate::domain::validate::Reason;
use crate::read::SetAside;

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
pub(crate) fn decode(mut bytes: &[u8]) -> Option<Vec<(u64, SetAside)>> {
    let mut records = Vec::new();
    while let Some((lengths, rest)) = bytes.split_first_chunk::<8>() {
        let length = |range: std::ops::Range<usize>| {
            u32::from_le_bytes(lengths[range].try_into().expect("it is four bytes")) as usize
        };
        let (head, rest) = rest.split_at_checked(length(0..4))?;
        let (payload, rest) = rest.split_at_checked(length(4..8))?;
        let head: Head = serde_json::from_slice(head).ok()?;
        let record = SetAside {
            reason: Reason::named(&head.reason)?,
            detail: head.detail,
            position: Position { stream: head.stream, offset: head.offset },
            payload: payload.into(),
            payload_length: head.payload_length,
            epoch: head.epoch,
            set_aside_at_ms: head.set_aside_at_ms,
        };
        records.push((head.number, record));
        bytes = rest;
    }
    bytes.is_empty().then_some(records)
}
