//! The reader for the shape in which nearly every event is written: one body, known fields, plain values, spaces or none.

use std::borrow::Cow;

use recount_dataflow::domain::event::{Click, Event, Verdict};

use super::scan::Scanner;
use super::slow::{decision_named, double};
use super::time;
use crate::field::{Body, Kind, Value, decision_numbered};

/// Reads a line of the plain shape. `None` says nothing about the line but that [`super::slow`] has to look at it.
pub(super) fn event(line: &str) -> Option<Event<'_>> {
    let mut scanner = Scanner::new(line);
    scanner.take(b'{')?;
    let event = match scanner.take_key()? {
        "click" => body::<Click<'_>>(&mut scanner)?.into_event(),
        "verdict" => body::<Verdict<'_>>(&mut scanner)?.into_event(),
        _ => return None,
    };
    scanner.take(b'}')?;
    scanner.at_end().then_some(event)
}

#[inline]
fn body<'a, B: Body<'a>>(scanner: &mut Scanner<'a>) -> Option<B> {
    let mut body = B::default();
    let mut seen = 0_u32;
    scanner.take(b'{')?;
    loop {
        let field = B::field_named(scanner.take_key()?.as_bytes())?;
        let bit = 1 << field.number;
        if seen & bit != 0 {
            return None;
        }
        seen |= bit;
        body.set(field, value(scanner, field.kind)?);
        if !scanner.take_more()? {
            return Some(body);
        }
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
