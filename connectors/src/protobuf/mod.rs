//! Events as protobuf, read straight from the wire so that strings stay where they are.
//!
//! As everywhere in proto3, absent fields hold their defaults, the last of a repeated field wins, and unknown fields are passed
//! over (and counted). Stricter than most readers: a known field of another wire type, and more than one body, are refused.

#[cfg(test)]
mod expected;
#[cfg(test)]
mod tests;
pub(crate) mod wire;

use std::borrow::Cow;

use recount_dataflow::domain::event::{Click, Event, LongestOther, Verdict};
use recount_dataflow::domain::validate::Violation;
use recount_dataflow::intake::unreadable;

use crate::field::{Body, Field, Kind, Value, decision_numbered};
use crate::format::Decoded;
use wire::{Wire, WireError, take_field};

/// The fields of a click that hold one of the strings that nothing counts.
const OTHER_STRINGS: std::ops::RangeInclusive<u32> = 6..=15;

/// Reads one message, given without its length.
///
/// # Errors
/// Where the message can not be read: reason `unreadable`.
pub fn decode(message: &[u8]) -> Result<Decoded<'_>, Violation> {
    event(message).map_err(unreadable)
}

/// Reads one click by itself: the body of an event.
///
/// # Errors
/// Where it can not be read: reason `unreadable`.
pub fn decode_click(message: &[u8]) -> Result<Decoded<'_>, Violation> {
    let mut unknown_fields = 0;
    let click = click(message, &mut unknown_fields).map_err(unreadable)?;
    Ok(Decoded { event: Some(click.into_event()), unknown_fields })
}

/// Reads one verdict by itself: the body of an event.
///
/// # Errors
/// Where it can not be read: reason `unreadable`.
pub fn decode_verdict(message: &[u8]) -> Result<Decoded<'_>, Violation> {
    let mut unknown_fields = 0;
    let (verdict, _) = body::<Verdict<'_>>(message, &mut unknown_fields).map_err(unreadable)?;
    Ok(Decoded { event: Some(verdict.into_event()), unknown_fields })
}

/// The event whose body, the field with this number, is this message.
#[cfg(feature = "kafka")]
pub(crate) fn event_of(number: u8, body: &[u8]) -> Vec<u8> {
    let mut event = vec![number << 3 | 2];
    let mut length = body.len();
    while length >= 0x80 {
        event.push(length as u8 | 0x80);
        length >>= 7;
    }
    event.push(length as u8);
    event.extend_from_slice(body);
    event
}

fn event(mut message: &[u8]) -> Result<Decoded<'_>, String> {
    let mut unknown_fields = 0;
    let mut event: Option<Event<'_>> = None;
    while !message.is_empty() {
        let body = match take_field(&mut message).map_err(|error| sentence("event", error))? {
            (1, Wire::Bytes(bytes)) => click(bytes, &mut unknown_fields)?.into_event(),
            (2, Wire::Bytes(bytes)) => body::<Verdict<'_>>(bytes, &mut unknown_fields)?.0.into_event(),
            (1 | 2, _) => return Err("expected a message as the event's body, found another wire type".to_owned()),
            _ => {
                unknown_fields += 1;
                continue;
            }
        };
        if event.replace(body).is_some() {
            return Err("expected one body, found more".to_owned());
        }
    }
    Ok(Decoded { event, unknown_fields })
}

fn sentence(message: &str, error: WireError) -> String {
    format!("not a protobuf {message}: {error}")
}

fn click<'a>(bytes: &'a [u8], unknown_fields: &mut u64) -> Result<Click<'a>, String> {
    let (mut click, repeats) = body::<Click<'a>>(bytes, unknown_fields)?;
    if repeats {
        click.longest_other = longest_other(bytes);
    }
    Ok(click)
}

/// The body, and whether any of its fields is there more than once.
#[inline]
fn body<'a, B: Body<'a>>(mut bytes: &'a [u8], unknown_fields: &mut u64) -> Result<(B, bool), String> {
    let mut body = B::default();
    let (mut seen, mut repeats) = (0_u32, false);
    while !bytes.is_empty() {
        let (number, wire) = take_field(&mut bytes).map_err(|error| sentence(B::NAME, error))?;
        let Some(field) = B::field_numbered(number) else {
            *unknown_fields += 1;
            continue;
        };
        let bit = 1 << number;
        repeats |= seen & bit != 0;
        seen |= bit;
        body.set(field, value(field, wire).map_err(|error| format!("{}.{}: {error}", B::NAME, field.name))?);
    }
    Ok((body, repeats))
}

#[inline]
fn value<'a>(field: &Field, wire: Wire<'a>) -> Result<Value<'a>, &'static str> {
    match (field.kind, wire) {
        (Kind::Id | Kind::Text, Wire::Bytes(bytes)) => match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Value::Text(Cow::Borrowed(text))),
            Err(_) => Err("expected UTF-8, found other bytes"),
        },
        (Kind::Int | Kind::Time, Wire::Varint(value)) => Ok(Value::Int(value as i64)),
        // An enum is an int32 on the wire; its high bits are not looked at.
        (Kind::Decision, Wire::Varint(value)) => Ok(Value::Decision(decision_numbered((value as i32).into()))),
        (Kind::Double, Wire::Fixed64(bits)) => Ok(Value::Double(f64::from_bits(bits))),
        _ => Err("the field has another wire type than the contract gives it"),
    }
}

/// The longest of the strings that only have to be short, each the last of its number.
fn longest_other(mut bytes: &[u8]) -> LongestOther {
    let mut lengths = [0; 17];
    while let Ok((number, wire)) = take_field(&mut bytes) {
        if let (true, Wire::Bytes(text)) = (OTHER_STRINGS.contains(&number), wire) {
            lengths[number as usize] = text.len();
        }
    }
    let mut longest = LongestOther::default();
    for number in OTHER_STRINGS {
        if let Some(field) = Click::field_numbered(number) {
            longest.observe(field.name, lengths[number as usize]);
        }
    }
    longest
}
