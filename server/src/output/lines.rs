//! One line of each kind.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use recount_dataflow::domain::metrics::{Metric, Metrics};
use recount_dataflow::engine::StreamName;
use recount_dataflow::read::{Correction, Row, RowChange, SetAside};

use super::text::{Buffer, push_csv_str, push_int, push_json_str};
use crate::convert::to_wire::correction_id;

/// Appends a row as JSON, without a line feed.
pub(crate) fn push_row(out: &mut Buffer, row: &Row) {
    out.extend_from_slice(b"{\"ad_id\":");
    push_json_str(out, &row.ad_id);
    out.extend_from_slice(b",\"granularity\":\"");
    out.extend_from_slice(row.granularity.as_str().as_bytes());
    out.extend_from_slice(b"\",\"window_start_ms\":");
    push_int(out, row.window_start_ms);
    push_metrics(out, &row.metrics);
    out.extend_from_slice(b",\"state\":\"");
    out.extend_from_slice(row.state.as_str().as_bytes());
    out.extend_from_slice(b"\",\"revision\":");
    push_int(out, row.revision);
    out.push(b'}');
}

fn push_metrics(out: &mut Buffer, metrics: &Metrics) {
    out.extend_from_slice(b",\"metrics\":{\"received\":");
    push_int(out, metrics.received);
    out.extend_from_slice(b",\"duplicates\":");
    push_int(out, metrics.duplicates());
    out.extend_from_slice(b",\"gross_clicks\":");
    push_int(out, metrics.gross_clicks);
    out.extend_from_slice(b",\"invalid_clicks\":");
    push_int(out, metrics.invalid_clicks);
    out.extend_from_slice(b",\"clicks\":");
    push_int(out, metrics.clicks());
    out.extend_from_slice(b",\"unique_users\":");
    push_int(out, metrics.unique_users);
    out.extend_from_slice(b",\"spend_micros\":");
    push_int(out, metrics.spend_micros);
    out.extend_from_slice(b",\"invalid_spend_micros\":");
    push_int(out, metrics.invalid_spend_micros);
    out.push(b'}');
}

/// The first line of a table as CSV.
pub(crate) fn csv_header() -> String {
    let metrics = Metric::ALL.map(Metric::as_str).join(",");
    format!("ad_id,granularity,window_start_ms,{metrics},state,revision\n")
}

/// Appends a row as a line of CSV.
pub(crate) fn push_csv_row(out: &mut Buffer, row: &Row) {
    push_csv_str(out, &row.ad_id);
    out.push(b',');
    out.extend_from_slice(row.granularity.as_str().as_bytes());
    out.push(b',');
    push_int(out, row.window_start_ms);
    for metric in Metric::ALL {
        out.push(b',');
        push_int(out, row.metrics.get(metric));
    }
    out.push(b',');
    out.extend_from_slice(row.state.as_str().as_bytes());
    out.push(b',');
    push_int(out, row.revision);
    out.push(b'\n');
}

/// Appends an epoch's changes as a line.
pub(crate) fn push_changes(out: &mut Buffer, epoch: u64, watermark_ms: i64, changes: &[RowChange]) {
    out.extend_from_slice(b"{\"epoch\":");
    push_int(out, epoch);
    out.extend_from_slice(b",\"watermark_ms\":");
    push_int(out, watermark_ms);
    out.extend_from_slice(b",\"changes\":[");
    for (place, change) in changes.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"before\":");
        push_row_or_null(out, change.before.as_ref());
        out.extend_from_slice(b",\"after\":");
        push_row_or_null(out, change.after.as_ref());
        out.push(b'}');
    }
    out.extend_from_slice(b"]}\n");
}

/// Appends a correction as a line.
pub(crate) fn push_correction(out: &mut Buffer, correction: &Correction, lineage: &str) {
    out.extend_from_slice(b"{\"before\":");
    push_row_or_null(out, correction.before.as_ref());
    out.extend_from_slice(b",\"after\":");
    push_row(out, &correction.after);
    out.extend_from_slice(b",\"cause\":\"");
    out.extend_from_slice(correction.cause.as_str().as_bytes());
    out.extend_from_slice(b"\",\"epoch\":");
    push_int(out, correction.epoch);
    out.extend_from_slice(b",\"correction_id\":");
    push_json_str(out, &correction_id(correction, lineage));
    out.extend_from_slice(b",\"corrected_at_ms\":");
    push_int(out, correction.corrected_at_ms);
    out.extend_from_slice(b"}\n");
}

fn push_row_or_null(out: &mut Buffer, row: Option<&Row>) {
    match row {
        Some(row) => push_row(out, row),
        None => out.extend_from_slice(b"null"),
    }
}

