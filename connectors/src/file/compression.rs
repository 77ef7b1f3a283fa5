//! What a file holds, by its name or by its first bytes.
//!
//! | name | format | compression |
//! |---|---|---|
//! | `.jsonl`, `.ndjson`, `.json` | JSON lines | none |
//! | `.pb` | length-delimited protobuf | none |
//! | any of them + `.gz`, `.zst` | as named | gzip (of any number of members), zstd (of any number of frames) |
//! | `-` and any other name | looked at | looked at |
//!
//! Where a name says nothing, gzip and zstd are known by their magic. Protobuf is known by a first message whose length, tag
//! and inner length fit each other exactly (no text of JSON lines begins so); everything else is JSON lines, so that a stream
//! of rubbish becomes quarantined lines.

use std::io::{self, BufReader, Chain, Cursor, Read};

use flate2::bufread::MultiGzDecoder;

use crate::format::Format;
use crate::protobuf::wire::take_varint;

/// Bytes that are looked at.
const SNIFFED_BYTES: usize = 16;
/// Between the file and the decompressor.
const BUFFER_BYTES: usize = 256 << 10;

/// How a stream is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    /// Not at all.
    Plain,
    /// One gzip member after the other.
    Gzip,
    /// One zstd frame after the other.
    Zstd,
}

impl Compression {
    /// What it is called; `None` for none.
    pub(crate) fn name(self) -> Option<&'static str> {
        match self {
            Compression::Plain => None,
            Compression::Gzip => Some("gzip"),
            Compression::Zstd => Some("zstd"),
        }
    }

    fn of_magic(bytes: &[u8]) -> Self {
        match bytes {
            [0x1f, 0x8b, ..] => Compression::Gzip,
            // A frame, or a skippable frame before one.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
            _ => Compression::Plain,
        }
    }
}

/// What a name says of a file; `None` where it says nothing.
pub(crate) fn of_name(name: &str) -> (Option<Format>, Option<Compression>) {
    let (stem, compression) = match name.rsplit_once('.') {
        Some((stem, "gz")) => (stem, Some(Compression::Gzip)),
        Some((stem, "zst")) => (stem, Some(Compression::Zstd)),
        _ => (name, None),
    };
    let format = match stem.rsplit_once('.').map(|(_, extension)| extension) {
        Some("jsonl" | "ndjson" | "json") => Some(Format::JsonLines),
        Some("pb") => Some(Format::Protobuf),
        _ => None,
    };
    match (format, compression) {
        (Some(_), None) => (format, Some(Compression::Plain)),
        _ => (format, compression),
    }
}

/// A stream whose first bytes were looked at.
type Sniffed = Chain<Cursor<Vec<u8>>, Box<dyn Read + Send>>;

fn sniff(mut reader: Box<dyn Read + Send>) -> io::Result<(Vec<u8>, Sniffed)> {
    let mut first = Vec::with_capacity(SNIFFED_BYTES);
    reader.by_ref().take(SNIFFED_BYTES as u64).read_to_end(&mut first)?;
    Ok((first.clone(), Cursor::new(first).chain(reader)))
}

/// The stream as it was before it was compressed, and how it is compressed.
pub(super) fn decompress(
    reader: Box<dyn Read + Send>,
    compression: Option<Compression>,
) -> io::Result<(Compression, Box<dyn Read + Send>)> {
    let (compression, reader) = match compression {
        Some(compression) => (compression, reader),
        None => {
            let (first, reader) = sniff(reader)?;
            (Compression::of_magic(&first), Box::new(reader) as Box<dyn Read + Send>)
        }
    };
    let reader = match compression {
        Compression::Plain => reader,
        Compression::Gzip => Box::new(MultiGzDecoder::new(BufReader::with_capacity(BUFFER_BYTES, reader))),
        Compression::Zstd => Box::new(zstd::Decoder::with_buffer(BufReader::with_capacity(BUFFER_BYTES, reader))?),
    };
    Ok((compression, reader))
}

/// The format of a stream that nothing is known of, and the stream from its beginning.
pub(super) fn with_format(reader: Box<dyn Read + Send>) -> io::Result<(Format, Box<dyn Read + Send>)> {
    let (first, reader) = sniff(reader)?;
    let format = match begins_with_event(&first) {
        true => Format::Protobuf,
        false => Format::JsonLines,
    };
    Ok((format, Box::new(reader)))
}

/// Whether the bytes begin with a length, the tag of an event's body, and a length that fills the first one exactly. After a
/// text's first character and a line feed (which is the tag of a click) no JSON can go on so: the third byte would have to
/// be the first less two, which is a control character, or a `y` after a brace.
fn begins_with_event(mut bytes: &[u8]) -> bool {
    let Ok(length) = take_varint(&mut bytes) else { return false };
    let available = bytes.len();
    let Some((0x0a | 0x12, mut rest)) = bytes.split_first() else { return false };
    match take_varint(&mut rest) {
        Ok(inner) => inner.checked_add((available - rest.len()) as u64) == Some(length),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_is_in_a_file() {
        let json = Some(Format::JsonLines);
        let protobuf = Some(Format::Protobuf);
        let cases = [
            ("a/b.jsonl", (json, Some(Compression::Plain))),
            ("b.json", (json, Some(Compression::Plain))),
            ("b.ndjson.zst", (json, Some(Compression::Zstd))),
            ("b.pb", (protobuf, Some(Compression::Plain))),
            ("b.pb.gz", (protobuf, Some(Compression::Gzip))),
            ("b.gz", (None, Some(Compression::Gzip))),
            ("b.log", (None, None)),
            ("-", (None, None)),
            ("/dev/fd/63", (None, None)),
        ];
        for (name, expected) in cases {
            assert_eq!(of_name(name), expected, "{name}");
        }
    }

    #[test]
    fn only_messages_begin_with_an_event() {
        assert!(begins_with_event(&[5, 0x0a, 3, 0x0a, 1, b'c']));
        assert!(begins_with_event(&[0x7b, 0x0a, 0x79, 0x0a, 1, b'c']), "a click of 123 bytes begins with a brace");
        assert!(begins_with_event(&[0x85, 0x01, 0x12, 0x82, 0x01, 0x0a]));
        for text in ["", "{", "{\n", "{\n\n\n", "\n\n\n{", " \n\n{", "\t\n\t\n", "{\"click\"", "\0\0\0\0"] {
            assert!(!begins_with_event(text.as_bytes()), "{text:?}");
        }
    }
}
