//! The protobuf wire format, borrowed: varints, tags, and the values behind them.

use std::fmt;

/// How deep groups of unknown fields may nest.
const DEPTH_MAX: usize = 64;

/// What is wrong with some bytes that should be a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WireError {
    /// The bytes end inside a value.
    Ends,
    /// A varint of more than 64 bits.
    Varint,
    /// A field number or wire type that can not be.
    Tag,
    /// Groups nested too deep.
    Deep,
}

impl fmt::Display for WireError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            WireError::Ends => "the message ends inside a value",
            WireError::Varint => "a varint has more than 64 bits",
            WireError::Tag => "a tag has no valid field number and wire type",
            WireError::Deep => "groups are nested too deep",
        })
    }
}

/// One value as it stands on the wire.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Wire<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1, little-endian.
    Fixed64(u64),
    /// Wire type 2.
    Bytes(&'a [u8]),
    /// Wire types 3 and 5, which no field of the contract has; they are passed over.
    Other,
}

/// Reads a varint from the front of `bytes`.
#[inline(always)]
pub(crate) fn take_varint(bytes: &mut &[u8]) -> Result<u64, WireError> {
    match bytes {
        // Tags, and the lengths of nearly all strings.
        [byte @ ..0x80, rest @ ..] => {
            let value = u64::from(*byte);
            *bytes = rest;
            Ok(value)
        }
        _ => take_long_varint(bytes),
    }
}

fn take_long_varint(bytes: &mut &[u8]) -> Result<u64, WireError> {
    let mut value = 0;
    for (at, &byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte < 0x80 {
            // The tenth byte holds the 64th bit alone.
            if at == 9 && byte > 1 {
                return Err(WireError::Varint);
            }
            *bytes = &bytes[at + 1..];
            return Ok(value);
        }
    }
    Err(if bytes.len() < 10 { WireError::Ends } else { WireError::Varint })
}

/// Reads a field from the front of `bytes`: its number and its value.
#[inline(always)]
pub(crate) fn take_field<'a>(bytes: &mut &'a [u8]) -> Result<(u32, Wire<'a>), WireError> {
    let (number, wire_type) = take_tag(bytes)?;
    Ok((number, take_value(bytes, number, wire_type, 0)?))
}

#[inline(always)]
fn take_tag(bytes: &mut &[u8]) -> Result<(u32, u8), WireError> {
    let tag = u32::try_from(take_varint(bytes)?).map_err(|_| WireError::Tag)?;
    match tag >> 3 {
        0 => Err(WireError::Tag),
        number => Ok((number, (tag & 7) as u8)),
    }
}

#[inline(always)]
fn take_value<'a>(bytes: &mut &'a [u8], number: u32, wire_type: u8, depth: usize) -> Result<Wire<'a>, WireError> {
    match wire_type {
        0 => Ok(Wire::Varint(take_varint(bytes)?)),
        1 => {
            let word = take_bytes(bytes, 8)?.try_into().expect("8 bytes were taken");
            Ok(Wire::Fixed64(u64::from_le_bytes(word)))
        }
        2 => {
            let length = take_varint(bytes)?;
            Ok(Wire::Bytes(take_bytes(bytes, length)?))
        }
        3 => skip_group(bytes, number, depth).map(|()| Wire::Other),
        5 => take_bytes(bytes, 4).map(|_| Wire::Other),
        _ => Err(WireError::Tag),
    }
}

#[inline(always)]
fn take_bytes<'a>(bytes: &mut &'a [u8], length: u64) -> Result<&'a [u8], WireError> {
    let length = usize::try_from(length).map_err(|_| WireError::Ends)?;
    let (taken, rest) = bytes.split_at_checked(length).ok_or(WireError::Ends)?;
    *bytes = rest;
    Ok(taken)
}

#[cold]
fn skip_group(bytes: &mut &[u8], group: u32, depth: usize) -> Result<(), WireError> {
    if depth == DEPTH_MAX {
        return Err(WireError::Deep);
    }
    loop {
        match take_tag(bytes)? {
            (number, 4) if number == group => return Ok(()),
            (number, wire_type) => take_value(bytes, number, wire_type, depth + 1)?,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_have_at_most_64_bits() {
        let take = |mut bytes: &[u8]| take_varint(&mut bytes).map(|value| (value, bytes.len()));
        assert_eq!(take(&[0]), Ok((0, 0)));
        assert_eq!(take(&[0xac, 0x02, 7]), Ok((300, 1)));
        assert_eq!(take(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]), Ok((u64::MAX, 0)));
        assert_eq!(take(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]), Err(WireError::Varint));
        assert_eq!(take(&[0x80; 10]), Err(WireError::Varint));
        assert_eq!(take(&[0x80; 9]), Err(WireError::Ends));
        assert_eq!(take(&[]), Err(WireError::Ends));
    }

    #[test]
    fn groups_are_passed_over() {
        let mut bytes: &[u8] = &[0x0b, 0x10, 5, 0x13, 0x14, 0x0c, 0x18, 1];
        assert_eq!(take_field(&mut bytes), Ok((1, Wire::Other)));
        assert_eq!(take_field(&mut bytes), Ok((3, Wire::Varint(1))));
        assert_eq!(take_field(&mut &[0x0b, 0x14][..]), Err(WireError::Tag));
        assert_eq!(take_field(&mut &[0x0b; 1_000][..]), Err(WireError::Deep));
    }
}
