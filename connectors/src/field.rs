//! The fields of the contract's bodies, once for every format: name, number, what a value may be, and where it goes.

use std::borrow::Cow;

use recount_dataflow::domain::event::{Click, Decision, Event, Verdict};

/// What a field's value may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A string; JSON also takes an integer, as its decimal text.
    Id,
    /// A string.
    Text,
    /// A 64-bit signed integer; JSON also takes it as a string.
    Int,
    /// Milliseconds since 1970 UTC; JSON also takes RFC 3339.
    Time,
    /// `INVALID` or `VALID`.
    Decision,
    /// A double.
    Double,
}

/// One field of a body.
#[derive(Debug)]
pub(crate) struct Field {
    /// Its number in the contract.
    pub(crate) number: u32,
    /// Its name, for messages.
    pub(crate) name: &'static str,
    /// What its value may be.
    pub(crate) kind: Kind,
}

/// A value that was read, of the kind that its field asks for.
#[derive(Clone, Debug)]
pub(crate) enum Value<'a> {
    /// Of [`Kind::Id`] and [`Kind::Text`].
    Text(Cow<'a, str>),
    /// Of [`Kind::Int`] and [`Kind::Time`].
    Int(i64),
    /// Of [`Kind::Decision`]; `None` where it names no decision.
    Decision(Option<Decision>),
    /// Of [`Kind::Double`].
    Double(f64),
}

/// The body of an event, filled field by field.
pub(crate) trait Body<'a>: Default {
    /// What the body is called in an event.
    const NAME: &'static str;

    /// The field that JSON knows by this name; `None` where no version of the contract names it.
    fn field_named(name: &[u8]) -> Option<&'static Field>;

    /// The field with this number.
    fn field_numbered(number: u32) -> Option<&'static Field>;

    /// Sets one field. `value` is of the field's kind.
    fn set(&mut self, field: &'static Field, value: Value<'a>);

    /// The event with this body.
    fn into_event(self) -> Event<'a>;
}

const fn field(number: u32, name: &'static str, kind: Kind) -> Field {
    Field { number, name, kind }
}

/// By number, from 1.
static CLICK: [Field; 16] = [
    field(1, "click_id", Kind::Id),
    field(2, "ad_id", Kind::Id),
    field(3, "timestamp", Kind::Time),
    field(4, "user_id", Kind::Id),
    field(5, "price_micros", Kind::Int),
    field(6, "advertiser_id", Kind::Id),
    field(7, "campaign_id", Kind::Id),
    field(8, "creative_id", Kind::Id),
    field(9, "publisher_id", Kind::Id),
    field(10, "placement_id", Kind::Id),
    field(11, "session_id", Kind::Id),
    field(12, "country", Kind::Text),
    field(13, "device", Kind::Text),
    field(14, "ip", Kind::Text),
    field(15, "user_agent", Kind::Text),
    field(16, "received_at", Kind::Time),
];

/// By number, from 1.
static VERDICT: [Field; 6] = [
    field(1, "click_id", Kind::Id),
    field(2, "decision", Kind::Decision),
    field(3, "timestamp", Kind::Time),
    field(4, "reason", Kind::Text),
    field(5, "model_version", Kind::Text),
    field(6, "score", Kind::Double),
];

