//! JSON and CSV written by hand into a buffer: a table of millions of rows costs about as much as copying it.

use std::fmt::Write as _;

/// A buffer of bytes that text is appended to.
pub(crate) type Buffer = Vec<u8>;

/// Appends an integer.
pub(crate) fn push_int(out: &mut Buffer, value: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends a JSON string, quotes included (RFC 8259: quotes, backslashes and control characters are escaped).
pub(crate) fn push_json_str(out: &mut Buffer, text: &str) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut copied = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if byte >= b' ' && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[copied..at]);
        copied = at + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                let mut escape = String::with_capacity(6);
                write!(escape, "\\u{byte:04x}").expect("a string takes all that is written");
                out.extend_from_slice(escape.as_bytes());
            }
        }
    }
    out.extend_from_slice(&bytes[copied..]);
    out.push(b'"');
}

/// Appends a CSV field, quoted where RFC 4180 asks for it.
pub(crate) fn push_csv_str(out: &mut Buffer, text: &str) {
    if !text.bytes().any(|byte| matches!(byte, b'"' | b',' | b'\n' | b'\r')) {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    out.push(b'"');
    out.extend_from_slice(text.replace('"', "\"\"").as_bytes());
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_strings_are_what_serde_json_writes() {
        for text in ["", "ad-1", "a\"b\\c", "line\nfeed\r\t", "nul\0bell\u{7}", "ümlaut 広告 🦀", "\u{7f}"] {
            let mut out = Buffer::new();
            push_json_str(&mut out, text);
            let back: String = serde_json::from_slice(&out).expect("it is JSON");
            assert_eq!(back, text);
        }
    }

    #[test]
    fn csv_fields_are_quoted_only_where_they_must_be() {
        for (text, expected) in [("ad-1", "ad-1"), ("a,b", "\"a,b\""), ("a\"b", "\"a\"\"b\""), ("a\nb", "\"a\nb\"")] {
            let mut out = Buffer::new();
            push_csv_str(&mut out, text);
            assert_eq!(String::from_utf8_lossy(&out), expected);
        }
    }
}
