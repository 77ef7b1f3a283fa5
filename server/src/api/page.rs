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

    /// The same for an item of at most `bytes_max`, which is measured only where all that are left would not fit at that size.
    pub(crate) fn take_up_to(&mut self, bytes_max: usize, measure: impl FnOnce() -> usize) -> bool {
        if self.items.saturating_mul(bytes_max + FRAME_BYTES) > self.bytes {
            return self.take(measure());
        }
        let has_room = self.items > 0;
        self.items -= usize::from(has_room);
        has_room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_ends_by_items_or_by_bytes() {
        let mut budget = Budget::new(2);
        assert!(budget.take(10) && budget.take(10) && !budget.take(10));
        let mut budget = Budget::new(2);
        let measured = || panic!("two of these fit whatever they measure");
        assert!(budget.take_up_to(10, measured) && budget.take_up_to(10, measured) && !budget.take_up_to(10, measured));
        let mut budget = Budget::new(10);
        let half = (RESPONSE_BYTES_MAX - RESPONSE_BYTES_SPARE) / 2;
        assert!(budget.take_up_to(half, || half) && !budget.take_up_to(half, || half));
    }
}