/// Appends a record that was set aside as a line: `payload` where it is UTF-8, else `payload_base64`.
pub(crate) fn push_set_aside(out: &mut Buffer, record: &SetAside, streams: &[StreamName]) {
    let stream = &streams[record.position.stream as usize];
    out.extend_from_slice(b"{\"reason\":\"");
    out.extend_from_slice(record.reason.as_str().as_bytes());
    out.extend_from_slice(b"\",\"detail\":");
    push_json_str(out, &record.detail);
    out.extend_from_slice(b",\"position\":{\"source\":");
    push_json_str(out, &stream.source);
    out.extend_from_slice(b",\"partition\":");
    push_int(out, stream.partition);
    out.extend_from_slice(b",\"next_offset\":");
    push_int(out, record.position.offset);
    out.extend_from_slice(b"},\"epoch\":");
    push_int(out, record.epoch);
    match std::str::from_utf8(&record.payload) {
        Ok(text) => {
            out.extend_from_slice(b",\"payload\":");
            push_json_str(out, text);
        }
        Err(_) => {
            out.extend_from_slice(b",\"payload_base64\":");
            push_json_str(out, &BASE64.encode(&record.payload));
        }
    }
    out.extend_from_slice(b",\"payload_length\":");
    push_int(out, record.payload_length);
    out.extend_from_slice(b",\"set_aside_at_ms\":");
    push_int(out, record.set_aside_at_ms);
    out.extend_from_slice(b"}\n");
}

#[cfg(test)]
mod tests {
    use recount_dataflow::domain::cause::Cause;
    use recount_dataflow::domain::fact::Position;
    use recount_dataflow::domain::validate::Reason;
    use recount_dataflow::domain::window::{Granularity, WindowState};
    use serde_json::{Value, json};

    use super::*;
    use crate::convert::json::ToJson as _;
    use crate::convert::to_wire;

    fn row() -> Row {
        let metrics = Metrics {
            received: 5,
            gross_clicks: 4,
            invalid_clicks: 1,
            unique_users: 2,
            spend_micros: 300,
            invalid_spend_micros: 100,
        };
        Row {
            ad_id: "a \"quoted\" ad".into(),
            granularity: Granularity::FiveMinutes,
            window_start_ms: 1_700_000_100_000,
            metrics,
            state: WindowState::Closed,
            revision: 3,
        }
    }

    #[test]
    fn a_row_is_the_json_of_its_message() {
        let mut out = Buffer::new();
        push_row(&mut out, &row());
        assert_eq!(String::from_utf8_lossy(&out), to_wire::row(&row()).to_json().to_string());
    }

    #[test]
    fn a_csv_row_has_a_field_a_column() {
        let mut out = Buffer::new();
        push_csv_row(&mut out, &row());
        let expected = "\"a \"\"quoted\"\" ad\",FIVE_MINUTES,1700000100000,5,1,4,1,3,2,300,100,CLOSED,3\n";
        assert_eq!(String::from_utf8_lossy(&out), expected);
        assert_eq!(csv_header().split(',').count(), 13);
    }

    #[test]
    fn changes_and_corrections_are_lines_of_json() {
        let mut out = Buffer::new();
        let change = RowChange { before: None, after: Some(row()) };
        push_changes(&mut out, 7, 11, &[change.clone(), change]);
        let line: Value = serde_json::from_slice(&out).expect("it is JSON");
        assert_eq!((&line["epoch"], &line["watermark_ms"]), (&json!(7), &json!(11)));
        assert_eq!(line["changes"][1]["after"]["metrics"]["clicks"], json!(3));
        assert_eq!(line["changes"][1]["before"], Value::Null);

        let correction = Correction { epoch: 7, corrected_at_ms: 9, before: None, after: row(), cause: Cause::Verdict };
        let mut out = Buffer::new();
        push_correction(&mut out, &correction, "replay");
        let line: Value = serde_json::from_slice(&out).expect("it is JSON");
        assert_eq!(line["correction_id"], json!("replay/FIVE_MINUTES/1700000100000/3/a \"quoted\" ad"));
        assert_eq!((&line["cause"], &line["epoch"]), (&json!("VERDICT"), &json!(7)));
    }

    #[test]
    fn a_payload_is_text_where_it_can_be() {
        let streams = [StreamName { source: "a.jsonl".into(), partition: 0 }];
        let record = |payload: &[u8]| SetAside {
            reason: Reason::Unreadable,
            detail: "no JSON".into(),
            position: Position { stream: 0, offset: 17 },
            payload: payload.into(),
            payload_length: payload.len() as u64,
            epoch: 1,
            set_aside_at_ms: 0,
        };
        let line = |payload: &[u8]| -> Value {
            let mut out = Buffer::new();
            push_set_aside(&mut out, &record(payload), &streams);
            serde_json::from_slice(&out).expect("it is JSON")
        };
        assert_eq!(line(b"{oops")["payload"], json!("{oops"));
        assert_eq!(line(b"\xff\xfe")["payload_base64"], json!("//4="));
        assert_eq!(line(b"")["position"], json!({"source": "a.jsonl", "partition": 0, "next_offset": 17}));
    }
}
