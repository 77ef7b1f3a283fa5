//! The rows of many ads, looked up together.
//!
//! Whoever asks has the ads in the order of their names, and runs have them in the order of their hashes. So some are looked up at a
//! time, in the order of the runs, and their rows wait until each is asked for.

use std::ops::Range;
use std::sync::Arc;

use crate::domain::fingerprint::Fingerprint;
use crate::operators::context::State;
use crate::operators::packet::owner;
use crate::operators::view::AdRow;

use super::of_ad::{Asked, RowReader};

/// The rows of some ads.
#[derive(Default)]
pub(super) struct Table {
    reader: RowReader,
    /// The ads of one worker by fingerprint, with their numbers.
    keys: Vec<(Fingerprint, usize)>,
    rows: Vec<AdRow>,
    /// Where the rows of each ad are, by its number.
    ranges: Vec<Range<usize>>,
}

impl Table {
    /// Puts the rows of some ads together in place of what was there. The workers' states are those of one epoch; there are none where
    /// none has published.
    pub(super) fn fill(&mut self, workers: &[Arc<State>], ads: &[Fingerprint], asked: &Asked) {
        self.rows.clear();
        self.ranges.clear();
        self.ranges.resize(ads.len(), 0..0);
        for (worker, state) in workers.iter().enumerate() {
            let numbered = ads.iter().copied().zip(0..);
            self.keys.clear();
            self.keys.extend(numbered.filter(|(ad, _)| owner(ad.hash, workers.len()) == worker));
            self.keys.sort_unstable();
            let sorted: Vec<Fingerprint> = self.keys.iter().map(|(ad, _)| *ad).collect();
            let mut known = state.view.rows_of_ads(&sorted, asked.granularity);
            for (place, (_, number)) in (0..).zip(&self.keys) {
                let from = self.rows.len();
                self.rows.extend_from_slice(self.reader.read(known.of_ad(place), asked));
                self.ranges[*number] = from..self.rows.len();
            }
        }
    }

    /// The rows of each ad, in the order in which the ads were given, by window. Among them may be some that are no rows
    /// ([`Metrics::is_row`](crate::domain::metrics::Metrics::is_row)).
    pub(super) fn rows(&self) -> impl Iterator<Item = &[AdRow]> {
        self.ranges.iter().map(|range| &self.rows[range.clone()])
    }
}
