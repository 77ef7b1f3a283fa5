//! The reader that takes all that the contract allows, and says what is wrong with the rest.

use std::borrow::Cow;
use std::fmt;

use hashbrown::HashSet;
use recount_dataflow::domain::event::{Click, Decision, Event, Verdict};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::time;
use crate::field::{Body, Field, Kind, Value, decision_numbered};
use crate::format::Decoded;

/// How deep values may nest.
const DEPTH_MAX: usize = 64;

/// Reads a line. The error is the sentence for the person who mends the sender.
pub(super) fn event(line: &str) -> Result<Decoded<'_>, String> {
    let mut unknown_fields = 0;
    let mut event: Option<Event<'_>> = None;
    for (name, value) in members(line).map_err(|error| sentence(&error))? {
        let body = match name.as_ref() {
            _ if value.get() == "null" => continue,
            "click" => body::<Click<'_>>(value, &mut unknown_fields)?,
            "verdict" => body::<Verdict<'_>>(value, &mut unknown_fields)?,
            _ => {
                unknown_fields += 1;
                check(value, 1).map_err(|error| format!("{}: {error}", excerpt(&name)))?;
                continue;
            }
        };
        if event.replace(body).is_some() {
            return Err("expected one of click and verdict, found both".to_owned());
        }
    }
    Ok(Decoded { event, unknown_fields })
}

fn body<'a, B: Body<'a>>(value: &'a RawValue, unknown_fields: &mut u64) -> Result<Event<'a>, String> {
    let mut body = B::default();
    let mut seen = 0_u32;
    for (name, value) in members(value.get()).map_err(|error| format!("{}: {}", B::NAME, sentence(&error)))? {
        let Some(field) = B::field_named(name.as_bytes()) else {
            *unknown_fields += u64::from(value.get() != "null");
            check(value, 2).map_err(|error| format!("{}.{}: {error}", B::NAME, excerpt(&name)))?;
            continue;
        };
        // Two spellings of one field are as bad as one spelling twice, even where one is null.
        let bit = 1 << field.number;
        if seen & bit != 0 {
            return Err(format!("{}.{} is there twice", B::NAME, field.name));
        }
        seen |= bit;
        if value.get() != "null" {
            body.set(field, read(field, value).map_err(|error| format!("{}.{}: {error}", B::NAME, field.name))?);
        }
    }
    Ok(body.into_event())
}

fn read<'a>(field: &Field, value: &'a RawValue) -> Result<Value<'a>, String> {
    let raw = value.get();
    let found = match raw.as_bytes()[0] {
        b'"' => {
            let text = serde_json::from_str::<Text<'a>>(raw).map_err(|error| sentence(&error))?.0;
            return read_text(field.kind, text);
        }
        b'{' => "an object",
        b'[' => "an array",
        b't' | b'f' => "a boolean",
        _ => return read_number(field.kind, raw),
    };
    Err(format!("expected {}, found {found}", expectation(field.kind)))
}

fn read_text(kind: Kind, text: Cow<'_, str>) -> Result<Value<'_>, String> {
    let value = match kind {
        Kind::Id | Kind::Text => return Ok(Value::Text(text)),
        Kind::Int => time::integer(&text).map(Value::Int),
        Kind::Time => time::parse(&text).map(Value::Int),
        Kind::Decision => decision_named(&text).map(Value::Decision),
        Kind::Double => double_named(&text).map(Value::Double),
    };
    value.ok_or_else(|| format!("expected {}, found {:?}", expectation(kind), excerpt(&text)))
}

fn read_number(kind: Kind, raw: &str) -> Result<Value<'_>, String> {
    let is_integer = !raw.contains(['.', 'e', 'E']);
    let value = match kind {
        Kind::Id if raw == "-0" => Some(Value::Text(Cow::Borrowed("0"))),
        Kind::Id if is_integer => Some(Value::Text(Cow::Borrowed(raw))),
        Kind::Int | Kind::Time => time::integer(raw).map(Value::Int),
        Kind::Decision => time::integer(raw).map(|number| Value::Decision(decision_numbered(number))),
        Kind::Double => double(raw).map(Value::Double),
        Kind::Id | Kind::Text => None,
    };
    value.ok_or_else(|| format!("expected {}, found {}", expectation(kind), excerpt(raw)))
}

