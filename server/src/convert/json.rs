//! Messages as JSON, as the contract has it: proto3 JSON with snake_case names, plain numbers, zeros and empty lists written,
//! enums by name, bytes in base64 (page tokens in its alphabet for URLs), unset messages as `null`.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use super::{base64, raw, wire};

/// A message that can be written as JSON.
pub trait ToJson {
    /// The message as a JSON value.
    fn to_json(&self) -> Value;

    /// Writes the message as JSON. A message of very many parts writes them one by one.
    fn write_json(&self, out: &mut Vec<u8>) {
        push(out, &self.to_json());
    }
}

fn push(out: &mut Vec<u8>, value: &Value) {
    serde_json::to_writer(out, value).expect("a vector takes all that is written");
}

impl<T: ToJson> ToJson for Option<T> {
    fn to_json(&self) -> Value {
        self.as_ref().map_or(Value::Null, ToJson::to_json)
    }
}

impl<T: ToJson> ToJson for [T] {
    fn to_json(&self) -> Value {
        self.iter().map(ToJson::to_json).collect()
    }
}

fn bytes(bytes: &[u8]) -> Value {
    Value::String(base64::encode(bytes))
}

/// A token that is put into an address as it is.
fn page_token(token: &[u8]) -> Value {
    Value::String(base64::encode_url(token))
}

fn sorted<V: Serialize + Clone>(map: &std::collections::HashMap<String, V>) -> Value {
    let sorted: BTreeMap<&String, &V> = map.iter().collect();
    json!(sorted)
}

impl ToJson for wire::SourcePosition {
    fn to_json(&self) -> Value {
        json!({"source": self.source, "partition": self.partition, "next_offset": self.next_offset})
    }
}

impl ToJson for wire::Snapshot {
    fn to_json(&self) -> Value {
        json!({
            "as_of": self.as_of,
            "since": self.since,
            "upper": self.upper,
            "watermark_ms": self.watermark_ms,
            "positions": self.positions.to_json(),
        })
    }
}

impl ToJson for wire::Metrics {
    fn to_json(&self) -> Value {
        json!({
            "received": self.received,
            "duplicates": self.duplicates,
            "gross_clicks": self.gross_clicks,
            "invalid_clicks": self.invalid_clicks,
            "clicks": self.clicks,
            "unique_users": self.unique_users,
            "spend_micros": self.spend_micros,
            "invalid_spend_micros": self.invalid_spend_micros,
        })
    }
}

impl ToJson for wire::CountRow {
    fn to_json(&self) -> Value {
        json!({
            "ad_id": self.ad_id,
            "granularity": self.granularity().as_str_name(),
            "window_start_ms": self.window_start_ms,
            "metrics": self.metrics.to_json(),
            "state": self.state().as_str_name(),
            "revision": self.revision,
        })
    }
}

impl ToJson for wire::RowChange {
    fn to_json(&self) -> Value {
        json!({"before": self.before.to_json(), "after": self.after.to_json()})
    }
}

impl ToJson for wire::Correction {
    fn to_json(&self) -> Value {
        json!({
            "before": self.before.to_json(),
            "after": self.after.to_json(),
            "cause": self.cause().as_str_name(),
            "corrected_at_ms": self.corrected_at_ms,
            "correction_id": self.correction_id,
        })
    }
}

impl ToJson for wire::GetCountsResponse {
    fn to_json(&self) -> Value {
        json!({
            "snapshot": self.snapshot.to_json(),
            "rows": self.rows.to_json(),
            "next_page_token": page_token(&self.next_page_token),
        })
    }

    fn write_json(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"snapshot\":");
        push(out, &self.snapshot.to_json());
        out.extend_from_slice(b",\"rows\":[");
        for (place, row) in self.rows.iter().enumerate() {
            if place > 0 {
                out.push(b',');
            }
            push(out, &row.to_json());
        }
        out.extend_from_slice(b"],\"next_page_token\":");
        push(out, &page_token(&self.next_page_token));
        out.push(b'}');
    }
}

impl ToJson for wire::TopAd {
    fn to_json(&self) -> Value {
        json!({
            "ad_id": self.ad_id,
            "metrics": self.metrics.to_json(),
            "unique_users_known": self.unique_users_known,
        })
    }
}

