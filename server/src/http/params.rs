//! What stands in an address, and how long a caller waits. Names that a route does not know are refused, so that a slip of the
//! pen is no other question.

use std::time::{Duration, Instant};

use axum::http::{HeaderMap, Uri};
use percent_encoding::percent_decode_str;

use crate::api::call::DEADLINE_DEFAULT;
use crate::api::errors::{CallError, ErrorReason};
use crate::convert::from_json::granularity_number;
use crate::convert::time::parse_time;
use crate::convert::units::duration;
use crate::convert::{base64, wire};

/// Longest deadline; a client that wants to wait longer asks again.
const DEADLINE_MAX: Duration = Duration::from_secs(3_600);

/// The parameters of an address, taken out one by one.
pub(super) struct Params {
    pairs: Vec<(String, String)>,
}

impl Params {
    /// All of them.
    pub(super) fn of(uri: &Uri) -> Result<Params, CallError> {
        let parts = uri.query().unwrap_or_default().split('&').filter(|part| !part.is_empty());
        let pairs = parts.map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            Ok((text(name)?, text(value)?))
        });
        Ok(Params { pairs: pairs.collect::<Result<_, CallError>>()? })
    }

    /// Every value under a name.
    pub(super) fn all(&mut self, name: &str) -> Vec<String> {
        let (taken, rest) = std::mem::take(&mut self.pairs).into_iter().partition(|(given, _)| given == name);
        self.pairs = rest;
        let taken: Vec<(String, String)> = taken;
        taken.into_iter().map(|(_, value)| value).collect()
    }

    /// The one value under a name.
    pub(super) fn one(&mut self, name: &'static str) -> Result<Option<String>, CallError> {
        let mut values = self.all(name).into_iter();
        match (values.next(), values.next()) {
            (value, None) => Ok(value),
            _ => Err(invalid(name, "it is given more than once")),
        }
    }

    fn parsed<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, CallError> {
        let value = self.one(name)?;
        value.map(|value| parse(&value).map_err(|problem| invalid(name, &problem))).transpose()
    }

    /// A whole number.
    pub(super) fn number<T: std::str::FromStr>(&mut self, name: &'static str) -> Result<Option<T>, CallError> {
        self.parsed(name, |text| text.parse().map_err(|_| format!("{text:?} is no whole number in range")))
    }

    /// A time: ms since 1970, or RFC 3339.
    pub(super) fn time(&mut self, name: &'static str) -> Result<Option<i64>, CallError> {
        self.parsed(name, parse_time)
    }

    /// A token.
    pub(super) fn token(&mut self, name: &'static str) -> Result<Option<Vec<u8>>, CallError> {
        self.parsed(name, |text| {
            base64::decode(text).ok_or_else(|| "it is no token; pass it on as it was given".into())
        })
    }

    /// `true`, also as the name alone, or `false`.
    pub(super) fn flag(&mut self, name: &'static str) -> Result<bool, CallError> {
        let flag = self.parsed(name, |text| match text {
            "" | "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(format!("{text:?} is neither true nor false")),
        });
        Ok(flag?.unwrap_or(false))
    }

    /// A granularity's number; 0 where it is not given.
    pub(super) fn granularity(&mut self) -> Result<i32, CallError> {
        Ok(self.parsed("granularity", granularity_number)?.unwrap_or_default())
    }

    /// Which epoch to read.
    pub(super) fn read_at(&mut self) -> Result<Option<wire::ReadAt>, CallError> {
        use wire::read_at::At;
        let at = match (self.number("as_of")?, self.token("at_least")?) {
            (Some(_), Some(_)) => return Err(invalid("at_least", "as_of and at_least exclude each other")),
            (Some(as_of), None) => At::AsOf(as_of),
            (None, Some(token)) => At::AtLeast(token),
            (None, None) => return Ok(None),
        };
        Ok(Some(wire::ReadAt { at: Some(at) }))
    }

    /// When the call has to be answered: by the caller's own deadline, or ours.
    pub(super) fn deadline(&mut self, headers: &HeaderMap) -> Result<Instant, CallError> {
        Ok(self.client_deadline(headers)?.unwrap_or_else(|| Instant::now() + DEADLINE_DEFAULT))
    }

    /// The caller's own deadline: `timeout=500ms`, or RFC 7240's `Prefer: wait=SECONDS`.
    pub(super) fn client_deadline(&mut self, headers: &HeaderMap) -> Result<Option<Instant>, CallError> {
        let timeout = self.parsed("timeout", duration)?.or_else(|| preferred_wait(headers));
        Ok(timeout.map(|timeout| Instant::now() + timeout.min(DEADLINE_MAX)))
    }

    /// Refuses what nothing has taken.
    pub(super) fn finish(self) -> Result<(), CallError> {
        match self.pairs.into_iter().next() {
            None => Ok(()),
            Some((name, _)) => {
                let message = format!("there is no parameter {name:?} here");
                Err(CallError::new(ErrorReason::ParameterUnknown, message).with("parameter", name))
            }
        }
    }
}

