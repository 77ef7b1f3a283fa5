//! The rows of one ad: one pass over what its runs hold of it.

use std::ops::Range;

use crate::domain::window::Granularity;
use crate::operators::records::WindowCode;
use crate::operators::view::{AdRow, OfAd, between};

/// Which rows are asked for.
#[derive(Clone)]
pub(super) struct Asked {
    pub(super) granularity: Granularity,
    /// The numbers of the windows.
    pub(super) windows: Range<u32>,
    pub(super) as_of: u64,
}

/// Reads rows ad by ad, and keeps the room that this needs from one to the next.
#[derive(Default)]
pub(super) struct RowReader {
    rows: Vec<AdRow>,
}

impl RowReader {
    /// An ad's rows, by window, with their revisions. Among them may be some that are no rows, as in [`OfAd::sum`].
    pub(super) fn read(&mut self, of_ad: &OfAd<'_>, asked: &Asked) -> &[AdRow] {
        self.rows.clear();
        of_ad.sum(asked.granularity, &asked.windows, asked.as_of, &mut self.rows);
        self.count_corrections(of_ad, asked);
        &self.rows
    }

    /// Numbers the rows by their newest corrections, walking over both side by side.
    fn count_corrections(&mut self, of_ad: &OfAd<'_>, asked: &Asked) {
        let (Some(first), Some(last)) = (self.rows.first(), self.rows.last()) else { return };
        let range = WindowCode::range(asked.granularity, &(first.window..last.window + 1));
        for corrections in &of_ad.corrections {
            let mut rows = self.rows.iter_mut().peekable();
            for correction in between(corrections, |correction| correction.window, range.clone()) {
                while rows.next_if(|row| row.window < correction.window.window()).is_some() {}
                if let Some(row) = rows.peek_mut().filter(|row| row.window == correction.window.window())
                    && correction.epoch <= asked.as_of
                {
                    row.revision = row.revision.max(correction.revision);
                }
            }
        }
    }
}
