//! The reader for the shape in which nearly every event is written: one body, plain values, spaces or none, few unknown fields.

use std::borrow::Cow;

use recount_dataflow::domain::event::{Click, Verdict};

use super::scan::Scanner;
use super::slow::{decision_named, double};
use super::time;
use crate::field::{Body, Kind, Value, decision_numbered};
use crate::format::Decoded;

/// Unknown fields of one record that are passed over here.
const UNKNOWN_MAX: usize = 8;

/// Reads a line of the plain shape. `None` says nothing about the line but that [`super::slow`] has to look at it.
pub(super) fn event(line: &str) -> Option<Decoded<'_>> {
    let mut scanner = Scanner::new(line);
    scanner.take(b'{')?;
    let decoded = match scanner.take_key()? {
        "click" => body::<Click<'_>>(&mut scanner)?,
        "verdict" => body::<Verdict<'_>>(&mut scanner)?,
        _ => return None,
    };
    scanner.take(b'}')?;
    scanner.at_end().then_some(decoded)
}

#[inline]
fn body<'a, B: Body<'a>>(scanner: &mut Scanner<'a>) -> Option<Decoded<'a>> {
    let mut body = B::default();
    let mut seen = 0_u32;
    let mut unknown = Unknown::default();
    scanner.take(b'{')?;
    loop {
        let key = scanner.take_key()?;
        match B::field_named(key.as_bytes()) {
            Some(field) => {
                let bit = 1 << field.number;
                if seen & bit != 0 {
                    return None;
                }
                seen |= bit;
                body.set(field, value(scanner, field.kind)?);
            }
            None => unknown.pass(key, scanner)?,
        }
        if !scanner.take_more()? {
            return Some(Decoded { event: Some(body.into_event()), unknown_fields: unknown.count as u64 });
        }
    }
}

/// The unknown fields of one body, whose names must differ too.
#[derive(Default)]
struct Unknown<'a> {
    names: [&'a str; UNKNOWN_MAX],
    count: usize,
}

impl<'a> Unknown<'a> {
    fn pass(&mut self, name: &'a str, scanner: &mut Scanner<'a>) -> Option<()> {
        if self.names[..self.count].contains(&name) {
            return None;
        }
        *self.names.get_mut(self.count)? = name;
        self.count += 1;
        scanner.pass_scalar()
    }
}

#[inline]
fn value<'a>(scanner: &mut Scanner<'a>, kind: Kind) -> Option<Value<'a>> {
    let is_string = scanner.peek()? == b'"';
    Some(match (kind, is_string) {
        (Kind::Id | Kind::Text, true) => Value::Text(Cow::Borrowed(scanner.take_string()?)),
        (Kind::Int | Kind::Time, false) => Value::Int(scanner.take_integer()?.0),
        (Kind::Id, false) => Value::Text(Cow::Borrowed(scanner.take_integer()?.1)),
        (Kind::Time, true) => Value::Int(time::parse(scanner.take_string()?)?),
        (Kind::Int, true) => Value::Int(time::integer(scanner.take_string()?)?),
        (Kind::Decision, true) => Value::Decision(decision_named(scanner.take_string()?)?),
        (Kind::Decision, false) => Value::Decision(decision_numbered(scanner.take_integer()?.0)),
        (Kind::Double, false) => Value::Double(double(scanner.take_number()?)?),
        (Kind::Text, false) | (Kind::Double, true) => return None,
    })
}
