//! What the ledger remembers of a record: one cache line of fixed width.
//!
//! Strings do not enter the engine. A fact carries the fingerprints of its ids, its times, its price, its place in the order of
//! contents, and the position it was read from, so that an auditor gets the raw record back.

use bytemuck::{Pod, Zeroable};

use super::event::{Click, Decision, Verdict};
use super::fingerprint::{Fingerprint, HashKey, content_order, verdict_order};
use super::retention::Retention;
use super::rules::{MINUTE_MS, Rules};
use super::validate::PRICE_MICROS_MAX;
use super::window::Granularity;

/// Where a record was read: the stream's number (the engine keeps the names) and the record's offset in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The number of the stream: a partition of a source.
    pub stream: u16,
    /// The record's offset in the stream, below 2^48. In files it is the byte at which the record starts.
    pub offset: u64,
}

impl Position {
    /// The offset among `positions`, of which no two are of one stream, that is of this stream.
    pub fn in_stream(positions: &[Position], stream: u16) -> Option<u64> {
        positions.iter().find(|position| position.stream == stream).map(|position| position.offset)
    }
}

/// Offsets fit 48 bits, so that a position is one word.
pub const OFFSET_END: u64 = 1 << 48;

/// One accepted copy or verdict. Bytes, little-endian:
///
/// | at | copy | verdict |
/// |---|---|---|
/// | 0..12 | fingerprint of the click: hash, low | the same |
/// | 12..24 | fingerprint of the ad: low, hash | the floor's minute at acceptance, 0 |
/// | 24..36 | fingerprint of (ad, user): hash, low; zeros without a user | 0 |
/// | 36..40 | low 32 bits of the price | 0 |
/// | 40..48 | event ms << 8, high bits of the price << 2, kind | decision ms << 8, kind |
/// | 48..56 | stream << 48, offset | the same |
/// | 56..64 | order of contents | the same |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Fact {
    id_hash: u64,
    id_low: u32,
    ad_low: u32,
    ad_hash: u64,
    visit_hash: u64,
    visit_low: u32,
    price_low: u32,
    event: u64,
    position: u64,
    order: u64,
}

const _: () = assert!(size_of::<Fact>() == 64, "a fact is a cache line");
const _: () = assert!(PRICE_MICROS_MAX < 1 << 38, "a price has 32 low and 6 high bits");

/// What a fact is; the two low bits of `event`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FactKind {
    /// One delivery of a click.
    Copy,
    /// A verdict.
    Verdict(Decision),
}

impl Fact {
    /// The fact of a valid click's copy. `position.offset` is below [`OFFSET_END`].
    pub fn copy(click: &Click<'_>, position: Position, key: &HashKey, rules: &Rules) -> Fact {
        Fact::copy_of(click, key.ad(&click.ad_id), position, key, rules)
    }

    /// The same where the ad's fingerprint is known already.
    #[inline]
    pub(crate) fn copy_of(
        click: &Click<'_>,
        ad: Fingerprint,
        position: Position,
        key: &HashKey,
        rules: &Rules,
    ) -> Fact {
        let visit = match click.user_id.is_empty() {
            true => Fingerprint::default(),
            false => key.visit(ad, &click.user_id),
        };
        let id = match click.click_id.is_empty() && rules.dedup_fallback {
            true => key.fallback(visit, Granularity::Minute.window_of(click.event_ms)),
            false => key.click(&click.click_id),
        };
        let price = click.price_micros as u64;
        Fact {
            id_hash: id.hash,
            id_low: id.low,
            ad_low: ad.low,
            ad_hash: ad.hash,
            visit_hash: visit.hash,
            visit_low: visit.low,
            price_low: price as u32,
            event: (click.event_ms as u64) << 8 | (price >> 32) << 2,
            position: pack(position),
            order: content_order(&click.ad_id, &click.user_id, click.price_micros),
        }
    }

    /// The fact of a valid verdict. It reaches no click until [`Fact::accepted_at`] has said what was frozen when it came.
    ///
    /// # Panics
    /// Where the verdict decides nothing: validation refuses those.
    pub fn verdict(verdict: &Verdict<'_>, position: Position, key: &HashKey) -> Fact {
        let id = key.click(&verdict.click_id);
        let kind = match verdict.decision.expect("a validated verdict decides") {
            Decision::Valid => 1,
            Decision::Invalid => 2,
        };
        Fact {
            id_hash: id.hash,
            id_low: id.low,
            event: (verdict.decided_ms as u64) << 8 | kind,
            position: pack(position),
            order: verdict_order(&verdict.reason, &verdict.model_version, verdict.score),
            ..Fact::zeroed()
        }
    }

    /// The verdict with the floor of its epoch: clicks below it were frozen, and it never touches them.
    pub fn accepted_at(self, floor_ms: Option<i64>) -> Fact {
        // Not in release: this is done to every verdict, by a caller that has just seen that it is none.
        debug_assert_ne!(self.kind(), FactKind::Copy);
        let minute = floor_ms.map_or(0, |floor_ms| (floor_ms / MINUTE_MS).max(0) as u32);
        Fact { ad_low: minute, ..self }
    }

