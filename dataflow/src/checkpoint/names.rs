//! Pieces with the names of ads.

use std::sync::Arc;

use crate::domain::fingerprint::Fingerprint;

/// Hash, low and length, before the bytes of a name.
const HEAD_BYTES: usize = 16;

/// Some names as one piece.
pub(crate) fn encode(names: &[(Fingerprint, Arc<str>)]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(names.iter().map(|(_, name)| HEAD_BYTES + name.len()).sum());
    for (ad, name) in names {
        bytes.extend(ad.hash.to_le_bytes());
        bytes.extend(ad.low.to_le_bytes());
        bytes.extend((name.len() as u32).to_le_bytes());
        bytes.extend(name.as_bytes());
    }
    bytes
}

/// The names of a piece; `None` where it is none.
pub(crate) fn decode(mut bytes: &[u8]) -> Option<Vec<(Fingerprint, Box<str>)>> {
    let mut names = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<HEAD_BYTES>() {
        let word =
            |range: std::ops::Range<usize>| u32::from_le_bytes(head[range].try_into().expect("it is four bytes"));
        let hash = u64::from(word(4..8)) << 32 | u64::from(word(0..4));
        let name = rest.get(..word(12..16) as usize)?;
        names.push((Fingerprint { hash, low: word(8..12) }, std::str::from_utf8(name).ok()?.into()));
        bytes = &rest[name.len()..];
    }
    bytes.is_empty().then_some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back() {
        let names = [("a", 1, 2), ("", u64::MAX, u32::MAX), ("ä€😀", 0, 0)];
        let names: Vec<(Fingerprint, Arc<str>)> =
            names.map(|(name, hash, low)| (Fingerprint { hash, low }, name.into())).into();
        let bytes = encode(&names);
        let read: Vec<(Fingerprint, Arc<str>)> =
            decode(&bytes).unwrap().into_iter().map(|(ad, name)| (ad, name.into())).collect();
        assert_eq!(read, names);
        assert_eq!(decode(&bytes[..bytes.len() - 1]), None);
    }
}
