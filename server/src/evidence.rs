//! The words behind a number: raw records, read again from where they came.

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
pub(crate) struct Evidence {}

impl Evidence {
    /// A record as it came; `None` where it can not be read any more.
    pub(crate) fn raw(&self, position: Position) -> Option<Vec<u8>> {
        let _ = position;
        None
    }

    /// The words of the click at a position.
    pub(crate) fn click(&self, position: Position) -> Option<ClickWords> {
        let _ = self.raw(position)?;
        None
    }

    /// The words of the verdict at a position.
    pub(crate) fn verdict(&self, position: Position) -> Option<VerdictWords> {
        let _ = self.raw(position)?;
        None
    }
}
