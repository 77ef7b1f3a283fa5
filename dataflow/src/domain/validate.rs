//! Which records are taken in. A record that breaks a rule is quarantined under a stable reason; it never stops the stream.

use super::event::{Click, Event, LongestOther, Verdict};
use super::rules::Rules;

/// Longest `click_id`, `ad_id` and `user_id`, in bytes.
pub const ID_BYTES_MAX: usize = 128;
/// Longest other string, in bytes.
pub const STRING_BYTES_MAX: usize = 1_024;
/// Highest price, in millionths of the currency.
pub const PRICE_MICROS_MAX: i64 = 10_000_000_000;
/// Longest record, in bytes.
pub const RECORD_BYTES_MAX: usize = 1 << 20;
/// How much of a record over [`RECORD_BYTES_MAX`] is kept, in bytes.
pub const RECORD_BYTES_KEPT: usize = 64 << 10;
/// 2000-01-01T00:00:00Z: the first time that a record may carry, ms since 1970.
pub const TIME_MIN_MS: i64 = 946_684_800_000;
/// 2100-01-01T00:00:00Z: the first time that is too late.
pub const TIME_END_MS: i64 = 4_102_444_800_000;

/// Why a record was quarantined or parked. The names are part of the contract with users and do not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// It could not be read at all.
    Unreadable,
    /// It holds neither a click nor a verdict.
    BodyMissing,
    /// `click_id` is missing or empty.
    ClickIdMissing,
    /// `ad_id` is missing or empty.
    AdIdMissing,
    /// The event time is missing.
    TimestampMissing,
    /// The verdict decides nothing.
    DecisionMissing,
    /// `click_id` is over 128 bytes.
    ClickIdTooLong,
    /// `ad_id` is over 128 bytes.
    AdIdTooLong,
    /// `user_id` is over 128 bytes.
    UserIdTooLong,
    /// Another string is over 1,024 bytes.
    FieldTooLong,
    /// The price is outside 0 to 10^10.
    PriceOutOfRange,
    /// The event time is outside [2000-01-01, 2100-01-01).
    TimestampOutOfRange,
    /// `received_at` is outside [2000-01-01, 2100-01-01).
    ReceivedAtOutOfRange,
    /// A time lies too far ahead of the record's arrival.
    TimestampInFuture,
    /// The record is over 1 MiB.
    RecordTooLong,
    /// Parked: a click below the floor.
    Late,
    /// Parked: a verdict below the floor, or one whose clicks are all frozen.
    VerdictLate,
}

/// Where a record lies that is in no window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shelf {
    /// It breaks a rule.
    Quarantined,
    /// It is in order, and came too late.
    Parked,
}

impl Reason {
    /// Where the records lie that were set aside for it.
    pub fn shelf(self) -> Shelf {
        match self {
            Reason::Late | Reason::VerdictLate => Shelf::Parked,
            _ => Shelf::Quarantined,
        }
    }

    /// Every reason.
    pub const ALL: [Reason; 17] = [
        Reason::Unreadable,
        Reason::BodyMissing,
        Reason::ClickIdMissing,
        Reason::AdIdMissing,
        Reason::TimestampMissing,
        Reason::DecisionMissing,
        Reason::ClickIdTooLong,
        Reason::AdIdTooLong,
        Reason::UserIdTooLong,
        Reason::FieldTooLong,
        Reason::PriceOutOfRange,
        Reason::TimestampOutOfRange,
        Reason::ReceivedAtOutOfRange,
        Reason::TimestampInFuture,
        Reason::RecordTooLong,
        Reason::Late,
        Reason::VerdictLate,
    ];

    /// The reason of a stable name.
    pub fn named(name: &str) -> Option<Reason> {
        Reason::ALL.into_iter().find(|reason| reason.as_str() == name)
    }

    /// The stable name, in the words of the contract.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Unreadable => "unreadable",
            Reason::BodyMissing => "body_missing",
            Reason::ClickIdMissing => "click_id_missing",
            Reason::AdIdMissing => "ad_id_missing",
            Reason::TimestampMissing => "timestamp_missing",
            Reason::DecisionMissing => "decision_missing",
            Reason::ClickIdTooLong => "click_id_too_long",
            Reason::AdIdTooLong => "ad_id_too_long",
            Reason::UserIdTooLong => "user_id_too_long",
            Reason::FieldTooLong => "field_too_long",
            Reason::PriceOutOfRange => "price_out_of_range",
            Reason::TimestampOutOfRange => "timestamp_out_of_range",
            Reason::ReceivedAtOutOfRange => "received_at_out_of_range",
            Reason::TimestampInFuture => "timestamp_in_future",
            Reason::RecordTooLong => "record_too_long",
            Reason::Late => "late",
            Reason::VerdictLate => "verdict_late",
        }
    }
}