impl ToJson for wire::ListTopAdsResponse {
    fn to_json(&self) -> Value {
        json!({"snapshot": self.snapshot.to_json(), "ads": self.ads.to_json()})
    }
}

impl ToJson for wire::SubscribeResponse {
    fn to_json(&self) -> Value {
        json!({
            "epoch": self.epoch,
            "changes": self.changes.to_json(),
            "resume_token": bytes(&self.resume_token),
            "watermark_ms": self.watermark_ms,
        })
    }
}

impl ToJson for wire::StreamCorrectionsResponse {
    fn to_json(&self) -> Value {
        json!({
            "epoch": self.epoch,
            "corrections": self.corrections.to_json(),
            "epoch_complete": self.epoch_complete,
        })
    }
}

impl ToJson for wire::VerdictEvidence {
    fn to_json(&self) -> Value {
        json!({
            "decision": self.decision,
            "timestamp_ms": self.timestamp_ms,
            "reason": self.reason,
            "model_version": self.model_version,
            "stands": self.stands,
        })
    }
}

impl ToJson for wire::CopyEvidence {
    fn to_json(&self) -> Value {
        json!({
            "ad_id": self.ad_id,
            "timestamp_ms": self.timestamp_ms,
            "conflicting": self.conflicting,
            "position": self.position.to_json(),
        })
    }
}

impl ToJson for wire::ClickEvidence {
    fn to_json(&self) -> Value {
        json!({
            "click_id": self.click_id,
            "timestamp_ms": self.timestamp_ms,
            "user_id": self.user_id,
            "price_micros": self.price_micros,
            "copies": self.copies,
            "invalid": self.invalid,
            "reason": self.reason,
            "model_version": self.model_version,
            "position": self.position.to_json(),
            "verdicts": self.verdicts.to_json(),
            "other_copies": self.other_copies.to_json(),
        })
    }
}

impl ToJson for wire::ExplainCountResponse {
    fn to_json(&self) -> Value {
        json!({
            "snapshot": self.snapshot.to_json(),
            "row": self.row.to_json(),
            "clicks": self.clicks.to_json(),
            "revisions": self.revisions.to_json(),
        })
    }
}

impl ToJson for wire::SetAside {
    fn to_json(&self) -> Value {
        json!({
            "reason": self.reason,
            "detail": self.detail,
            "position": self.position.to_json(),
            "payload": bytes(&self.payload),
            "payload_length": self.payload_length,
            "set_aside_at_ms": self.set_aside_at_ms,
        })
    }
}

impl ToJson for wire::ListSetAsideResponse {
    fn to_json(&self) -> Value {
        json!({"records": self.records.to_json(), "next_page_token": page_token(&self.next_page_token)})
    }
}

impl ToJson for wire::GetStatusResponse {
    fn to_json(&self) -> Value {
        json!({
            "snapshot": self.snapshot.to_json(),
            "records_in": self.records_in,
            "received": self.received,
            "verdicts": self.verdicts,
            "parked": self.parked,
            "quarantined": self.quarantined,
            "parked_by_reason": sorted(&self.parked_by_reason),
            "quarantined_by_reason": sorted(&self.quarantined_by_reason),
            "conflicting_copies": self.conflicting_copies,
            "unknown_fields": self.unknown_fields,
        })
    }
}

impl ToJson for raw::Refusal {
    fn to_json(&self) -> Value {
        json!({"index": self.index, "reason": self.reason, "detail": self.detail})
    }
}

impl ToJson for raw::AppendResponse {
    fn to_json(&self) -> Value {
        json!({
            "request_id": self.request_id,
            "accepted": self.accepted,
            "refusals": self.refusals.to_json(),
            "token": bytes(&self.token),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_written_one_by_one_are_the_same_json() {
        let row =
            wire::CountRow { ad_id: "a\"b".into(), metrics: Some(wire::Metrics::default()), ..Default::default() };
        for rows in [vec![], vec![row.clone()], vec![row.clone(), row]] {
            let snapshot = Some(wire::Snapshot::default());
            let message = wire::GetCountsResponse { snapshot, rows, next_page_token: vec![0xfb, 0xff] };
            let mut written = Vec::new();
            message.write_json(&mut written);
            assert_eq!(String::from_utf8(written).expect("JSON is text"), message.to_json().to_string());
        }
    }
}
