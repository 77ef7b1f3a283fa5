//! Messages on their way, in one piece of memory.

use std::borrow::Cow;

/// Messages in their order, cut into parts that share a topic, a time and headers: an epoch each, or a message each.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    messages: Vec<Entry>,
    parts: Vec<Part>,
}

/// A message: where its key and its value end.
#[derive(Debug)]
struct Entry {
    /// `None` for a message without a key.
    key_end: Option<usize>,
    /// `None` for a message that says its key is gone.
    value_end: Option<usize>,
}

/// What the messages from `first` on have in common.
#[derive(Debug)]
struct Part {
    first: usize,
    shared: Shared,
}

/// A header: its name, and its value where it has one.
pub type MessageHeader = (Cow<'static, str>, Option<Vec<u8>>);

/// What some messages have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shared {
    /// The number of the topic among the publisher's.
    pub topic: usize,
    /// ms since 1970 UTC; the broker's or the producer's own where it is `None`.
    pub timestamp_ms: Option<i64>,
    /// The name of the header that says the time where the topic does not take it: such a message has the time of sending. Where it
    /// is `None` the time is a part of what is published, and nothing may take its place.
    pub time_header: Option<&'static str>,
    /// In their order.
    pub headers: Vec<MessageHeader>,
}

/// One message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message<'a> {
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
}

impl Batch {
    /// The messages pushed from here on go to the publisher's first topic, and carry this time, ms since 1970, and these headers.
    pub fn begin(&mut self, timestamp_ms: i64, headers: Vec<(&'static str, String)>) {
        let header = |(name, value): (&'static str, String)| (name.into(), Some(value.into_bytes()));
        let headers = headers.into_iter().map(header).collect();
        self.begin_with(Shared { timestamp_ms: Some(timestamp_ms), headers, ..Shared::default() });
    }

    /// The messages pushed from here on have this in common.
    pub fn begin_with(&mut self, shared: Shared) {
        self.parts.push(Part { first: self.messages.len(), shared });
    }

    /// Adds a message; one without a value says that its key is gone.
    ///
    /// # Panics
    /// Before the first [`begin`](Batch::begin).
    pub fn push(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.push_any(Some(key), value);
    }

    /// Adds a message, whether it has a key or none.
    ///
    /// # Panics
    /// Before the first [`begin`](Batch::begin).
    pub fn push_any(&mut self, key: Option<&[u8]>, value: Option<&[u8]>) {
        assert!(!self.parts.is_empty(), "a message belongs to an epoch, which is begun first");
        let mut add = |bytes: &[u8]| {
            self.bytes.extend_from_slice(bytes);
            self.bytes.len()
        };
        let (key_end, value_end) = (key.map(&mut add), value.map(&mut add));
        self.messages.push(Entry { key_end, value_end });
    }

    /// How many messages there are.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// The bytes of all keys and values.
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// Takes all out, and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.messages.clear();
        self.parts.clear();
    }

    /// The parts in their order, each with its messages.
    pub(super) fn parts(&self) -> impl Iterator<Item = (&Shared, impl Iterator<Item = Message<'_>>)> {
        let ends = self.parts.iter().skip(1).map(|part| part.first).chain([self.messages.len()]);
        self.parts.iter().zip(ends).map(|(part, end)| (&part.shared, self.messages_in(part.first, end)))
    }

    /// The times that may be said by a header.
    pub(super) fn movable_ms(&self) -> impl Iterator<Item = i64> {
        self.parts.iter().filter(|part| part.shared.time_header.is_some()).filter_map(|part| part.shared.timestamp_ms)
    }

    fn messages_in(&self, first: usize, end: usize) -> impl Iterator<Item = Message<'_>> {
        let before = self.messages[..first].iter().rev();
        let mut start = before.filter_map(|entry| entry.value_end.or(entry.key_end)).next().unwrap_or(0);
        self.messages[first..end].iter().map(move |entry| {
            let mut up_to = |end: usize| &self.bytes[std::mem::replace(&mut start, end)..end];
            let key = entry.key_end.map(&mut up_to);
            Message { key, value: entry.value_end.map(&mut up_to) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Part = (Option<i64>, Vec<(Option<String>, Option<String>)>);

    fn parts(batch: &Batch) -> Vec<Part> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let parts = batch.parts().map(|(shared, messages)| {
            (shared.timestamp_ms, messages.map(|m| (m.key.map(text), m.value.map(text))).collect())
        });
        parts.collect()
    }

    #[test]
    fn messages_come_back_by_part() {
        let mut batch = Batch::default();
        batch.begin(1, vec![("epoch", "1".into())]);
        batch.push(b"a", Some(b"one"));
        batch.push(b"gone", None);
        batch.begin(2, Vec::new());
        batch.begin(3, Vec::new());
        batch.push(b"", Some(b""));
        batch.begin_with(Shared { topic: 1, ..Shared::default() });
        batch.push_any(None, None);
        batch.begin_with(Shared { topic: 2, ..Shared::default() });
        batch.push_any(None, Some(b"alone"));
        let pair = |key: Option<&str>, value: Option<&str>| (key.map(str::to_owned), value.map(str::to_owned));
        let expected = vec![
            (Some(1), vec![pair(Some("a"), Some("one")), pair(Some("gone"), None)]),
            (Some(2), vec![]),
            (Some(3), vec![pair(Some(""), Some(""))]),
            (None, vec![pair(None, None)]),
            (None, vec![pair(None, Some("alone"))]),
        ];
        assert_eq!(parts(&batch), expected);
        assert_eq!((batch.len(), batch.byte_len()), (5, 13));
        batch.clear();
        assert!(batch.is_empty() && parts(&batch).is_empty());
    }
}
