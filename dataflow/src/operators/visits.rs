//! Visits: in which windows each user of an ad has valid clicks.
//!
//! In: changes of visits. Out: changes of distinct users, for the base windows as they are, for every larger size as changes of
//! the overlap (see [`UniqueUpdate`]). With `p(w)` = 1 where a user has a valid click in base window w, a larger window W has
//! `overlap(W) = sum of p(w) - max of p(w)` over its base windows, summed over the users. State: the multiplicities, found by
//! (ad, user); one arrangement serves every size.

use crate::domain::fingerprint::Fingerprint;
use crate::domain::retention::Retention;
use crate::domain::window::Granularity;
use crate::trace::sort::{Sorter, fold_sorted};
use crate::trace::sweep::Groups;
use crate::trace::{Beside, Run, Spine};

use super::context::{MayForget, Windows};
use super::records::{UniqueUpdate, VisitRecord, VisitUpdate, WindowCode};

/// The arrangement, and what decides over it.
pub(crate) struct Visits {
    spine: Spine<VisitRecord>,
    windows: Windows,
    visits_sorter: Sorter<VisitUpdate>,
    users_sorter: Sorter<UniqueUpdate>,
    groups: Groups,
    presence: Vec<Presence>,
}

/// A user's valid clicks in one base window.
#[derive(Clone, Copy)]
struct Presence {
    window: u32,
    before: i64,
    change: i64,
}

impl Presence {
    fn was(&self) -> bool {
        self.before > 0
    }

    fn is(&self) -> bool {
        self.before + self.change > 0
    }
}

impl Visits {
    /// An arrangement of some visits, whose merges may be given to threads beside.
    pub(crate) fn new(windows: Windows, visits: Vec<Run<VisitRecord>>, beside: &Beside) -> Self {
        Visits {
            spine: Spine::new(visits, beside),
            windows,
            visits_sorter: Sorter::new(),
            users_sorter: Sorter::new(),
            groups: Groups::default(),
            presence: Vec::new(),
        }
    }

    /// Takes in the changes of an epoch, in any order; nobody asks this arrangement for an epoch before it. What is not `asked`
    /// about at the epoch is as if it had never been.
    pub(crate) fn apply(
        &mut self,
        pieces: &[Vec<VisitUpdate>],
        asked: &Retention,
        may_forget: MayForget,
    ) -> Vec<UniqueUpdate> {
        let mut updates = self.visits_sorter.sort(pieces);
        fold_sorted(&mut updates);
        self.groups.index(&updates);
        let runs = self.spine.runs();
        let known = self.groups.look_up(&runs);
        let base = self.windows.base;
        let users = self.decide(&updates, &known, asked.first_visit(base));
        self.spine.follow(may_forget.horizon(may_forget.retention.first_visit(base)), may_forget.written);
        self.spine.insert(Run::from_sorted(updates.len(), updates.iter().map(VisitRecord::from)));
        self.visits_sorter.recycle(updates);
        let mut users = self.users_sorter.sort(&[users]);
        fold_sorted(&mut users);
        users
    }

    /// Goes on with a merge by some records, and says whether there is more to be done.
    pub(crate) fn tidy(&mut self, records: usize) -> bool {
        self.spine.tidy(records)
    }

    /// The arrangement's runs.
    pub(crate) fn runs(&self) -> Vec<Run<VisitRecord>> {
        self.spine.runs()
    }

    fn decide(
        &mut self,
        updates: &[VisitUpdate],
        known: &[(u32, &[VisitRecord])],
        first_window: u32,
    ) -> Vec<UniqueUpdate> {
        let mut users = Vec::with_capacity(updates.len());
        let mut known = known.iter().peekable();
        for (number, range) in self.groups.ranges().enumerate() {
            let group = &updates[range];
            let is_known = known.peek().is_some_and(|(known, _)| *known == number as u32);
            if let [visit] = group
                && visit.clicks > 0
                && !is_known
            {
                users.push(UniqueUpdate::new(visit.ad(), WindowCode::new(self.windows.base, visit.window), 1));
                continue;
            }
            self.presence.clear();
            let changes = group.iter().map(|update| (update.window, 0, i64::from(update.clicks)));
            self.presence.extend(changes.map(|(window, before, change)| Presence { window, before, change }));
            while let Some((_, visits)) = known.next_if(|(known, _)| *known == number as u32) {
                let asked = visits.iter().filter(|visit| first_window <= visit.window);
                let before = asked.map(|visit| (visit.window, i64::from(visit.clicks), 0));
                self.presence.extend(before.map(|(window, before, change)| Presence { window, before, change }));
            }
            compare(&mut self.presence, self.windows, group[0].ad(), &mut users);
        }
        users
    }
}

/// Emits what one user's changes come to.
fn compare(presence: &mut Vec<Presence>, windows: Windows, ad: Fingerprint, users: &mut Vec<UniqueUpdate>) {
    presence.sort_unstable_by_key(|presence| presence.window);
    presence.dedup_by(|next, kept| {
        let same = next.window == kept.window;
        if same {
            kept.before += next.before;
            kept.change += next.change;
        }
        same
    });
    for at in presence.iter() {
        assert!(
            at.before >= 0 && at.before + at.change >= 0,
            "a user's clicks in window {} went from {} by {}",
            at.window,
            at.before,
            at.change
        );
        let change = i64::from(at.is()) - i64::from(at.was());
        if change != 0 {
            users.push(UniqueUpdate::new(ad, WindowCode::new(windows.base, at.window), change));
        }
    }
    for larger in windows.larger {
        overlaps(presence, windows.base, *larger, |window, change| {
            users.push(UniqueUpdate::new(ad, WindowCode::new(*larger, window), change));
        });
    }
}

/// The changes of one user's overlaps of one size.
fn overlaps(presence: &[Presence], base: Granularity, larger: Granularity, mut emit: impl FnMut(u32, i64)) {
    let per = base.per(larger);
    for inside in presence.chunk_by(|a, b| a.window / per == b.window / per) {
        let overlap = |present: fn(&Presence) -> bool| {
            let windows = inside.iter().filter(|presence| present(presence)).count() as i64;
            (windows - 1).max(0)
        };
        let change = overlap(Presence::is) - overlap(Presence::was);
        if change != 0 {
            emit(inside[0].window / per, change);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(windows: &[(u32, i64, i64)]) -> Vec<(Granularity, u32, i64)> {
        let mut presence: Vec<Presence> = windows
            .iter()
            .map(|(window, before, change)| Presence { window: *window, before: *before, change: *change })
            .collect();
        let mut users = Vec::new();
        compare(&mut presence, Windows::ALL, Fingerprint::default(), &mut users);
        users.iter().map(|update| (update.window.granularity(), update.window.window(), update.users)).collect()
    }

    #[test]
    fn a_user_counts_once_a_window() {
        use Granularity::{Day, FiveMinutes, Hour, Minute};
        assert_eq!(changes(&[(7, 0, 2)]), [(Minute, 7, 1)]);
        assert_eq!(changes(&[(7, 1, 1)]), []);
        assert_eq!(changes(&[(7, 1, -1)]), [(Minute, 7, -1)]);
        assert_eq!(changes(&[(7, 1, 0), (8, 0, 1)]), [(Minute, 8, 1), (FiveMinutes, 1, 1), (Hour, 0, 1), (Day, 0, 1)]);
        assert_eq!(changes(&[(7, 1, 0), (70, 0, 1)]), [(Minute, 70, 1), (Day, 0, 1)]);
    }
}
