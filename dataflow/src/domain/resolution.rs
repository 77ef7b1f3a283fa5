//! What new facts about one click change: the difference between what its rows held before and what they hold after.
//!
//! With `J(S)` for the judgement of a set of facts (which copies are clicks, which of those are invalid), an epoch that adds
//! facts `N` to the facts `S` of an id emits `J(S + N) - J(S)`, a change a copy. Nothing is toggled or counted up, so it does
//! not matter how often, in which order, or in how many epochs the facts came.

use super::cause::Causes;
use super::click::{copy_order, groups};
use super::fact::{Fact, FactKind, Position};
use super::metrics::Metrics;
use super::rules::Rules;
use super::verdict::{is_invalid, standing};

/// What a copy is under the facts known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// No click: another copy of its group came first.
    Duplicate,
    /// A click that is billed.
    Valid,
    /// A click that is not billed.
    Invalid,
}

impl Role {
    /// What a copy in this role adds to its row, but for the users.
    pub fn metrics(self, price_micros: i64) -> Metrics {
        let duplicate = Metrics { received: 1, ..Metrics::default() };
        match self {
            Role::Duplicate => duplicate,
            Role::Valid => Metrics { gross_clicks: 1, spend_micros: price_micros, ..duplicate },
            Role::Invalid => {
                Metrics { gross_clicks: 1, invalid_clicks: 1, invalid_spend_micros: price_micros, ..duplicate }
            }
        }
    }
}

/// One copy's role before (none: it is new) and after, and why its row changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoleChange {
    /// The copy.
    pub copy: Fact,
    /// Its role before the epoch; `None` where it came with it.
    pub before: Option<Role>,
    /// Its role after the epoch.
    pub after: Role,
    /// What touched its row.
    pub causes: Causes,
}

impl RoleChange {
    /// A click that is the first fact of its id: by far the most common change.
    pub fn fresh(copy: Fact) -> Self {
        RoleChange { copy, before: None, after: Role::Valid, causes: Causes::LATE }
    }

    /// The change of the copy's row, but for the users.
    pub fn metrics(&self) -> Metrics {
        let price_micros = self.copy.price_micros();
        let before = self.before.map_or(Metrics::default(), |role| role.metrics(price_micros));
        self.after.metrics(price_micros) - before
    }

    /// The change in how many valid clicks of its user the copy stands for: -1, 0 or 1.
    pub fn visits(&self) -> i32 {
        (self.after == Role::Valid) as i32 - (self.before == Some(Role::Valid)) as i32
    }
}

/// Judges the facts of one id at a time. It holds nothing between calls but its buffers.
pub struct Resolver {
    rules: Rules,
    before: Judgement,
    after: Judgement,
    /// The roles before of one group's copies; `None` for new ones.
    roles_before: Vec<Option<Role>>,
}

/// What one epoch's facts about one id came to, beside the role changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    /// Change in the number of duplicates that differ from their click in ad, user or price.
    pub conflicting_copies: i64,
}

impl Resolver {
    /// A resolver under the given rules.
    pub fn new(rules: Rules) -> Self {
        Resolver { rules, before: Judgement::default(), after: Judgement::default(), roles_before: Vec::new() }
    }

    /// Takes out of `new` the verdicts that came too late: those whose every remembered click is frozen. Their positions go
    /// to `parked`. `old` and `new` are all the facts of one id, before the epoch and in it.
    pub fn park(&mut self, old: &[Fact], new: &mut Vec<Fact>, parked: &mut Vec<Position>) {
        let Some(verdict) = new.iter().find(|fact| !fact.is_copy()) else { return };
        let floor_ms = verdict.accepted_floor_ms();
        let remembered_ms = floor_ms - self.rules.dedup_horizon_ms;
        self.after.load(old.iter().chain(new.iter()));
        let mut clicks = groups(&self.after.copies, &self.rules)
            .map(|group| group[0].event_ms())
            .filter(|click_ms| *click_ms >= remembered_ms)
            .peekable();
        let all_frozen = clicks.peek().is_some() && clicks.all(|click_ms| click_ms < floor_ms);
        if all_frozen {
            new.retain(|fact| {
                let keep = fact.is_copy();
                if !keep {
                    parked.push(fact.position());
                }
                keep
            });
        }
    }