/// A broken rule: the reason to count it under, and a sentence for the person who mends the sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The stable reason.
    pub reason: Reason,
    /// What was found and what is asked for.
    pub detail: String,
}

impl Violation {
    /// A violation from its parts.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Violation { reason, detail: detail.into() }
    }
}

/// Judges one record by itself. `arrival_ms` is when Recount's service or Kafka took it; `None` in files, where nobody knows.
///
/// # Errors
/// The first broken rule, in the order of the fields of the contract.
pub fn validate(event: &Event<'_>, arrival_ms: Option<i64>, rules: &Rules) -> Result<(), Violation> {
    match event {
        Event::Click(click) => validate_click(click, arrival_ms, rules),
        Event::Verdict(verdict) => validate_verdict(verdict, arrival_ms, rules),
    }
}

fn validate_click(click: &Click<'_>, arrival_ms: Option<i64>, rules: &Rules) -> Result<(), Violation> {
    // With the fallback on, a user, the ad and the minute stand in for the missing id.
    let known_without_id = rules.dedup_fallback && !click.user_id.is_empty();
    if !known_without_id || !click.click_id.is_empty() {
        check_id("click_id", &click.click_id, Reason::ClickIdMissing, Reason::ClickIdTooLong)?;
    }
    check_id("ad_id", &click.ad_id, Reason::AdIdMissing, Reason::AdIdTooLong)?;
    check_time(click.event_ms)?;
    if click.user_id.len() > ID_BYTES_MAX {
        return Err(too_long("user_id", click.user_id.len(), ID_BYTES_MAX, Reason::UserIdTooLong));
    }
    if !(0..=PRICE_MICROS_MAX).contains(&click.price_micros) {
        let detail = format!("price_micros is {}; it must be from 0 to {PRICE_MICROS_MAX}", click.price_micros);
        return Err(Violation::new(Reason::PriceOutOfRange, detail));
    }
    check_others(click.longest_other)?;
    let received_at_ms = (click.received_at_ms != 0).then_some(click.received_at_ms);
    if let Some(received_at_ms) = received_at_ms
        && !(TIME_MIN_MS..TIME_END_MS).contains(&received_at_ms)
    {
        let detail = format!("received_at is {received_at_ms} ms; it must lie in [2000-01-01, 2100-01-01)");
        return Err(Violation::new(Reason::ReceivedAtOutOfRange, detail));
    }
    check_future("received_at", received_at_ms, arrival_ms, rules)?;
    let taken_ms = [received_at_ms, arrival_ms].into_iter().flatten().min();
    check_future("timestamp", Some(click.event_ms), taken_ms, rules)
}

fn validate_verdict(verdict: &Verdict<'_>, arrival_ms: Option<i64>, rules: &Rules) -> Result<(), Violation> {
    check_id("click_id", &verdict.click_id, Reason::ClickIdMissing, Reason::ClickIdTooLong)?;
    if verdict.decision.is_none() {
        return Err(Violation::new(Reason::DecisionMissing, "decision is missing; it must be INVALID or VALID"));
    }
    check_time(verdict.decided_ms)?;
    check_others(verdict.longest_other)?;
    check_future("timestamp", Some(verdict.decided_ms), arrival_ms, rules)
}

fn check_id(field: &str, id: &str, missing: Reason, long: Reason) -> Result<(), Violation> {
    match id.len() {
        0 => Err(Violation::new(missing, format!("{field} is missing or empty"))),
        1..=ID_BYTES_MAX => Ok(()),
        bytes => Err(too_long(field, bytes, ID_BYTES_MAX, long)),
    }
}

fn check_others(longest: LongestOther) -> Result<(), Violation> {
    if longest.bytes <= STRING_BYTES_MAX {
        return Ok(());
    }
    Err(too_long(longest.field, longest.bytes, STRING_BYTES_MAX, Reason::FieldTooLong))
}

fn too_long(field: &str, bytes: usize, bytes_max: usize, reason: Reason) -> Violation {
    Violation::new(reason, format!("{field} has {bytes} bytes; at most {bytes_max} are allowed"))
}

fn check_time(event_ms: i64) -> Result<(), Violation> {
    match event_ms {
        0 => Err(Violation::new(Reason::TimestampMissing, "timestamp is missing")),
        TIME_MIN_MS..TIME_END_MS => Ok(()),
        _ => {
            let detail = format!("timestamp is {event_ms} ms; it must lie in [2000-01-01, 2100-01-01)");
            Err(Violation::new(Reason::TimestampOutOfRange, detail))
        }
    }
}

