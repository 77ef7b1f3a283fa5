//! Messages on their way, in one piece of memory.

/// Messages in their order, cut into parts that share a time and headers: an epoch each.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    messages: Vec<Entry>,
    parts: Vec<Part>,
}

/// A message: where its key and its value end.
#[derive(Debug)]
struct Entry {
    key_end: usize,
    /// `None` for a message that says its key is gone.
    value_end: Option<usize>,
}

/// What the messages from `first` on have in common.
#[derive(Debug)]
struct Part {
    first: usize,
    shared: Shared,
}

/// What some messages have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Shared {
    pub(super) timestamp_ms: i64,
    pub(super) headers: Vec<(&'static str, String)>,
}

/// One message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message<'a> {
    pub(super) key: &'a [u8],
    pub(super) value: Option<&'a [u8]>,
}

impl Batch {
    /// The messages pushed from here on carry this time, ms since 1970, and these headers.
    pub fn begin(&mut self, timestamp_ms: i64, headers: Vec<(&'static str, String)>) {
        self.parts.push(Part { first: self.messages.len(), shared: Shared { timestamp_ms, headers } });
    }

    /// Adds a message; one without a value says that its key is gone.
    ///
    /// # Panics
    /// Before the first [`begin`](Batch::begin).
    pub fn push(&mut self, key: &[u8], value: Option<&[u8]>) {
        assert!(!self.parts.is_empty(), "a message belongs to an epoch, which is begun first");
        self.bytes.extend_from_slice(key);
        let key_end = self.bytes.len();
        let value_end = value.map(|value| {
            self.bytes.extend_from_slice(value);
            self.bytes.len()
        });
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

    fn messages_in(&self, first: usize, end: usize) -> impl Iterator<Item = Message<'_>> {
        let mut start = match first.checked_sub(1).map(|before| &self.messages[before]) {
            Some(Entry { key_end, value_end }) => value_end.unwrap_or(*key_end),
            None => 0,
        };
        self.messages[first..end].iter().map(move |entry| {
            let key = &self.bytes[start..entry.key_end];
            let value = entry.value_end.map(|end| &self.bytes[entry.key_end..end]);
            start = entry.value_end.unwrap_or(entry.key_end);
            Message { key, value }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Part = (i64, Vec<(String, Option<String>)>);

    fn parts(batch: &Batch) -> Vec<Part> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let parts = batch.parts().map(|(shared, messages)| {
            (shared.timestamp_ms, messages.map(|m| (text(m.key), m.value.map(text))).collect())
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
        let pair = |key: &str, value: Option<&str>| (key.to_owned(), value.map(str::to_owned));
        let expected =
            vec![(1, vec![pair("a", Some("one")), pair("gone", None)]), (2, vec![]), (3, vec![pair("", Some(""))])];
        assert_eq!(parts(&batch), expected);
        assert_eq!((batch.len(), batch.byte_len()), (3, 8));
        batch.clear();
        assert!(batch.is_empty() && parts(&batch).is_empty());
    }
}
