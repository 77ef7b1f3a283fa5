//! The table of clicks: the copy that counts and the verdict that stands, of every id.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use recount_dataflow::domain::event::Decision;
use recount_dataflow::domain::fact::{Fact, FactKind};
use recount_dataflow::domain::resolution::Role;
use recount_dataflow::domain::rules::Rules;
use recount_dataflow::domain::window::Granularity;
use serde::{Deserialize, Serialize};

/// One click: a cache line.
struct Click {
    id_hash: u64,
    ad_hash: u64,
    visit_hash: u64,
    /// Event ms << 8, high bits of the price; [`NO_COPY`] while only verdicts have come.
    event: u64,
    order: u64,
    /// Decision ms << 1, whether it says `INVALID`; 0 while there is none.
    verdict: u64,
    id_low: u32,
    ad_low: u32,
    visit_low: u32,
    price_low: u32,
}

const _: () = assert!(size_of::<Click>() == 64, "a click is a cache line");

const NO_COPY: u64 = u64::MAX;

/// What a change of one copy's role means for its row.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Update {
    pub(crate) ad_hash: u64,
    pub(crate) visit_hash: u64,
    pub(crate) price_micros: i64,
    pub(crate) ad_low: u32,
    pub(crate) visit_low: u32,
    pub(crate) minute: u32,
    /// The roles before and after: 0 for none, else `Role` plus one.
    before: u8,
    after: u8,
}

/// The clicks that one worker owns.
pub(crate) struct Clicks {
    table: HashTable<Click>,
    max_future_skew_ms: i64,
}

impl Update {
    /// The role before; `None` where the copy is new.
    pub(crate) fn before(&self) -> Option<Role> {
        [None, Some(Role::Duplicate), Some(Role::Valid), Some(Role::Invalid)][self.before as usize]
    }

    /// The role after.
    pub(crate) fn after(&self) -> Role {
        [Role::Duplicate, Role::Valid, Role::Invalid][self.after as usize - 1]
    }
}

fn code(role: Role) -> u8 {
    match role {
        Role::Duplicate => 1,
        Role::Valid => 2,
        Role::Invalid => 3,
    }
}

impl Click {
    fn new(fact: &Fact) -> Click {
        let (id, ad, visit) = (fact.id(), fact.ad(), fact.visit().unwrap_or_default());
        let price = fact.price_micros() as u64;
        Click {
            id_hash: id.hash,
            ad_hash: ad.hash,
            visit_hash: visit.hash,
            event: (fact.event_ms() as u64) << 8 | price >> 32,
            order: fact.order(),
            verdict: 0,
            id_low: id.low,
            ad_low: ad.low,
            visit_low: visit.low,
            price_low: price as u32,
        }
    }

    fn event_ms(&self) -> i64 {
        (self.event >> 8) as i64
    }

    fn price_micros(&self) -> i64 {
        ((self.event & 0xff) << 32 | self.price_low as u64) as i64
    }

    /// Whether this copy comes before another of its id: by event time, then price, then the order of contents.
    fn precedes(&self, other: &Click) -> bool {
        (self.event, self.price_low, self.order) < (other.event, other.price_low, other.order)
    }

    /// The copy's role as the click of its id.
    fn role(&self, max_future_skew_ms: i64) -> Role {
        let touches = (self.verdict >> 1) as i64 >= self.event_ms() - max_future_skew_ms;
        match touches && self.verdict & 1 == 1 {
            true => Role::Invalid,
            false => Role::Valid,
        }
    }

    fn update(&self, before: Option<Role>, after: Role) -> Update {
        Update {
            ad_hash: self.ad_hash,
            visit_hash: self.visit_hash,
            price_micros: self.price_micros(),
            ad_low: self.ad_low,
            visit_low: self.visit_low,
            minute: Granularity::Minute.window_of(self.event_ms()),
            before: before.map_or(0, code),
            after: code(after),
        }
    }
}

impl Clicks {
    /// No clicks yet.
    pub(crate) fn new(rules: Rules) -> Self {
        Clicks { table: HashTable::new(), max_future_skew_ms: rules.max_future_skew_ms }
    }

    /// Takes in a fact and emits what it changes.
    pub(crate) fn take(&mut self, fact: Fact, emit: &mut impl FnMut(Update)) {
        match fact.kind() {
            FactKind::Copy => self.take_copy(Click::new(&fact), emit),
            FactKind::Verdict(decision) => self.take_verdict(&fact, decision, emit),
        }
    }

    fn take_copy(&mut self, mut copy: Click, emit: &mut impl FnMut(Update)) {
        let skew_ms = self.max_future_skew_ms;
        match self.entry(copy.id_hash, copy.id_low) {
            Entry::Vacant(vacant) => {
                emit(copy.update(None, Role::Valid));
                vacant.insert(copy);
            }
            Entry::Occupied(mut occupied) => {
                let click = occupied.get_mut();
                if click.event == NO_COPY || copy.precedes(click) {
                    copy.verdict = click.verdict;
                    emit(copy.update(None, copy.role(skew_ms)));
                    if click.event != NO_COPY {
                        emit(click.update(Some(click.role(skew_ms)), Role::Duplicate));
                    }
                    *click = copy;
                } else {
                    emit(copy.update(None, Role::Duplicate));
                }
            }
        }
    }

    fn take_verdict(&mut self, fact: &Fact, decision: Decision, emit: &mut impl FnMut(Update)) {
        let skew_ms = self.max_future_skew_ms;
        let verdict = (fact.event_ms() as u64) << 1 | (decision == Decision::Invalid) as u64;
        match self.entry(fact.id().hash, fact.id().low) {
            Entry::Vacant(vacant) => {
                let nothing = Click { event: NO_COPY, verdict, ..Click::new(fact) };
                vacant.insert(nothing);
            }
            Entry::Occupied(mut occupied) => {
                let click = occupied.get_mut();
                let before = click.role(skew_ms);
                click.verdict = click.verdict.max(verdict);
                let after = click.role(skew_ms);
                if click.event != NO_COPY && before != after {
                    emit(click.update(Some(before), after));
                }
            }
        }
    }

    fn entry(&mut self, id_hash: u64, id_low: u32) -> Entry<'_, Click> {
        self.table.entry(id_hash, |click| click.id_hash == id_hash && click.id_low == id_low, |click| click.id_hash)
    }
}
