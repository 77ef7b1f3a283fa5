//! The words behind a number: raw records, read again from where they came.

use recount_connectors::{RawRecord, RawStore, decode_one};
use recount_dataflow::domain::event::Event;
use recount_dataflow::domain::fact::Position;

/// The strings of a click that the engine does not keep.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClickWords {
    pub(crate) click_id: String,
    pub(crate) user_id: String,
}

/// The strings of a verdict that the engine does not keep.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct VerdictWords {
    pub(crate) reason: String,
    pub(crate) model_version: String,
}

/// Reads raw records again.
pub(crate) struct Evidence {
    store: RawStore,
}

impl Evidence {
    /// From the source's own store.
    pub(crate) fn new(store: RawStore) -> Self {
        Evidence { store }
    }

    /// A record as it came; `None` where it can not be read any more.
    pub(crate) fn raw(&self, position: Position) -> Option<Vec<u8>> {
        self.record(position).map(|record| record.bytes)
    }

    /// The words of the click at a position; `None` where they can not be read any more.
    pub(crate) fn click(&self, position: Position) -> Option<ClickWords> {
        let record = self.record(position)?;
        match decode_one(record.format, &record.bytes).ok()?.event? {
            Event::Click(click) => {
                Some(ClickWords { click_id: click.click_id.into_owned(), user_id: click.user_id.into_owned() })
            }
            Event::Verdict(_) => None,
        }
    }

    /// The words of the verdict at a position; `None` where they can not be read any more.
    pub(crate) fn verdict(&self, position: Position) -> Option<VerdictWords> {
        let record = self.record(position)?;
        match decode_one(record.format, &record.bytes).ok()?.event? {
            Event::Verdict(verdict) => Some(VerdictWords {
                reason: verdict.reason.into_owned(),
                model_version: verdict.model_version.into_owned(),
            }),
            Event::Click(_) => None,
        }
    }

    fn record(&self, position: Position) -> Option<RawRecord> {
        let record = self.store.record(position.stream, position.offset);
        record.inspect_err(|cause| tracing::debug!(%cause, "a record behind a number can not be read any more")).ok()
    }
}
