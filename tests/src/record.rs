//! Records as histories hold them: owned, readable, and printable as the JSON lines that `recount replay` takes.

use std::borrow::Cow;
use std::sync::Arc;

use recount_dataflow::domain::event::{self, Decision, Event, LongestOther};
use serde_json::{Value, json};

/// One record of a history, and where it goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// A label: records of one label share an epoch, and labels ascend. Gaps are no epochs.
    pub label: u64,
    /// The stream that delivers it.
    pub stream: u16,
    /// When the service took it, ms since 1970; `None` in files.
    pub arrival_ms: Option<i64>,
    /// What it says.
    pub body: Body,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// One delivery of a click.
    Click(Click),
    /// A verdict about a click.
    Verdict(Verdict),
    /// Bytes that are no record.
    Unreadable,
}

/// One delivery of a click.
#[derive(Clone, Debug, PartialEq)]
pub struct Click {
    /// The click's id; empty where missing.
    pub click_id: Arc<str>,
    /// The ad; empty where missing.
    pub ad_id: Arc<str>,
    /// The user; empty where unknown.
    pub user_id: Arc<str>,
    /// When it happened, ms since 1970; 0 where missing.
    pub event_ms: i64,
    /// Its price in millionths.
    pub price_micros: i64,
    /// When the edge took it, ms since 1970; 0 where unknown.
    pub received_at_ms: i64,
    /// How many bytes its user agent has.
    pub user_agent_bytes: usize,
}

/// A verdict about a click.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The click's id; empty where missing.
    pub click_id: Arc<str>,
    /// The decision; `None` where missing.
    pub decision: Option<Decision>,
    /// When it was decided, ms since 1970; 0 where missing.
    pub decided_ms: i64,
    /// Why, in the model's words.
    pub reason: Arc<str>,
}

impl Record {
    /// The record as one line of JSON, without its end.
    pub fn to_json(&self) -> String {
        match &self.body {
            Body::Click(click) => json!({ "click": click.to_json() }).to_string(),
            Body::Verdict(verdict) => json!({ "verdict": verdict.to_json() }).to_string(),
            Body::Unreadable => r#"{"click":"#.to_owned(),
        }
    }
}

impl Body {
    /// The event as a decoder hands it on; `None` where nothing could be read.
    pub fn to_event(&self) -> Option<Event<'_>> {
        match self {
            Body::Click(click) => Some(Event::Click(click.to_event())),
            Body::Verdict(verdict) => Some(Event::Verdict(verdict.to_event())),
            Body::Unreadable => None,
        }
    }
}

impl Click {
    fn to_json(&self) -> Value {
        let mut fields = serde_json::Map::new();
        let mut put = |name: &str, value: Value, absent: bool| {
            if !absent {
                fields.insert(name.to_owned(), value);
            }
        };
        put("click_id", json!(&*self.click_id), self.click_id.is_empty());
        put("ad_id", json!(&*self.ad_id), self.ad_id.is_empty());
        put("timestamp", json!(self.event_ms), self.event_ms == 0);
        put("user_id", json!(&*self.user_id), self.user_id.is_empty());
        put("price_micros", json!(self.price_micros), self.price_micros == 0);
        put("received_at", json!(self.received_at_ms), self.received_at_ms == 0);
        put("user_agent", json!("x".repeat(self.user_agent_bytes)), self.user_agent_bytes == 0);
        Value::Object(fields)
    }

    fn to_event(&self) -> event::Click<'_> {
        let mut longest_other = LongestOther::default();
        longest_other.observe("user_agent", self.user_agent_bytes);
        event::Click {
            click_id: Cow::Borrowed(&self.click_id),
            ad_id: Cow::Borrowed(&self.ad_id),
            event_ms: self.event_ms,
            user_id: Cow::Borrowed(&self.user_id),
            price_micros: self.price_micros,
            received_at_ms: self.received_at_ms,
            longest_other,
        }
    }
}

impl Verdict {
    fn to_json(&self) -> Value {
        let mut fields = serde_json::Map::new();
        if !self.click_id.is_empty() {
            fields.insert("click_id".to_owned(), json!(&*self.click_id));
        }
        if let Some(decision) = self.decision {
            fields.insert("decision".to_owned(), json!(decision.as_str()));
        }
        if self.decided_ms != 0 {
            fields.insert("timestamp".to_owned(), json!(self.decided_ms));
        }
        if !self.reason.is_empty() {
            fields.insert("reason".to_owned(), json!(&*self.reason));
        }
        Value::Object(fields)
    }

    fn to_event(&self) -> event::Verdict<'_> {
        let mut longest_other = LongestOther::default();
        longest_other.observe("reason", self.reason.len());
        event::Verdict {
            click_id: Cow::Borrowed(&self.click_id),
            decision: self.decision,
            decided_ms: self.decided_ms,
            reason: Cow::Borrowed(&self.reason),
            longest_other,
            ..event::Verdict::default()
        }
    }
}
