//! Pieces with the names of ads, and the day each was last named for.

use std::collections::HashMap;
use std::sync::Arc;

use crate::domain::fingerprint::Fingerprint;
use crate::published::Named;

/// Hash, low, length and day, before the bytes of a name: 8, 4, 2 and 2 bytes.
const HEAD_BYTES: usize = 16;

/// Some names as one piece.
pub(crate) fn encode(names: &[Named]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(names.iter().map(|named| HEAD_BYTES + named.name.len()).sum());
    for named in names {
        let day = u16::try_from(named.day).expect("times end in the year 2100");
        let len = u16::try_from(named.name.len()).expect("ids have at most 128 bytes");
        bytes.extend(named.ad().hash.to_le_bytes());
        bytes.extend(named.ad().low.to_le_bytes());
        bytes.extend(len.to_le_bytes());
        bytes.extend(day.to_le_bytes());
        bytes.extend(named.name.as_bytes());
    }
    bytes
}

/// The names of a piece; `None` where it is none.
pub(crate) fn decode(mut bytes: &[u8]) -> Option<Vec<Named>> {
    let mut names = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<HEAD_BYTES>() {
        let head = u128::from_le_bytes(*head);
        let (hash, low, len, day) = (head as u64, (head >> 64) as u32, (head >> 96) as u16, (head >> 112) as u16);
        let name: Arc<str> = std::str::from_utf8(rest.get(..len.into())?).ok()?.into();
        bytes = &rest[name.len()..];
        names.push(Named::new(Fingerprint { hash, low }, day.into(), name));
    }
    bytes.is_empty().then_some(names)
}

/// A piece without what was named again in it, and without what is of a day before `first_day`; `None` where it is no piece.
pub(crate) fn sift(bytes: &[u8], first_day: u32) -> Option<Vec<u8>> {
    let names = decode(bytes)?;
    let last: HashMap<Fingerprint, usize> = names.iter().map(Named::ad).zip(0..).collect();
    let is_last = |(place, named): &(usize, Named)| last[&named.ad()] == *place && first_day <= named.day;
    let left: Vec<Named> = (0..).zip(names).filter(is_last).map(|(_, named)| named).collect();
    Some(encode(&left))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, hash: u64, low: u32, day: u32) -> Named {
        Named::new(Fingerprint { hash, low }, day, name.into())
    }

    #[test]
    fn names_come_back() {
        let names = [named("a", 1, 2, 3), named("", u64::MAX, u32::MAX, u16::MAX.into()), named("ä€😀", 0, 0, 0)];
        let bytes = encode(&names);
        assert_eq!(decode(&bytes).unwrap(), names);
        assert_eq!(decode(&bytes[..bytes.len() - 1]), None);
    }

    #[test]
    fn sifting_keeps_what_is_asked_about_once() {
        let names = [named("a", 1, 0, 10), named("b", 2, 0, 10), named("c", 3, 0, 11), named("a", 1, 0, 12)];
        let sifted = decode(&sift(&encode(&names), 11).unwrap()).unwrap();
        assert_eq!(sifted, [named("c", 3, 0, 11), named("a", 1, 0, 12)]);
        assert_eq!(sift(&[1], 0), None);
    }
}