/// A parameter that can not be used.
pub(super) fn invalid(name: &'static str, problem: &str) -> CallError {
    CallError::field(ErrorReason::ParameterInvalid, name, format!("{name}: {problem}"))
}

fn text(encoded: &str) -> Result<String, CallError> {
    let spaced = encoded.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8();
    let decoded = decoded.map_err(|_| CallError::new(ErrorReason::ParameterInvalid, "the address is not UTF-8"));
    decoded.map(|text| text.into_owned())
}

fn preferred_wait(headers: &HeaderMap) -> Option<Duration> {
    let preferences = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    let mut waits = preferences.flat_map(|value| value.split([',', ';'])).filter_map(|preference| {
        let (name, seconds) = preference.split_once('=')?;
        name.trim().eq_ignore_ascii_case("wait").then(|| seconds.trim().trim_matches('"').parse().ok())?
    });
    waits.next().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(query: &str) -> Params {
        Params::of(&format!("/v1/counts?{query}").parse().expect("an address")).expect("it can be read")
    }

    #[test]
    fn values_are_decoded_and_taken_by_name() {
        let mut given = params("ad_id=a%2Fb&ad_id=%C3%B6+1&start=1970-01-01T01:00:00%2B01:00&snapshot");
        assert_eq!(given.all("ad_id"), ["a/b", "ö 1"]);
        assert_eq!(given.time("start"), Ok(Some(0)));
        assert_eq!(given.flag("snapshot"), Ok(true));
        assert_eq!(given.finish(), Ok(()));
    }

    #[test]
    fn what_can_not_be_used_is_refused_by_its_name() {
        let refused = |result: Result<(), CallError>| result.expect_err("it is refused").message;
        assert!(refused(params("ad=1").finish()).contains("\"ad\""));
        assert!(refused(params("as_of=x").read_at().map(|_| ())).starts_with("as_of: "));
        assert!(refused(params("as_of=1&as_of=2").read_at().map(|_| ())).contains("more than once"));
        assert!(refused(params("as_of=1&at_least=AA").read_at().map(|_| ())).contains("exclude"));
        assert!(Params::of(&"/v1/counts?ad_id=%ff".parse().expect("an address")).is_err());
    }

    #[test]
    fn a_caller_says_how_long_it_waits() {
        let mut headers = HeaderMap::new();
        assert_eq!(params("").client_deadline(&headers), Ok(None));
        headers.insert("prefer", "respond-async, wait=7".parse().expect("a header"));
        let left = |deadline: Instant| deadline.saturating_duration_since(Instant::now()).as_secs_f64().round();
        assert_eq!(params("").client_deadline(&headers).expect("it can be read").map(left), Some(7.0));
        assert_eq!(params("timeout=2s").client_deadline(&headers).expect("it can be read").map(left), Some(2.0));
        assert_eq!(params("timeout=99999d").client_deadline(&headers).expect("read").map(left), Some(3_600.0));
    }
}