    /// Emits what `new` changes, given `old`: all the facts of one id, before the epoch and in it.
    pub fn resolve(&mut self, old: &[Fact], new: &[Fact], emit: &mut impl FnMut(RoleChange)) -> Resolved {
        self.before.judge(old.iter(), &self.rules);
        self.after.judge(old.iter().chain(new), &self.rules);
        let mut befores = self.before.roles.iter().copied();
        let mut known = self.before.copies.iter().map(Fact::position).peekable();
        let mut index = 0;
        for group in groups(&self.after.copies, &self.rules) {
            self.roles_before.clear();
            self.roles_before
                .extend(group.iter().map(|copy| known.next_if_eq(&copy.position()).and_then(|_| befores.next())));
            // Where the group's click is new, the first click that it took in has moved to it.
            let moved = match self.roles_before[0] {
                Some(_) => None,
                None => self.roles_before.iter().flatten().copied().find(|role| *role != Role::Duplicate),
            };
            for (copy, before) in group.iter().zip(&self.roles_before) {
                let after = self.after.roles[index];
                index += 1;
                if *before != Some(after) {
                    let causes = causes(*before, after, moved);
                    emit(RoleChange { copy: *copy, before: *before, after, causes });
                }
            }
        }
        assert!(known.next().is_none(), "a copy known before the epoch is not known after it");
        Resolved { conflicting_copies: self.after.conflicting - self.before.conflicting }
    }
}

/// Why a copy's row changed. `moved` is the role of the click that a new click took over, if it did.
fn causes(before: Option<Role>, after: Role, moved: Option<Role>) -> Causes {
    match (before, after) {
        (_, Role::Duplicate) => Causes::DUPLICATE,
        (None, _) => match moved {
            None => Causes::LATE,
            Some(moved) => Causes::DUPLICATE | verdict_causes(moved, after),
        },
        (Some(before), _) => verdict_causes(before, after),
    }
}

fn verdict_causes(before: Role, after: Role) -> Causes {
    match (before, after) {
        (Role::Valid, Role::Invalid) => Causes::VERDICT,
        (Role::Invalid, Role::Valid) => Causes::REVERSAL,
        (Role::Duplicate, _) => panic!("a duplicate became a click: adding facts never does that"),
        _ => Causes::NONE,
    }
}

/// One id's facts, judged.
#[derive(Default)]
struct Judgement {
    /// In copy order.
    copies: Vec<Fact>,
    /// The role of each copy.
    roles: Vec<Role>,
    verdicts: Vec<Fact>,
    conflicting: i64,
}

impl Judgement {
    fn load<'a>(&mut self, facts: impl Iterator<Item = &'a Fact>) {
        self.copies.clear();
        self.verdicts.clear();
        for fact in facts {
            match fact.kind() {
                FactKind::Copy => self.copies.push(*fact),
                FactKind::Verdict(_) => self.verdicts.push(*fact),
            }
        }
        self.copies.sort_unstable_by(copy_order);
    }

    fn judge<'a>(&mut self, facts: impl Iterator<Item = &'a Fact>, rules: &Rules) {
        self.load(facts);
        self.roles.clear();
        self.conflicting = 0;
        for group in groups(&self.copies, rules) {
            let click = &group[0];
            let invalid = standing(&self.verdicts, click.event_ms(), rules).is_some_and(is_invalid);
            self.roles.push(if invalid { Role::Invalid } else { Role::Valid });
            self.roles.resize(self.roles.len() + group.len() - 1, Role::Duplicate);
            self.conflicting += group.iter().filter(|copy| copy.conflicts_with(click)).count() as i64;
        }
    }
}