fn expectation(kind: Kind) -> &'static str {
    match kind {
        Kind::Id => "a string or an integer",
        Kind::Text => "a string",
        Kind::Int => "a 64-bit integer",
        Kind::Time => "integer milliseconds or RFC 3339 with an offset",
        Kind::Decision => "\"INVALID\" or \"VALID\"",
        Kind::Double => "a number",
    }
}

/// The decision of this name; `Some(None)` for the name that decides nothing.
pub(super) fn decision_named(name: &str) -> Option<Option<Decision>> {
    match name {
        "INVALID" => Some(Some(Decision::Invalid)),
        "VALID" => Some(Some(Decision::Valid)),
        "DECISION_UNSPECIFIED" => Some(None),
        _ => None,
    }
}

/// A double that is finite, from a number in the grammar of JSON. It is rounded correctly, so that every format agrees.
pub(super) fn double(number: &str) -> Option<f64> {
    number.parse().ok().filter(|double: &f64| double.is_finite())
}

/// A double in a string, as proto3 JSON has it.
fn double_named(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        number => serde_json::from_str::<&RawValue>(number).ok().and_then(|raw| match raw.get() == number {
            true => double(number),
            false => None,
        }),
    }
}

/// Checks a value that nobody reads: an unknown field is ignored, but a record that holds one is still to be JSON, without
/// duplicate keys and lone surrogates anywhere.
fn check(value: &RawValue, depth: usize) -> Result<(), String> {
    let raw = value.get();
    if depth > DEPTH_MAX {
        return Err(format!("nested over {DEPTH_MAX} deep"));
    }
    match raw.as_bytes()[0] {
        b'"' => serde_json::from_str::<Text<'_>>(raw).map(|_| ()).map_err(|error| sentence(&error)),
        b'{' => {
            members(raw).map_err(|error| sentence(&error))?.iter().try_for_each(|(_, value)| check(value, depth + 1))
        }
        b'[' => serde_json::from_str::<Vec<&RawValue>>(raw)
            .map_err(|error| sentence(&error))?
            .iter()
            .try_for_each(|value| check(value, depth + 1)),
        _ => Ok(()),
    }
}

fn excerpt(text: &str) -> &str {
    match text.char_indices().nth(40) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}

/// What serde_json says, without the line: a record has only one.
fn sentence(error: &serde_json::Error) -> String {
    error.to_string().replace(" at line 1 column ", " at column ")
}

type Member<'a> = (Cow<'a, str>, &'a RawValue);

/// The members of an object, no key twice.
fn members(object: &str) -> Result<Vec<Member<'_>>, serde_json::Error> {
    serde_json::from_str::<Members<'_>>(object).map(|members| members.0)
}

fn repeated_key<'m>(members: &'m [Member<'_>]) -> Option<&'m str> {
    let mut keys = HashSet::with_capacity(members.len());
    members.iter().map(|(key, _)| key.as_ref()).find(|key| !keys.insert(*key))
}

struct Members<'a>(Vec<Member<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;

        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(key) = map.next_key::<Text<'de>>()? {
                    members.push((key.0, map.next_value::<&'de RawValue>()?));
                }
                match repeated_key(&members) {
                    Some(key) => Err(A::Error::custom(format_args!("key {:?} is there twice", excerpt(key)))),
                    None => Ok(Members(members)),
                }
            }
        }

        deserializer.deserialize_map(MembersVisitor)
    }
}

/// A string, borrowed where it holds no escapes.
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(TextVisitor)
    }
}
