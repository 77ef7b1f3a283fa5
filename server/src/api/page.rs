//! How much fits one page.

use crate::limits::{RESPONSE_BYTES_MAX, RESPONSE_BYTES_SPARE};

/// The tag and the length in front of an embedded message, at most, in bytes.
const FRAME_BYTES: usize = 6;

/// What is left of a page, in items and in bytes. The first item always fits: none is as large as a message.
pub(crate) struct Budget {
    items: usize,
    bytes: usize,
}

impl Budget {
    /// A page of at most `items`, and at most the message size.
    pub(crate) fn new(items: usize) -> Self {
        Budget { items, bytes: RESPONSE_BYTES_MAX - RESPONSE_BYTES_SPARE }
    }

    /// Takes one item of this encoded size, in bytes; false where the page is full.
    pub(crate) fn take(&mut self, bytes: usize) -> bool {
        let bytes = bytes + FRAME_BYTES;
        if self.items == 0 || bytes > self.bytes {
            return false;
        }
        self.items -= 1;
        self.bytes -= bytes;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_ends_by_items_or_by_bytes() {
        let mut budget = Budget::new(2);
        assert!(budget.take(10) && budget.take(10) && !budget.take(10));
        let mut budget = Budget::new(10);
        let half = (RESPONSE_BYTES_MAX - RESPONSE_BYTES_SPARE) / 2;
        assert!(budget.take(half) && !budget.take(half));
    }
}
