//! Which copies count (2) and which verdict stands (3), from the set of all copies and all verdicts.

use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;
use std::sync::Arc;

use recount_dataflow::domain::fact::Position;
use recount_dataflow::domain::fingerprint::content_order;
use recount_dataflow::domain::rules::Rules;

/// What copies of one click share.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Id {
    /// The client's id.
    Click(Arc<str>),
    /// Without one, by the fallback policy: ad, user, and minute since 1970.
    Fallback(Arc<str>, Arc<str>, i64),
}

/// An accepted copy.
#[derive(Clone, Debug)]
pub struct Copy {
    /// Its place among all accepted copies.
    pub number: usize,
    /// What it shares with other copies of its click.
    pub id: Id,
    /// Its ad.
    pub ad_id: Arc<str>,
    /// Its user; empty where unknown.
    pub user_id: Arc<str>,
    /// Its event time, ms since 1970.
    pub event_ms: i64,
    /// Its price in millionths.
    pub price_micros: i64,
    /// Where it was read.
    pub position: Position,
}

/// An accepted verdict.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The id of its click.
    pub click_id: Arc<str>,
    /// Whether it says `INVALID`.
    pub invalid: bool,
    /// When it was decided, ms since 1970.
    pub decided_ms: i64,
    /// The floor before its epoch: what was frozen already, it does not touch.
    pub floor_ms: Option<i64>,
    /// Where it was read.
    pub position: Position,
}

/// A click with the copies that it makes duplicates, and the verdicts of its id.
#[derive(Clone, Debug)]
pub struct Group<'a> {
    /// The copy that counts.
    pub click: &'a Copy,
    /// The other copies, in copy order.
    pub duplicates: Vec<&'a Copy>,
    /// The verdict in force.
    pub standing: Option<&'a Verdict>,
    /// Every verdict of the id, by time decided.
    pub verdicts: Vec<&'a Verdict>,
}

impl<'a> Group<'a> {
    /// Whether the standing verdict is `INVALID`.
    pub fn invalid(&self) -> bool {
        self.standing.is_some_and(|verdict| verdict.invalid)
    }

    /// Duplicates that differ from the click in ad, user or price.
    pub fn conflicting(&self) -> impl Iterator<Item = &'a Copy> + '_ {
        self.duplicates.iter().copied().filter(|copy| self.click.conflicts_with(copy))
    }

    /// The click and its duplicates.
    pub fn copies(&self) -> impl Iterator<Item = &'a Copy> + '_ {
        std::iter::once(self.click).chain(self.duplicates.iter().copied())
    }
}

impl Copy {
    /// Whether two copies differ in ad, user or price.
    pub fn conflicts_with(&self, other: &Copy) -> bool {
        self.ad_id != other.ad_id || self.user_id != other.user_id || self.price_micros != other.price_micros
    }

    /// The order of an id's copies: by time, equal ones by price, by contents, and identical ones by position.
    fn order(&self, other: &Copy) -> Ordering {
        let contents = |copy: &Copy| content_order(&copy.ad_id, &copy.user_id, copy.price_micros);
        (self.event_ms.cmp(&other.event_ms))
            .then(self.price_micros.cmp(&other.price_micros))
            .then_with(|| contents(self).cmp(&contents(other)))
            .then(self.position.cmp(&other.position))
    }
}

impl Verdict {
    /// Whether it has a say about a click that happened at `click_ms`.
    pub fn applies_to(&self, click_ms: i64, rules: &Rules) -> bool {
        let was_frozen = self.floor_ms.is_some_and(|floor_ms| click_ms < floor_ms);
        !was_frozen && self.decided_ms >= click_ms - rules.max_future_skew_ms
    }
}

/// The clicks of every id, each with what belongs to it, by time.
pub fn groups_of<'a>(copies: &'a [Copy], verdicts: &'a [Verdict], rules: &Rules) -> BTreeMap<Id, Vec<Group<'a>>> {
    let mut copies_by_id: BTreeMap<&Id, Vec<&Copy>> = BTreeMap::new();
    for copy in copies {
        copies_by_id.entry(&copy.id).or_default().push(copy);
    }
    let mut verdicts_by_id: BTreeMap<&str, Vec<&Verdict>> = BTreeMap::new();
    for verdict in verdicts {
        verdicts_by_id.entry(&verdict.click_id).or_default().push(verdict);
    }
    let none = Vec::new();
    let verdicts_of = |id: &Id| match id {
        Id::Click(click_id) => verdicts_by_id.get(&**click_id).unwrap_or(&none),
        Id::Fallback(..) => &none,
    };
    copies_by_id.into_iter().map(|(id, copies)| (id.clone(), split(copies, verdicts_of(id), rules))).collect()
}

fn split<'a>(mut copies: Vec<&'a Copy>, verdicts: &[&'a Verdict], rules: &Rules) -> Vec<Group<'a>> {
    copies.sort_by(|one, other| one.order(other));
    let mut groups: Vec<Group<'a>> = Vec::new();
    let mut previous_ms = None;
    for copy in copies {
        let joins = previous_ms.is_some_and(|previous_ms| copy.event_ms - previous_ms <= rules.dedup_horizon_ms);
        match groups.last_mut() {
            Some(group) if joins => group.duplicates.push(copy),
            _ => groups.push(judged(copy, verdicts, rules)),
        }
        previous_ms = Some(copy.event_ms);
    }
    groups
}

fn judged<'a>(click: &'a Copy, verdicts: &[&'a Verdict], rules: &Rules) -> Group<'a> {
    let mut verdicts = verdicts.to_vec();
    verdicts.sort_by_key(|verdict| (verdict.decided_ms, verdict.invalid, Reverse(verdict.position)));
    let standing = verdicts.iter().copied().rfind(|verdict| verdict.applies_to(click.event_ms, rules));
    Group { click, duplicates: Vec::new(), standing, verdicts }
}
