//! What one number is made of. An explanation may scan the ledger: nothing is kept for it alone.

use std::collections::BTreeSet;
use std::time::Instant;

use crate::domain::click::{copy_order, groups};
use crate::domain::fact::{Fact, Position};
use crate::domain::fingerprint::Fingerprint;
use crate::domain::verdict::{is_invalid, standing};
use crate::domain::window::Granularity;
use crate::operators::ledger::facts_of;
use crate::operators::packet::owner;
use crate::operators::records::WindowCode;
use crate::trace::Run;

use super::answer::{ClickEvidence, CopyEvidence, Correction, Explanation, VerdictEvidence};
use super::rows::{correction, starting_in};
use super::{ReadError, Snapshot, check};

impl Snapshot {
    /// What one row is made of: the clicks that have a copy in it, at most `limit` of them, by (event time, position).
    ///
    /// # Errors
    /// [`ReadError::NotKept`], [`ReadError::DeadlineExceeded`].
    pub fn explain(
        &self,
        ad_id: &str,
        granularity: Granularity,
        window_start_ms: i64,
        limit: usize,
        deadline: Option<Instant>,
    ) -> Result<Explanation, ReadError> {
        let end_ms = window_start_ms.saturating_add(granularity.size_ms());
        let row = self.rows(ad_id, granularity, window_start_ms, window_start_ms.saturating_add(1))?.pop();
        let ad = self.shared.key.ad(ad_id);
        let in_row =
            |copy: &Fact| copy.is_copy() && copy.ad() == ad && (window_start_ms..end_ms).contains(&copy.event_ms());
        let mut ids = BTreeSet::new();
        let retention = self.retention();
        self.scan(deadline, |fact| {
            if in_row(fact) && !fact.is_forgotten(&retention) {
                ids.insert(fact.id());
            }
        })?;
        let mut clicks = Vec::new();
        for (number, id) in ids.into_iter().enumerate() {
            if number % 256 == 0 {
                check(deadline)?;
            }
            self.explain_id(id, in_row, &mut clicks);
        }
        clicks.sort_by_key(|click| (click.event_ms, click.position));
        let truncated = clicks.len() > limit;
        clicks.truncate(limit);
        Ok(Explanation { row, clicks, truncated, revisions: self.revisions_of(ad, granularity, window_start_ms) })
    }

    /// Looks at every fact of the epochs up to this one.
    fn scan(&self, deadline: Option<Instant>, mut look: impl FnMut(&Fact)) -> Result<(), ReadError> {
        let runs = self.workers.iter().flat_map(|worker| &worker.ledger);
        for facts in runs.flat_map(Run::slices) {
            check(deadline)?;
            facts.iter().filter(|fact| self.includes(fact.position())).for_each(&mut look);
        }
        Ok(())
    }

    /// Whether a record belongs to the epochs up to this one.
    pub(super) fn includes(&self, position: Position) -> bool {
        self.complete.after.positions.get(&position.stream).is_some_and(|next| position.offset < *next)
    }

    fn facts(&self, id: Fingerprint) -> Vec<Fact> {
        let ledger = &self.workers[owner(id.hash, self.workers.len())].ledger;
        let retention = self.retention();
        let mut facts = facts_of(ledger, id, |position| self.includes(position));
        facts.retain(|fact| !fact.is_forgotten(&retention));
        facts
    }

    /// Adds the clicks of an id that have a copy in the row.
    fn explain_id(&self, id: Fingerprint, in_row: impl Fn(&Fact) -> bool, clicks: &mut Vec<ClickEvidence>) {
        let (mut copies, mut verdicts): (Vec<Fact>, Vec<Fact>) = self.facts(id).into_iter().partition(Fact::is_copy);
        copies.sort_unstable_by(copy_order);
        verdicts.sort_unstable_by_key(|verdict| (verdict.event_ms(), verdict.position()));
        for group in groups(&copies, &self.shared.rules).filter(|group| group.iter().any(&in_row)) {
            let click = &group[0];
            // Of older ones not all copies and verdicts are remembered.
            if click.event_ms() < self.retention().clicks_from_ms {
                continue;
            }
            let stands = standing(&verdicts, click.event_ms(), &self.shared.rules);
            clicks.push(ClickEvidence {
                position: click.position(),
                ad_id: self.shared.dictionary.name(click.ad()),
                event_ms: click.event_ms(),
                price_micros: click.price_micros(),
                invalid: stands.is_some_and(is_invalid),
                other_copies: group[1..].iter().map(|copy| self.copy_evidence(copy, click)).collect(),
                verdicts: verdicts
                    .iter()
                    .map(|verdict| VerdictEvidence {
                        position: verdict.position(),
                        decided_ms: verdict.event_ms(),
                        invalid: is_invalid(verdict),
                        stands: stands.is_some_and(|stands| stands.position() == verdict.position()),
                    })
                    .collect(),
            });
        }
    }

    fn copy_evidence(&self, copy: &Fact, click: &Fact) -> CopyEvidence {
        CopyEvidence {
            position: copy.position(),
            ad_id: self.shared.dictionary.name(copy.ad()),
            event_ms: copy.event_ms(),
            conflicting: copy.conflicts_with(click),
        }
    }

    fn revisions_of(&self, ad: Fingerprint, granularity: Granularity, window_start_ms: i64) -> Vec<Correction> {
        let Some(view) = self.view_of(ad) else { return Vec::new() };
        let Some(window) = starting_in(granularity, window_start_ms, window_start_ms.saturating_add(1)).next() else {
            return Vec::new();
        };
        let window = WindowCode::new(granularity, window);
        let revisions = view.rows_of_ad(ad, window.granularity()).corrections(window, self.as_of()).into_iter();
        let revisions = revisions.filter(|record| record.window.is_row(&self.retention()));
        revisions.map(|record| correction(&self.shared, record)).collect()
    }
}