fn check_future(field: &str, time_ms: Option<i64>, taken_ms: Option<i64>, rules: &Rules) -> Result<(), Violation> {
    match (time_ms, taken_ms) {
        // A producer may say any arrival.
        (Some(time_ms), Some(taken_ms)) if time_ms.saturating_sub(taken_ms) > rules.max_future_skew_ms => {
            let ahead_ms = time_ms.saturating_sub(taken_ms);
            let detail = format!(
                "{field} is {ahead_ms} ms ahead of its arrival; at most {} ms are allowed",
                rules.max_future_skew_ms
            );
            Err(Violation::new(Reason::TimestampInFuture, detail))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::Decision;

    const NOON_MS: i64 = 1_700_000_000_000;

    fn click() -> Click<'static> {
        Click { click_id: "c".into(), ad_id: "a".into(), event_ms: NOON_MS, ..Click::default() }
    }

    fn reason(click: Click<'_>, arrival_ms: Option<i64>) -> Option<&'static str> {
        validate(&Event::Click(click), arrival_ms, &Rules::default()).err().map(|v| v.reason.as_str())
    }

    #[test]
    fn limits_are_inclusive_where_the_contract_says_so() {
        let id = "x".repeat(128);
        assert_eq!(reason(Click { click_id: id.as_str().into(), ..click() }, None), None);
        assert_eq!(reason(Click { price_micros: PRICE_MICROS_MAX, ..click() }, None), None);
        assert_eq!(reason(Click { event_ms: TIME_MIN_MS, ..click() }, None), None);
        assert_eq!(reason(Click { event_ms: TIME_END_MS - 1, ..click() }, None), None);
        let skew_ms = Rules::default().max_future_skew_ms;
        assert_eq!(reason(click(), Some(NOON_MS - skew_ms)), None);
    }

    #[test]
    fn each_broken_rule_has_its_reason() {
        let long = "x".repeat(129);
        let cases = [
            (Click { click_id: "".into(), ..click() }, "click_id_missing"),
            (Click { click_id: long.as_str().into(), ..click() }, "click_id_too_long"),
            (Click { ad_id: "".into(), ..click() }, "ad_id_missing"),
            (Click { ad_id: long.as_str().into(), ..click() }, "ad_id_too_long"),
            (Click { user_id: long.as_str().into(), ..click() }, "user_id_too_long"),
            (Click { event_ms: 0, ..click() }, "timestamp_missing"),
            (Click { event_ms: -2_208_988_800_000, ..click() }, "timestamp_out_of_range"),
            (Click { event_ms: TIME_END_MS, ..click() }, "timestamp_out_of_range"),
            (Click { price_micros: -1, ..click() }, "price_out_of_range"),
            (Click { price_micros: PRICE_MICROS_MAX + 1, ..click() }, "price_out_of_range"),
            (Click { received_at_ms: 1, ..click() }, "received_at_out_of_range"),
            (Click { received_at_ms: NOON_MS - 300_001, ..click() }, "timestamp_in_future"),
            (Click { longest_other: LongestOther { field: "ip", bytes: 1_025 }, ..click() }, "field_too_long"),
        ];
        for (click, expected) in cases {
            assert_eq!(reason(click.clone(), None), Some(expected), "{click:?}");
        }
    }

    #[test]
    fn the_earlier_of_arrival_and_received_at_bounds_the_time() {
        let received = Click { received_at_ms: NOON_MS, ..click() };
        assert_eq!(reason(received.clone(), Some(NOON_MS - 300_000)), None);
        assert_eq!(reason(received, Some(NOON_MS - 300_001)), Some("timestamp_in_future"));
    }

    #[test]
    fn a_click_without_id_needs_the_fallback_and_a_user() {
        let rules = Rules { dedup_fallback: true, ..Rules::default() };
        let anonymous = Click { click_id: "".into(), ..click() };
        let known = Click { user_id: "u".into(), ..anonymous.clone() };
        assert!(validate(&Event::Click(anonymous), None, &rules).is_err());
        assert!(validate(&Event::Click(known), None, &rules).is_ok());
    }

    #[test]
    fn a_verdict_must_decide() {
        let verdict = Verdict { click_id: "c".into(), decided_ms: NOON_MS, ..Verdict::default() };
        let undecided = validate(&Event::Verdict(verdict.clone()), None, &Rules::default());
        assert_eq!(undecided.unwrap_err().reason, Reason::DecisionMissing);
        let decided = Verdict { decision: Some(Decision::Valid), ..verdict };
        assert!(validate(&Event::Verdict(decided), None, &Rules::default()).is_ok());
    }
}
