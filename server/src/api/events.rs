//! The events of one request, in any of the forms that they come in.

use bytes::Bytes;
use memchr::memchr_iter;
use recount_connectors::Format;
use recount_dataflow::domain::validate::Reason;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::errors::{CallError, ErrorReason};
use crate::convert::raw;
use crate::limits::APPEND_EVENTS_MAX;

/// Events, not yet read.
pub(crate) enum Events {
    /// Messages of protobuf.
    Messages(Vec<Bytes>),
    /// A JSON object a line; blank lines are none.
    Lines(Vec<u8>),
    /// One JSON object, or an array of them.
    Json(Vec<u8>),
}

impl Events {
    /// How many bytes they take.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Events::Messages(messages) => messages.iter().map(Bytes::len).sum(),
            Events::Lines(text) | Events::Json(text) => text.len(),
        }
    }

    /// Visits every event, in order.
    ///
    /// # Errors
    /// Where they can not be told apart, and the visitor's own.
    pub(super) fn for_each(
        &self,
        mut visit: impl FnMut(Format, &[u8]) -> Result<(), CallError>,
    ) -> Result<(), CallError> {
        match self {
            Events::Messages(messages) => {
                if messages.len() > APPEND_EVENTS_MAX {
                    let message = format!("{} events are too many for one request", messages.len());
                    let error = CallError::field(ErrorReason::TooManyEvents, "events", message);
                    return Err(error.with("limit", APPEND_EVENTS_MAX));
                }
                messages.iter().try_for_each(|message| visit(Format::Protobuf, message))
            }
            Events::Lines(text) => lines(text).try_for_each(|line| visit(Format::JsonLines, line)),
            Events::Json(text) => array_or_object(text)?.iter().try_for_each(|event| {
                let event = event.get();
                visit(Format::JsonLines, event.as_bytes())
            }),
        }
    }

    /// Refuses a body that holds nothing readable at all: its sender believes to send something else than events.
    pub(super) fn check_readable(&self, refusals: &[raw::Refusal]) -> Result<(), CallError> {
        let Events::Lines(text) = self else { return Ok(()) };
        let is_json = |line: &[u8]| serde_json::from_slice::<IgnoredAny>(line).is_ok();
        let unreadable = |refusal: &raw::Refusal| refusal.reason == Reason::Unreadable.as_str();
        if refusals.iter().all(unreadable) && !lines(text).any(is_json) {
            let first = refusals.first().map_or("it is empty", |first| &first.detail);
            return Err(CallError::new(ErrorReason::BodyInvalid, format!("the body holds no line of JSON: {first}")));
        }
        Ok(())
    }
}

/// The lines of a text that are not blank, without their ends.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ends = memchr_iter(b'\n', text).chain([text.len()]);
    let cut = ends.scan(0, |start, end| Some(&text[std::mem::replace(start, end + 1)..end]));
    cut.filter(|line| !line.iter().all(u8::is_ascii_whitespace))
}

fn array_or_object(text: &[u8]) -> Result<Vec<&RawValue>, CallError> {
    let parsed = match text.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'[') => serde_json::from_slice(text),
        Some(b'{') => serde_json::from_slice(text).map(|event| vec![event]),
        _ => return Err(CallError::new(ErrorReason::BodyInvalid, "the body must be an event or an array of events")),
    };
    parsed.map_err(|cause| CallError::new(ErrorReason::BodyInvalid, format!("the body is no JSON: {cause}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visited(events: &Events) -> Result<Vec<String>, ErrorReason> {
        let mut seen = Vec::new();
        let visited = events.for_each(|_, event| {
            seen.push(String::from_utf8_lossy(event).into_owned());
            Ok(())
        });
        visited.map(|()| seen).map_err(|error| error.reason)
    }

    #[test]
    fn lines_end_with_or_without_a_newline_and_blank_ones_are_none() {
        for text in ["a\nb", "a\nb\n", "\n\r\na\n \t\nb\n\n"] {
            assert_eq!(visited(&Events::Lines(text.into())), Ok(vec!["a".into(), "b".into()]), "{text:?}");
        }
        assert_eq!(visited(&Events::Lines(Vec::new())), Ok(vec![]));
    }

    #[test]
    fn json_is_one_event_or_an_array_of_them() {
        let json = |text: &str| visited(&Events::Json(text.into()));
        assert_eq!(json(r#" {"a": 1} "#), Ok(vec![r#"{"a": 1}"#.into()]));
        assert_eq!(json(r#"[{"a":[1]}, 7 ,"x"]"#), Ok(vec![r#"{"a":[1]}"#.into(), "7".into(), "\"x\"".into()]));
        assert_eq!(json("[]"), Ok(vec![]));
        for broken in ["", " ", "7", "{", "[{},", "[{}]x", "[{} {}]"] {
            assert_eq!(json(broken), Err(ErrorReason::BodyInvalid), "{broken:?}");
        }
    }

    #[test]
    fn a_request_has_a_bounded_number_of_messages() {
        let most = Events::Messages(vec![Bytes::new(); APPEND_EVENTS_MAX]);
        assert_eq!(visited(&most).map(|seen| seen.len()), Ok(APPEND_EVENTS_MAX));
        let more = Events::Messages(vec![Bytes::new(); APPEND_EVENTS_MAX + 1]);
        assert_eq!(visited(&more), Err(ErrorReason::TooManyEvents));
    }
}