    /// What it is.
    #[inline]
    pub fn kind(&self) -> FactKind {
        match self.event & 3 {
            0 => FactKind::Copy,
            1 => FactKind::Verdict(Decision::Valid),
            2 => FactKind::Verdict(Decision::Invalid),
            kind => unreachable!("{kind} is no kind of fact"),
        }
    }

    /// Whether it is a copy.
    #[inline]
    pub fn is_copy(&self) -> bool {
        self.event & 3 == 0
    }

    /// The fingerprint of the click it is about.
    #[inline]
    pub fn id(&self) -> Fingerprint {
        Fingerprint { hash: self.id_hash, low: self.id_low }
    }

    /// The fingerprint of a copy's ad.
    #[inline]
    pub fn ad(&self) -> Fingerprint {
        Fingerprint { hash: self.ad_hash, low: self.ad_low }
    }

    /// The fingerprint of a copy's (ad, user); `None` where the user is unknown.
    #[inline]
    pub fn visit(&self) -> Option<Fingerprint> {
        let visit = Fingerprint { hash: self.visit_hash, low: self.visit_low };
        (visit != Fingerprint::default()).then_some(visit)
    }

    /// A copy's price in millionths.
    #[inline]
    pub fn price_micros(&self) -> i64 {
        (((self.event >> 2) & 0x3f) << 32 | self.price_low as u64) as i64
    }

    /// A copy's event time, or when a verdict was decided, ms since 1970 UTC.
    #[inline]
    pub fn event_ms(&self) -> i64 {
        (self.event >> 8) as i64
    }

    /// Below this event time, in ms, a verdict touches no click.
    #[inline]
    pub fn accepted_floor_ms(&self) -> i64 {
        self.ad_low as i64 * MINUTE_MS
    }

    /// Where it was read.
    #[inline]
    pub fn position(&self) -> Position {
        Position { stream: (self.position >> 48) as u16, offset: self.position & (OFFSET_END - 1) }
    }

    /// The place of its contents in the fixed order.
    #[inline]
    pub fn order(&self) -> u64 {
        self.order
    }

    /// Whether nobody asks about it any more.
    #[inline]
    pub fn is_forgotten(&self, retention: &Retention) -> bool {
        let from_ms = if self.is_copy() { retention.copies_from_ms } else { retention.verdicts_from_ms };
        self.event_ms() < from_ms
    }

    /// Whether two copies differ in ad, user or price.
    pub fn conflicts_with(&self, other: &Fact) -> bool {
        self.ad() != other.ad() || self.visit() != other.visit() || self.price_micros() != other.price_micros()
    }
}

fn pack(position: Position) -> u64 {
    assert!(position.offset < OFFSET_END, "offset {} needs more than 48 bits", position.offset);
    (position.stream as u64) << 48 | position.offset
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_gives_back_what_it_was_made_of() {
        let key = HashKey::new([1; 16]);
        let click = Click {
            click_id: "c".into(),
            ad_id: "a".into(),
            user_id: "u".into(),
            event_ms: 4_102_444_799_999,
            price_micros: PRICE_MICROS_MAX,
            ..Click::default()
        };
        let position = Position { stream: u16::MAX, offset: OFFSET_END - 1 };
        let fact = Fact::copy(&click, position, &key, &Rules::default());
        assert_eq!(fact.kind(), FactKind::Copy);
        assert_eq!(fact.id(), key.click("c"));
        assert_eq!(fact.ad(), key.ad("a"));
        assert_eq!(fact.visit(), Some(key.visit(key.ad("a"), "u")));
        assert_eq!(fact.event_ms(), 4_102_444_799_999);
        assert_eq!(fact.price_micros(), PRICE_MICROS_MAX);
        assert_eq!(fact.position(), position);
    }

    #[test]
    fn a_verdict_remembers_what_was_frozen_when_it_came() {
        let key = HashKey::new([1; 16]);
        let verdict =
            Verdict { click_id: "c".into(), decision: Some(Decision::Invalid), decided_ms: 5, ..Verdict::default() };
        let fact = Fact::verdict(&verdict, Position::default(), &key);
        assert_eq!(fact.kind(), FactKind::Verdict(Decision::Invalid));
        assert_eq!(fact.accepted_at(None).accepted_floor_ms(), 0);
        assert_eq!(fact.accepted_at(Some(7 * MINUTE_MS)).accepted_floor_ms(), 7 * MINUTE_MS);
        assert_eq!(fact.id(), key.click("c"));
    }

    #[test]
    fn the_fallback_identity_is_the_user_in_the_minute() {
        let key = HashKey::new([1; 16]);
        let rules = Rules { dedup_fallback: true, ..Rules::default() };
        let at = |event_ms| {
            let click = Click { ad_id: "a".into(), user_id: "u".into(), event_ms, ..Click::default() };
            Fact::copy(&click, Position::default(), &key, &rules).id()
        };
        assert_eq!(at(0), at(59_999));
        assert_ne!(at(59_999), at(60_000));
    }
}
