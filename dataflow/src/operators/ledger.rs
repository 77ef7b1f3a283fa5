//! The ledger: every click's copies and verdicts.
//!
//! In: the facts of an epoch. Out: `J(S + N) - J(S)` for every click they touch (see [`resolution`](crate::domain::resolution)),
//! as changes of rows and of visits. State: the facts, found by their click.

use crate::domain::fact::{Fact, Position};
use crate::domain::fingerprint::Fingerprint;
use crate::domain::resolution::{Resolver, RoleChange};
use crate::domain::retention::Retention;
use crate::domain::rules::Rules;
use crate::domain::window::Granularity;
use crate::trace::sort::{Sorter, fold_sorted};
use crate::trace::sweep::Groups;
use crate::trace::{Beside, Run, Spine};

use super::context::MayForget;
use super::records::{PackedMetrics, RowUpdate, VisitUpdate};
use super::tally::Tally;

/// The arrangement, and what decides over it.
pub(crate) struct Ledger {
    spine: Spine<Fact>,
    base: Granularity,
    resolver: Resolver,
    facts_sorter: Sorter<Fact>,
    rows_sorter: Sorter<RowUpdate>,
    groups: Groups,
}

/// What an epoch changed.
#[derive(Default)]
pub(crate) struct Effects {
    /// Changes of rows, sorted and folded: a viral ad leaves one a window.
    pub(crate) rows: Vec<RowUpdate>,
    /// Changes of visits.
    pub(crate) visits: Vec<VisitUpdate>,
    /// For the conservation ledger.
    pub(crate) tally: Tally,
}

impl Ledger {
    /// A ledger of some facts, whose merges may be given to threads beside.
    pub(crate) fn new(rules: Rules, base: Granularity, facts: Vec<Run<Fact>>, beside: &Beside) -> Self {
        Ledger {
            spine: Spine::new(facts, beside),
            base,
            resolver: Resolver::new(rules),
            facts_sorter: Sorter::new(),
            rows_sorter: Sorter::new(),
            groups: Groups::default(),
        }
    }

    /// Takes in the facts of an epoch, in any order. What is not `asked` about at the epoch is as if it had never been.
    pub(crate) fn apply(&mut self, pieces: &[Vec<Fact>], asked: &Retention, may_forget: MayForget) -> Effects {
        let mut facts = self.facts_sorter.sort(pieces);
        self.groups.index(&facts);
        let runs = self.spine.runs();
        let known = self.groups.look_up(&runs);
        let mut effects = self.decide(&facts, &known, asked);
        if !effects.tally.parked.is_empty() {
            effects.tally.parked.sort_unstable();
            facts.retain(|fact| fact.is_copy() || effects.tally.parked.binary_search(&fact.position()).is_err());
        }
        effects.tally.verdicts = facts.iter().filter(|fact| !fact.is_copy()).count() as u64;
        self.spine.follow(may_forget.horizon(0), may_forget.written);
        self.spine.insert(Run::from_slice(&facts));
        self.facts_sorter.recycle(facts);
        effects.rows = self.rows_sorter.sort(&[effects.rows]);
        fold_sorted(&mut effects.rows);
        effects
    }

    /// Goes on with a merge by some records, and says whether there is more to be done.
    pub(crate) fn tidy(&mut self, records: usize) -> bool {
        self.spine.tidy(records)
    }

    /// The arrangement's runs.
    pub(crate) fn runs(&self) -> Vec<Run<Fact>> {
        self.spine.runs()
    }

    fn decide(&mut self, facts: &[Fact], known: &[(u32, &[Fact])], asked: &Retention) -> Effects {
        let mut effects = Effects::default();
        effects.rows.reserve(facts.len());
        effects.visits.reserve(facts.len());
        let (mut old, mut new) = (Vec::new(), Vec::new());
        let mut known = known.iter().peekable();
        for (number, range) in self.groups.ranges().enumerate() {
            let group = &facts[range];
            let is_known = known.peek().is_some_and(|(known, _)| *known == number as u32);
            if let [copy] = group
                && copy.is_copy()
                && !is_known
            {
                effects.push(self.base, RoleChange::fresh(*copy));
                continue;
            }
            old.clear();
            while let Some((_, facts)) = known.next_if(|(known, _)| *known == number as u32) {
                old.extend(facts.iter().filter(|fact| !fact.is_forgotten(asked)));
            }
            new.clear();
            new.extend_from_slice(group);
            self.resolver.park(&old, &mut new, &mut effects.tally.parked);
            let resolved = self.resolver.resolve(&old, &new, &mut |change| effects.push(self.base, change));
            effects.tally.conflicting_copies += resolved.conflicting_copies;
        }
        effects
    }
}

impl Effects {
    #[inline]
    fn push(&mut self, base: Granularity, change: RoleChange) {
        let copy = &change.copy;
        let window = base.window_of(copy.event_ms());
        self.rows.push(RowUpdate::new(copy.ad(), window, change.causes, PackedMetrics::new(change.metrics())));
        let clicks = change.visits();
        if clicks != 0
            && let Some(visit) = copy.visit()
        {
            self.visits.push(VisitUpdate::new(visit, copy.ad(), window, clicks));
        }
    }
}

/// The facts of one id in some runs, of those read before `positions` end.
pub(crate) fn facts_of(runs: &[Run<Fact>], id: Fingerprint, included: impl Fn(Position) -> bool) -> Vec<Fact> {
    let facts = runs.iter().flat_map(|run| run.find(id)).flatten().copied();
    facts.filter(|fact| included(fact.position())).collect()
}
