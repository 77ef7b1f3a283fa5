//! Requests from JSON, as the contract has it: proto3 JSON with names in snake_case or camelCase, integers as numbers or text,
//! enums by name or number.

use recount_dataflow::domain::window::Granularity;
use serde_json::{Map, Value};

use super::time::parse_time;
use super::{base64, names, to_wire, wire};

/// The request for rows.
///
/// # Errors
/// What is wrong with it, for people.
pub(crate) fn get_counts_request(body: &[u8]) -> Result<wire::GetCountsRequest, String> {
    let body: Value = serde_json::from_slice(body).map_err(|cause| format!("the body is no JSON: {cause}"))?;
    let mut object = Object::new("the request", body)?;
    let request = wire::GetCountsRequest {
        ad_ids: object.take("ad_ids", "adIds", strings)?.unwrap_or_default(),
        start_ms: object.take("start_ms", "startMs", time)?.unwrap_or_default(),
        end_ms: object.take("end_ms", "endMs", time)?.unwrap_or_default(),
        granularity: object.take("granularity", "granularity", granularity)?.unwrap_or_default(),
        read: object.take("read", "read", |value| read_at(value.clone()))?,
        page_size: object.take("page_size", "pageSize", integer)?.unwrap_or_default(),
        page_token: object.take("page_token", "pageToken", bytes)?.unwrap_or_default(),
    };
    object.finish()?;
    Ok(request)
}

fn read_at(value: Value) -> Result<wire::ReadAt, String> {
    let mut object = Object::new("an object", value)?;
    let as_of = object.take("as_of", "asOf", integer)?;
    let at_least = object.take("at_least", "atLeast", bytes)?;
    object.finish()?;
    let at = match (as_of, at_least) {
        (Some(_), Some(_)) => return Err("as_of and at_least exclude each other".into()),
        (Some(as_of), None) => Some(wire::read_at::At::AsOf(as_of)),
        (None, token) => token.map(wire::read_at::At::AtLeast),
    };
    Ok(wire::ReadAt { at })
}

/// An object whose entries are taken out one by one.
struct Object {
    entries: Map<String, Value>,
}

impl Object {
    fn new(what: &str, value: Value) -> Result<Object, String> {
        match value {
            Value::Object(entries) => Ok(Object { entries }),
            other => Err(format!("{what} must be an object, found {other:.40}")),
        }
    }

    /// The value under either name; absent and `null` are the same.
    fn take<T>(
        &mut self,
        name: &str,
        camel: &str,
        read: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Result<Option<T>, String> {
        let named = self.entries.remove(name);
        let value = if camel == name { named } else { named.or(self.entries.remove(camel)) };
        match value {
            None | Some(Value::Null) => Ok(None),
            Some(value) => read(&value).map(Some).map_err(|problem| format!("{name}: {problem}")),
        }
    }

    fn finish(self) -> Result<(), String> {
        match self.entries.keys().next() {
            None => Ok(()),
            Some(name) => Err(format!("there is no field {name:?} here")),
        }
    }
}

fn strings(value: &Value) -> Result<Vec<String>, String> {
    let strings = value.as_array().and_then(|list| list.iter().map(|one| one.as_str().map(str::to_owned)).collect());
    strings.ok_or_else(|| "write a list of strings".into())
}

fn integer<T: TryFrom<i128>>(value: &Value) -> Result<T, String> {
    let number = match value {
        Value::Number(number) => number.as_i64().map(i128::from).or(number.as_u64().map(i128::from)),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    number.and_then(|number| T::try_from(number).ok()).ok_or_else(|| format!("{value} is no whole number in range"))
}

fn time(value: &Value) -> Result<i64, String> {
    match value {
        Value::String(text) => parse_time(text),
        other => integer(other),
    }
}

fn bytes(value: &Value) -> Result<Vec<u8>, String> {
    value.as_str().and_then(base64::decode).ok_or_else(|| "write base64".into())
}

fn granularity(value: &Value) -> Result<i32, String> {
    match value {
        Value::String(name) => granularity_number(name),
        other => integer(other),
    }
}

/// The number of the granularity of either spelling.
pub(crate) fn granularity_number(name: &str) -> Result<i32, String> {
    let named: Option<Granularity> = names::granularity_by_name(name);
    named.map(|named| to_wire::granularity(named).into()).ok_or_else(|| format!("there is no granularity {name:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_spelling_is_read() {
        let snake = br#"{"ad_ids":["a"],"start_ms":"60000","end_ms":"1970-01-01T00:02:00Z","granularity":"MINUTE",
            "read":{"as_of":7},"page_size":3,"page_token":"-_8"}"#;
        let camel = br#"{"adIds":["a"],"startMs":60000,"endMs":120000,"granularity":1,"read":{"asOf":"7"},"pageSize":3,
            "pageToken":"+/8=","read":{"asOf":7}}"#;
        let request = get_counts_request(snake).expect("it is a request");
        assert_eq!(request, get_counts_request(camel).expect("it is the same request"));
        assert_eq!((request.start_ms, request.end_ms, request.page_token), (60_000, 120_000, vec![0xfb, 0xff]));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_name() {
        let cases = [
            ("[]", "must be an object"),
            ("{", "no JSON"),
            (r#"{"ads":["a"]}"#, "no field \"ads\""),
            (r#"{"ad_ids":"a"}"#, "ad_ids: write a list"),
            (r#"{"start_ms":1.5}"#, "start_ms: 1.5 is no whole number"),
            (r#"{"granularity":"week"}"#, "granularity: there is no"),
            (r#"{"read":{"as_of":1,"at_least":""}}"#, "read: as_of and at_least"),
            (r#"{"read":{"as_of":-1}}"#, "as_of: -1"),
        ];
        for (body, expected) in cases {
            let problem = get_counts_request(body.as_bytes()).expect_err(body);
            assert!(problem.contains(expected), "{body}: {problem}");
        }
    }
}
