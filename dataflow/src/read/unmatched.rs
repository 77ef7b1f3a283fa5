//! Verdicts that have met no click, a page at a time.
//!
//! The ledger is looked through in the order of its fingerprints, one *stretch* of hashes after the other. So a page costs what
//! it looks at, and not what is remembered. How many stretches there are depends on what was accepted up to the epoch, and on nothing
//! else: the pages of an epoch end at the same places, whatever was merged or forgotten meanwhile.

use std::collections::BTreeSet;
use std::time::Instant;

use crate::domain::fact::{Fact, Position};
use crate::domain::fingerprint::Fingerprint;
use crate::operators::packet::{owner, range_of};

use super::{ReadError, Snapshot, check};

/// Facts of one stretch at most, on average; their ids are in memory while it is looked at.
const STRETCH_FACTS_MAX: usize = 1 << 16;

/// A place in the list of unmatched verdicts: it is ordered by the fingerprint of the click, then by position. The default is its
/// beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnmatchedPlace {
    /// The fingerprint of the click that has not come.
    pub click: Fingerprint,
    /// Where the verdict was read.
    pub position: Position,
}

/// A page of the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnmatchedPage {
    /// The verdicts, in the order of the list.
    pub verdicts: Vec<UnmatchedPlace>,
    /// Where the next page begins; `None` where this is the last.
    pub next: Option<UnmatchedPlace>,
}

impl UnmatchedPage {
    /// Cuts the page to its first verdicts, where there are more, and says whether it did.
    fn cut(&mut self, verdicts_max: usize) -> bool {
        self.next = self.verdicts.get(verdicts_max).copied();
        self.verdicts.truncate(verdicts_max);
        self.next.is_some()
    }
}

impl Snapshot {
    /// The verdicts that are remembered and have met no click, from a place on: at most `verdicts_max`, and at most what
    /// about `facts_max` facts of the ledger hold. So a page may have few verdicts, or none, and not be the last.
    ///
    /// # Errors
    /// [`ReadError::DeadlineExceeded`].
    ///
    /// # Panics
    /// Where one of the bounds is 0.
    pub fn unmatched_verdicts(
        &self,
        from: UnmatchedPlace,
        verdicts_max: usize,
        facts_max: usize,
        deadline: Option<Instant>,
    ) -> Result<UnmatchedPage, ReadError> {
        assert!(0 < verdicts_max && 0 < facts_max, "a page of {verdicts_max} verdicts in {facts_max} facts");
        let stretch_facts = facts_max.min(STRETCH_FACTS_MAX);
        let accepted = (self.totals().received + self.totals().verdicts) as usize;
        let stretches = accepted.div_ceil(stretch_facts).max(1);
        let first = owner(from.click.hash, stretches);
        let end = stretches.min(first + facts_max / stretch_facts);
        let mut page = UnmatchedPage::default();
        for stretch in first..end {
            check(deadline)?;
            let clicks = self.clicks_of_verdicts(range_of(stretch, stretches), from);
            for (number, click) in clicks.into_iter().enumerate() {
                if number % 256 == 0 {
                    check(deadline)?;
                }
                // One more than there is room for tells whether the list goes on.
                let room = verdicts_max + 1 - page.verdicts.len();
                let positions = self.unmatched_of(click, from, room).into_iter();
                page.verdicts.extend(positions.map(|position| UnmatchedPlace { click, position }));
                if page.cut(verdicts_max) {
                    return Ok(page);
                }
            }
        }
        page.next = (end < stretches).then(|| {
            let click = Fingerprint { hash: range_of(end, stretches).0, low: 0 };
            UnmatchedPlace { click, position: Position::default() }
        });
        Ok(page)
    }

    /// The fingerprints, ascending, under which a range of hashes holds verdicts; none of those before a place.
    fn clicks_of_verdicts(&self, (low, high): (u64, u64), from: UnmatchedPlace) -> Vec<Fingerprint> {
        let from_ms = self.retention().unmatched_from_ms;
        let mut clicks = Vec::new();
        let runs = self.workers.iter().flat_map(|worker| &worker.ledger);
        for fact in runs.flat_map(|run| run.within(low.max(from.click.hash), high)).flatten() {
            // A click may have very many verdicts, and they lie side by side.
            let is_new = clicks.last() != Some(&fact.id());
            let is_verdict = !fact.is_copy() && fact.event_ms() >= from_ms && self.includes(fact.position());
            if is_new && is_verdict && from.click <= fact.id() {
                clicks.push(fact.id());
            }
        }
        clicks.sort_unstable();
        clicks.dedup();
        clicks
    }

    /// Where the first verdicts of a click were read that are remembered and not before a place; none where the click has come.
    fn unmatched_of(&self, click: Fingerprint, from: UnmatchedPlace, limit: usize) -> BTreeSet<Position> {
        let ledger = &self.workers[owner(click.hash, self.workers.len())].ledger;
        let retention = self.retention();
        let is_asked = |fact: &&Fact| !fact.is_forgotten(&retention) && self.includes(fact.position());
        let mut first = BTreeSet::new();
        for fact in ledger.iter().flat_map(|run| run.find(click)).flatten().filter(is_asked) {
            let place = UnmatchedPlace { click, position: fact.position() };
            if fact.is_copy() {
                return BTreeSet::new();
            }
            if fact.event_ms() >= retention.unmatched_from_ms && from <= place {
                first.insert(place.position);
            }
            if limit < first.len() {
                first.pop_last();
            }
        }
        first
    }
}
