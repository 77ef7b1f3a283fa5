//! Of any line: the fast reader and the definition agree, what is taken is JSON, and written again it is read the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use prost::Message as _;
use recount_connectors::{Decoded, json, protobuf};
use recount_dataflow::domain::event::{Click, Decision, Event, LongestOther, Verdict};
use recount_proto::v1;
use serde_json::{Value, json};

fuzz_target!(|line: &[u8]| {
    let decoded = json::decode(line);
    // As text, since a score that is no number is like no other.
    assert_eq!(format!("{decoded:?}"), format!("{:?}", json::decode_by_definition(line)));
    let Ok(Decoded { event, .. }) = decoded else { return };
    // Numbers that nobody reads may be out of every range.
    serde_json::from_slice::<serde::de::IgnoredAny>(line).expect("what was decoded is JSON");
    let Some(event) = event.map(without_others) else { return };
    let again = as_json(&event).to_string();
    let again = json::decode(again.as_bytes()).expect("we read what we wrote");
    assert_eq!(format!("{event:?}"), format!("{:?}", again.event.map(without_others).expect("it is an event")));
    let message = as_message(&event).encode_to_vec();
    let again = protobuf::decode(&message).expect("both formats say the same");
    assert_eq!(format!("{event:?}"), format!("{:?}", again.event.map(without_others).expect("it is an event")));
});

/// Of some strings nothing but the greatest length is kept, so they can not be written again.
fn without_others(event: Event<'_>) -> Event<'_> {
    let longest_other = LongestOther::default();
    match event {
        Event::Click(click) => Event::Click(Click { longest_other, ..click }),
        Event::Verdict(verdict) => Event::Verdict(Verdict { longest_other, ..verdict }),
    }
}

fn as_json(event: &Event<'_>) -> Value {
    match event {
        Event::Click(click) => json!({"click": {
            "click_id": click.click_id, "ad_id": click.ad_id, "timestamp": click.event_ms, "userId": click.user_id,
            "price_micros": click.price_micros.to_string(), "received_at_ms": click.received_at_ms,
        }}),
        Event::Verdict(verdict) => json!({"verdict": {
            "clickId": verdict.click_id, "decision": verdict.decision.map(number), "timestampMs": verdict.decided_ms,
            "reason": verdict.reason, "model_version": verdict.model_version, "score": score(verdict.score),
        }}),
    }
}

fn as_message(event: &Event<'_>) -> v1::Event {
    let body = match event {
        Event::Click(click) => v1::event::Body::Click(v1::Click {
            click_id: click.click_id.to_string(),
            ad_id: click.ad_id.to_string(),
            timestamp_ms: click.event_ms,
            user_id: click.user_id.to_string(),
            price_micros: click.price_micros,
            received_at_ms: click.received_at_ms,
            ..Default::default()
        }),
        Event::Verdict(verdict) => v1::event::Body::Verdict(v1::Verdict {
            click_id: verdict.click_id.to_string(),
            decision: verdict.decision.map_or(0, number),
            timestamp_ms: verdict.decided_ms,
            reason: verdict.reason.to_string(),
            model_version: verdict.model_version.to_string(),
            score: verdict.score,
        }),
    };
    v1::Event { body: Some(body) }
}

fn number(decision: Decision) -> i32 {
    match decision {
        Decision::Invalid => 1,
        Decision::Valid => 2,
    }
}

/// JSON has no number that is none.
fn score(score: f64) -> Value {
    match score {
        f64::INFINITY => json!("Infinity"),
        f64::NEG_INFINITY => json!("-Infinity"),
        score if score.is_nan() => json!("NaN"),
        score => json!(score),
    }
}