/// Judges all facts of one id: each copy with its role, in copy order.
pub fn judge(facts: &[Fact], rules: &Rules) -> Vec<(Fact, Role)> {
    let mut judgement = Judgement::default();
    judgement.judge(facts.iter(), rules);
    judgement.copies.into_iter().zip(judgement.roles).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::{Click, Decision, Verdict};
    use crate::domain::fingerprint::HashKey;
    use crate::domain::rules::{DAY_MS, MINUTE_MS};

    const START_MS: i64 = 20_000 * DAY_MS;

    /// `"+5"` is a copy at minute 5, `"-5"` an `INVALID` verdict decided at minute 5, `"=5"` a `VALID` one; `"+5/9"` costs 9.
    fn facts(script: &str, offset: u64) -> Vec<Fact> {
        let key = HashKey::new([3; 16]);
        let fact = |(index, word): (usize, &str)| {
            let (minute, price) = word[1..].split_once('/').unwrap_or((&word[1..], "1"));
            let event_ms = START_MS + minute.parse::<i64>().unwrap() * MINUTE_MS;
            let position = Position { stream: 0, offset: offset + index as u64 };
            let click_id = "c".into();
            let decision = match &word[..1] {
                "+" => {
                    let price_micros = price.parse().unwrap();
                    let click = Click { click_id, ad_id: "a".into(), event_ms, price_micros, ..Click::default() };
                    return Fact::copy(&click, position, &key, &Rules::default());
                }
                "-" => Some(Decision::Invalid),
                _ => Some(Decision::Valid),
            };
            let verdict = Verdict { click_id, decision, decided_ms: event_ms, ..Verdict::default() };
            Fact::verdict(&verdict, position, &key).accepted_at(None)
        };
        script.split_whitespace().enumerate().map(fact).collect()
    }

    /// The changes that `new` makes to `old`, one `minute:gross/invalid cause` a copy.
    fn changes(old: &str, new: &str) -> String {
        let mut resolver = Resolver::new(Rules::default());
        let mut out = Vec::new();
        resolver.resolve(&facts(old, 0), &facts(new, 1_000), &mut |change| {
            let minute = (change.copy.event_ms() - START_MS) / MINUTE_MS;
            let delta = change.metrics();
            let cause = change.causes.cause().as_str();
            out.push(format!("{minute}:{}/{} {cause}", delta.gross_clicks, delta.invalid_clicks));
        });
        out.join(", ")
    }

    #[test]
    fn a_click_is_added_once_and_its_copies_are_duplicates() {
        assert_eq!(changes("", "+5"), "5:1/0 LATE");
        assert_eq!(changes("", "+5 +5 +6"), "5:1/0 LATE, 5:0/0 DUPLICATE, 6:0/0 DUPLICATE");
        assert_eq!(changes("+5", "+6"), "6:0/0 DUPLICATE");
    }

    #[test]
    fn an_older_copy_takes_the_click_over() {
        assert_eq!(changes("+5", "+3"), "3:1/0 DUPLICATE, 5:-1/0 DUPLICATE");
        assert_eq!(changes("+5 -6", "+3"), "3:1/1 DUPLICATE, 5:-1/-1 DUPLICATE");
        assert_eq!(changes("+5", "+3 -9"), "3:1/1 MIXED, 5:-1/0 DUPLICATE");
    }

    #[test]
    fn verdicts_flip_and_flip_back() {
        assert_eq!(changes("+5", "-6"), "5:0/1 VERDICT");
        assert_eq!(changes("+5 -6", "=7"), "5:0/-1 REVERSAL");
        assert_eq!(changes("+5 =7", "-6"), "", "an earlier decision changes nothing");
        assert_eq!(changes("+5", "-6 =7"), "", "reversed within the epoch");
        assert_eq!(changes("-6", "+5"), "5:1/1 LATE", "a verdict may come first");
    }

    #[test]
    fn a_copy_between_two_clicks_joins_them() {
        let day = 24 * 60;
        let (late, between) = (8 * day, 4 * day);
        let expected = format!("{between}:0/0 DUPLICATE, {late}:-1/0 DUPLICATE");
        assert_eq!(changes(&format!("+0 +{late}"), &format!("+{between}")), expected);
    }

    #[test]
    fn conflicting_copies_are_counted_against_their_click() {
        let mut resolver = Resolver::new(Rules::default());
        let mut conflicts =
            |old: &str, new: &str| resolver.resolve(&facts(old, 0), &facts(new, 99), &mut |_| ()).conflicting_copies;
        assert_eq!(conflicts("", "+5 +5 +6"), 0);
        assert_eq!(conflicts("+5", "+6/2 +7/3"), 2);
        assert_eq!(conflicts("+5 +6", "+4/2"), 2, "both old copies differ from the click that took over");
    }

    #[test]
    fn a_verdict_whose_every_remembered_click_is_frozen_is_parked() {
        let mut resolver = Resolver::new(Rules::default());
        let mut park = |old: &str, floor_minute: i64| {
            let floor_ms = START_MS + floor_minute * MINUTE_MS;
            let mut new = facts("-30", 99);
            new[0] = new[0].accepted_at(Some(floor_ms));
            let mut parked = Vec::new();
            resolver.park(&facts(old, 0), &mut new, &mut parked);
            assert_eq!(new.len() + parked.len(), 1);
            parked.len()
        };
        assert_eq!(park("", 10), 0, "its click may still come");
        assert_eq!(park("+9", 10), 1);
        assert_eq!(park("+10", 10), 0);
        assert_eq!(park("+9 +10", 10), 1, "a duplicate is no click");
        let forgotten = 7 * 24 * 60 + 10;
        assert_eq!(park("+9", forgotten), 0, "a click below the dedup horizon is not remembered");
        assert_eq!(park("+10", forgotten), 1);
    }
}
