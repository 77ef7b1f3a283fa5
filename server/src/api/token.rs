//! Opaque tokens: where a page or a subscription goes on, and what was taken in.
//!
//! A token is `version, kind, lineage, epoch, request, cursor, checksum`, integers little-endian. `lineage` is the store whose
//! epochs it speaks of, `request` a fingerprint of the request that it belongs to, so that a token that is used elsewhere is
//! refused rather than answered wrongly. The checksum finds damage; it is no secret, since a token grants nothing that its
//! bearer could not ask for anyway.

use std::hash::Hasher as _;

use siphasher::sip::SipHasher13;

use super::errors::{CallError, ErrorReason};

const VERSION: u8 = 1;
/// version, kind, lineage, epoch, request; the cursor and 8 bytes of checksum follow.
const HEAD_BYTES: usize = 2 + 3 * 8;

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenKind {
    Counts = 1,
    SetAside = 2,
    Resume = 3,
    Ingest = 4,
}

impl TokenKind {
    fn invalid(self) -> (ErrorReason, &'static str) {
        match self {
            TokenKind::Counts | TokenKind::SetAside => (ErrorReason::PageTokenInvalid, "page_token"),
            TokenKind::Resume => (ErrorReason::ResumeTokenInvalid, "resume_token"),
            TokenKind::Ingest => (ErrorReason::IngestTokenInvalid, "read.at_least"),
        }
    }

    fn refused(self, message: &str) -> CallError {
        let (reason, field) = self.invalid();
        CallError::field(reason, field, message)
    }

    /// What was given as a token of this kind is none of ours.
    pub(super) fn no_token(self) -> CallError {
        self.refused("this is no token of this service")
    }
}

/// A token's contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: TokenKind,
    pub(crate) lineage: u64,
    pub(crate) epoch: u64,
    pub(crate) request: u64,
    pub(crate) cursor: Vec<u8>,
}

impl Token {
    /// The token as bytes for the wire.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + self.cursor.len() + 8);
        bytes.extend([VERSION, self.kind as u8]);
        for word in [self.lineage, self.epoch, self.request] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(&self.cursor);
        let checksum = fingerprint(&bytes);
        bytes.extend(checksum.to_le_bytes());
        bytes
    }

    /// Reads a token and refuses it where it is damaged, of another kind or of another store.
    /// Whose request it belongs to is checked apart, since a token may carry its request.
    pub(crate) fn decode(bytes: &[u8], kind: TokenKind, lineage: u64) -> Result<Token, CallError> {
        let (content, checksum) = bytes.split_last_chunk::<8>().ok_or_else(|| kind.no_token())?;
        if content.len() < HEAD_BYTES || fingerprint(content).to_le_bytes() != *checksum {
            return Err(kind.refused("the token is damaged; pass it on as it was given, byte for byte"));
        }
        if content[0] != VERSION || content[1] != kind as u8 {
            return Err(kind.refused("the token belongs to another call, or to another version of the service"));
        }
        let word = |index: usize| {
            let at = 2 + index * 8;
            u64::from_le_bytes(content[at..at + 8].try_into().expect("a word has 8 bytes"))
        };
        let cursor = content[HEAD_BYTES..].into();
        let token = Token { kind, lineage: word(0), epoch: word(1), request: word(2), cursor };
        if token.lineage != lineage {
            let message = "the token was given by another run of the service, whose epochs were others; begin anew";
            return Err(CallError::field(ErrorReason::LineageChanged, kind.invalid().1, message));
        }
        Ok(token)
    }

    /// Refuses the token where it belongs to another request.
    pub(crate) fn check_request(&self, request: u64) -> Result<(), CallError> {
        if self.request == request {
            return Ok(());
        }
        Err(self.kind.refused("the token belongs to a request with other parameters"))
    }
}

/// A fingerprint that is the same in every process. Not secret.
pub(crate) fn fingerprint(bytes: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(0x7265_636f_756e_7432, 0);
    hasher.write(bytes);
    hasher.finish()
}

/// An ingest token: the next offset of each stream that it acknowledges.
pub(crate) fn encode_positions(lineage: u64, positions: &[(u16, u64)]) -> Vec<u8> {
    let cursor = positions.iter().flat_map(|(stream, next)| {
        let (stream, next) = (stream.to_le_bytes(), next.to_le_bytes());
        stream.into_iter().chain(next)
    });
    Token { kind: TokenKind::Ingest, lineage, epoch: 0, request: 0, cursor: cursor.collect() }.encode()
}

/// The positions of an ingest token.
pub(crate) fn decode_positions(bytes: &[u8], lineage: u64) -> Result<Vec<(u16, u64)>, CallError> {
    let token = Token::decode(bytes, TokenKind::Ingest, lineage)?;
    let (entries, rest) = token.cursor.as_chunks::<10>();
    if !rest.is_empty() {
        return Err(TokenKind::Ingest.refused("the token is damaged; pass it on as it was given"));
    }
    let position = |entry: &[u8; 10]| {
        let (stream, next) = entry.split_at(2);
        let stream = u16::from_le_bytes(stream.try_into().expect("2 bytes"));
        (stream, u64::from_le_bytes(next.try_into().expect("8 bytes")))
    };
    Ok(entries.iter().map(position).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> Token {
        Token { kind: TokenKind::Counts, lineage: 7, epoch: 42, request: 9, cursor: b"ad-1".to_vec() }
    }

    fn reason(bytes: &[u8], kind: TokenKind, lineage: u64, request: u64) -> ErrorReason {
        let token = Token::decode(bytes, kind, lineage);
        token.and_then(|token| token.check_request(request)).expect_err("it must be refused").reason
    }

    #[test]
    fn a_token_comes_back_as_it_was() {
        let bytes = token().encode();
        assert_eq!(Token::decode(&bytes, TokenKind::Counts, 7), Ok(token()));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let bytes = token().encode();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(reason(&damaged, TokenKind::Counts, 7, 9), ErrorReason::PageTokenInvalid, "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert_eq!(reason(&bytes[..length], TokenKind::Counts, 7, 9), ErrorReason::PageTokenInvalid);
        }
    }

    #[test]
    fn a_token_serves_one_request_of_one_store() {
        let bytes = token().encode();
        assert_eq!(reason(&bytes, TokenKind::Counts, 7, 10), ErrorReason::PageTokenInvalid);
        assert_eq!(reason(&bytes, TokenKind::Resume, 7, 9), ErrorReason::ResumeTokenInvalid);
        assert_eq!(reason(&bytes, TokenKind::Counts, 8, 9), ErrorReason::LineageChanged);
    }

    #[test]
    fn positions_come_back_as_they_were() {
        let positions = vec![(0, 17), (3, u64::from(u32::MAX) + 1)];
        assert_eq!(decode_positions(&encode_positions(5, &positions), 5), Ok(positions));
        assert!(decode_positions(&token().encode(), 7).is_err());
    }
}
