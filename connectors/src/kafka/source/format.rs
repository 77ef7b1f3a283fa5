//! How the records of a topic are written.

use std::ffi::CStr;
use std::fmt;
use std::str::FromStr;

use recount_dataflow::domain::validate::Violation;
use recount_dataflow::intake::unreadable;

use crate::format::{Decoded, Format};
use crate::{json, protobuf};

/// The header that names a record's format, where its topic has none of its own.
pub(in crate::kafka) const CONTENT_TYPE: &CStr = c"content-type";
/// Longest part of a header that is shown.
const SHOWN_BYTES_MAX: usize = 100;

/// How the records of a topic are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicFormat {
    /// Protobuf: `recount.v1.Event`.
    Event,
    /// Protobuf: `recount.v1.Click`.
    Click,
    /// Protobuf: `recount.v1.Verdict`.
    Verdict,
    /// JSON: an event.
    Json,
    /// As each record's header `content-type` says.
    ContentType,
}

/// How one record is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RecordFormat {
    Event,
    Click,
    Verdict,
    Json,
}

impl RecordFormat {
    /// Reads one record.
    #[inline]
    pub(super) fn decode(self, payload: &[u8]) -> Result<Decoded<'_>, Violation> {
        match self {
            RecordFormat::Event => protobuf::decode(payload),
            RecordFormat::Click => protobuf::decode_click(payload),
            RecordFormat::Verdict => protobuf::decode_verdict(payload),
            RecordFormat::Json => json::decode(payload),
        }
    }

    /// A record in one of the two formats that are known everywhere: a click or a verdict by itself becomes an event with it.
    pub(super) fn as_event(self, payload: Vec<u8>) -> (Format, Vec<u8>) {
        match self {
            RecordFormat::Json => (Format::JsonLines, payload),
            RecordFormat::Event => (Format::Protobuf, payload),
            RecordFormat::Click => (Format::Protobuf, protobuf::event_of(1, &payload)),
            RecordFormat::Verdict => (Format::Protobuf, protobuf::event_of(2, &payload)),
        }
    }
}

/// Every format, as it is written in settings.
const NAMES: [(&str, TopicFormat); 5] = [
    ("event", TopicFormat::Event),
    ("click", TopicFormat::Click),
    ("verdict", TopicFormat::Verdict),
    ("json", TopicFormat::Json),
    ("content-type", TopicFormat::ContentType),
];

impl TopicFormat {
    /// Its name in settings.
    pub fn as_str(self) -> &'static str {
        NAMES.iter().find(|(_, format)| *format == self).map(|(name, _)| *name).expect("every format has a name")
    }

    /// Whether one record can be read; `content_type` is its header of that name.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(self, payload: &[u8], content_type: Option<&[u8]>) -> Result<(), Violation> {
        let format = self.fixed().map_or_else(|| of_content_type(content_type), Ok)?;
        match format.decode(payload)?.event {
            Some(_) => Ok(()),
            None => Err(unreadable("expected a click or a verdict, found neither")),
        }
    }

    /// The format of all records; `None` where each has its own.
    pub(super) fn fixed(self) -> Option<RecordFormat> {
        match self {
            TopicFormat::Event => Some(RecordFormat::Event),
            TopicFormat::Click => Some(RecordFormat::Click),
            TopicFormat::Verdict => Some(RecordFormat::Verdict),
            TopicFormat::Json => Some(RecordFormat::Json),
            TopicFormat::ContentType => None,
        }
    }
}

impl fmt::Display for TopicFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for TopicFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = NAMES.iter().find(|(name, _)| *name == text);
        found.map(|(_, format)| *format).ok_or_else(|| {
            format!("{text:?} is no format of records; write event, click, verdict, json or content-type")
        })
    }
}

/// The format that a `content-type` names: `application/json`, or `application/x-protobuf`, which is an event unless its parameter
/// `message` names a click or a verdict.
///
/// # Errors
/// Where it is missing or names another: the record can not be read.
pub(super) fn of_content_type(value: Option<&[u8]>) -> Result<RecordFormat, Violation> {
    let value = value.ok_or_else(|| unreadable("expected the header content-type, found none"))?;
    let text = std::str::from_utf8(value).ok().filter(|text| text.is_ascii());
    let unknown = || {
        let shown = String::from_utf8_lossy(&value[..value.len().min(SHOWN_BYTES_MAX)]);
        unreadable(format!("expected content-type application/json or application/x-protobuf, found {shown:?}"))
    };
    let mut parts = text.ok_or_else(unknown)?.split(';').map(str::trim);
    let is = |kind: &str, known: &[&str]| known.iter().any(|one| kind.eq_ignore_ascii_case(one));
    let kind = parts.next().unwrap_or_default();
    if is(kind, &["application/json"]) {
        return Ok(RecordFormat::Json);
    }
    if !is(kind, &["application/x-protobuf", "application/protobuf"]) {
        return Err(unknown());
    }
    let named =
        parts.filter_map(|part| part.split_once('=')).find(|(name, _)| name.trim().eq_ignore_ascii_case("message"));
    match named.map(|(_, message)| message.trim().trim_matches('"')) {
        None | Some("recount.v1.Event") => Ok(RecordFormat::Event),
        Some("recount.v1.Click") => Ok(RecordFormat::Click),
        Some("recount.v1.Verdict") => Ok(RecordFormat::Verdict),
        Some(_) => Err(unknown()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for (name, format) in NAMES {
            assert_eq!((format.as_str(), name.parse()), (name, Ok(format)));
        }
        assert!("avro".parse::<TopicFormat>().is_err());
    }

    #[test]
    fn a_body_by_itself_is_an_event_of_it() {
        let click = [0x0a, 1, b'c', 0x12, 1, b'a', 0x18, 5];
        let (format, event) = RecordFormat::Click.as_event(click.to_vec());
        let of_event = crate::format::decode_one(format, &event).unwrap();
        assert!(of_event.event.is_some());
        assert_eq!(RecordFormat::Click.decode(&click), Ok(of_event));
    }

    #[test]
    fn content_types_name_formats() {
        let of = |value: &str| of_content_type(Some(value.as_bytes()));
        assert_eq!(of("application/json; charset=utf-8"), Ok(RecordFormat::Json));
        assert_eq!(of("Application/X-Protobuf"), Ok(RecordFormat::Event));
        assert_eq!(of("application/x-protobuf;message=recount.v1.Click"), Ok(RecordFormat::Click));
        assert_eq!(of("application/x-protobuf; message=\"recount.v1.Verdict\""), Ok(RecordFormat::Verdict));
        let detail = |value: Option<&[u8]>| of_content_type(value).expect_err("no format").detail;
        assert_eq!(detail(None), "expected the header content-type, found none");
        for wrong in ["", "text/plain", "application/x-protobuf; message=Click", "application/avro"] {
            assert!(detail(Some(wrong.as_bytes())).contains("found"), "{wrong}");
        }
        assert!(detail(Some(&[0xff; 1_000])).len() < 500);
    }
}