fn numbered(fields: &'static [Field], number: u32) -> Option<&'static Field> {
    fields.get((number as usize).wrapping_sub(1))
}

impl<'a> Body<'a> for Click<'a> {
    const NAME: &'static str = "click";

    #[inline]
    fn field_named(name: &[u8]) -> Option<&'static Field> {
        let number = match name {
            b"click_id" | b"clickId" => 1,
            b"ad_id" | b"adId" => 2,
            b"timestamp" | b"timestamp_ms" | b"timestampMs" => 3,
            b"user_id" | b"userId" => 4,
            b"price_micros" | b"priceMicros" => 5,
            b"advertiser_id" | b"advertiserId" => 6,
            b"campaign_id" | b"campaignId" => 7,
            b"creative_id" | b"creativeId" => 8,
            b"publisher_id" | b"publisherId" => 9,
            b"placement_id" | b"placementId" => 10,
            b"session_id" | b"sessionId" => 11,
            b"country" => 12,
            b"device" => 13,
            b"ip" => 14,
            b"user_agent" | b"userAgent" => 15,
            b"received_at" | b"received_at_ms" | b"receivedAt" | b"receivedAtMs" => 16,
            _ => return None,
        };
        numbered(&CLICK, number)
    }

    #[inline]
    fn field_numbered(number: u32) -> Option<&'static Field> {
        numbered(&CLICK, number)
    }

    #[inline]
    fn set(&mut self, field: &'static Field, value: Value<'a>) {
        match (field.number, value) {
            (1, Value::Text(text)) => self.click_id = text,
            (2, Value::Text(text)) => self.ad_id = text,
            (3, Value::Int(event_ms)) => self.event_ms = event_ms,
            (4, Value::Text(text)) => self.user_id = text,
            (5, Value::Int(price_micros)) => self.price_micros = price_micros,
            (16, Value::Int(received_at_ms)) => self.received_at_ms = received_at_ms,
            (_, Value::Text(text)) => self.longest_other.observe(field.name, text.len()),
            (number, value) => unreachable!("field {number} of a click never holds {value:?}"),
        }
    }

    fn into_event(self) -> Event<'a> {
        Event::Click(self)
    }
}

impl<'a> Body<'a> for Verdict<'a> {
    const NAME: &'static str = "verdict";

    #[inline]
    fn field_named(name: &[u8]) -> Option<&'static Field> {
        let number = match name {
            b"click_id" | b"clickId" => 1,
            b"decision" => 2,
            b"timestamp" | b"timestamp_ms" | b"timestampMs" => 3,
            b"reason" => 4,
            b"model_version" | b"modelVersion" => 5,
            b"score" => 6,
            _ => return None,
        };
        numbered(&VERDICT, number)
    }

    #[inline]
    fn field_numbered(number: u32) -> Option<&'static Field> {
        numbered(&VERDICT, number)
    }

    #[inline]
    fn set(&mut self, field: &'static Field, value: Value<'a>) {
        match (field.number, value) {
            (1, Value::Text(text)) => self.click_id = text,
            (2, Value::Decision(decision)) => self.decision = decision,
            (3, Value::Int(decided_ms)) => self.decided_ms = decided_ms,
            (4, Value::Text(text)) => self.reason = text,
            (5, Value::Text(text)) => self.model_version = text,
            (6, Value::Double(score)) => self.score = score,
            (number, value) => unreachable!("field {number} of a verdict never holds {value:?}"),
        }
    }

    fn into_event(mut self) -> Event<'a> {
        self.longest_other.observe("reason", self.reason.len());
        self.longest_other.observe("model_version", self.model_version.len());
        Event::Verdict(self)
    }
}

/// The decision with this number in the contract.
pub(crate) fn decision_numbered(number: i64) -> Option<Decision> {
    match number {
        1 => Some(Decision::Invalid),
        2 => Some(Decision::Valid),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_stand_at_their_numbers() {
        for (at, field) in CLICK.iter().enumerate() {
            assert_eq!(field.number as usize, at + 1, "{}", field.name);
            assert_eq!(Click::field_named(field.name.as_bytes()).map(|f| f.number), Some(field.number));
        }
        for (at, field) in VERDICT.iter().enumerate() {
            assert_eq!(field.number as usize, at + 1, "{}", field.name);
            assert_eq!(Verdict::field_named(field.name.as_bytes()).map(|f| f.number), Some(field.number));
        }
        assert!(Click::field_numbered(0).is_none());
        assert!(Click::field_numbered(17).is_none());
    }
}
