//! Records as JSON lines and as length-delimited protobuf.

use recount_dataflow::domain::event::Decision;

use super::record::{self, Breakage, ClickRecord, MODEL, Names, Record, VerdictRecord};
use crate::format::Format;

/// Writes records; it keeps its buffers.
pub(super) struct Encoder {
    names: Names,
    format: Format,
    text: String,
    body: Vec<u8>,
}

impl Encoder {
    pub(super) fn new(names: Names, format: Format) -> Self {
        Encoder { names, format, text: String::new(), body: Vec::new() }
    }

    /// Appends one record, with its newline or length.
    pub(super) fn push(&mut self, record: &Record, out: &mut Vec<u8>) {
        match self.format {
            Format::JsonLines => self.push_line(record, out),
            Format::Protobuf => self.push_message(record, out),
        }
    }

    fn push_line(&mut self, record: &Record, out: &mut Vec<u8>) {
        self.text.clear();
        match record {
            Record::Click(click) => self.push_json_click(click, true),
            Record::Verdict(verdict) => self.push_json_verdict(verdict),
            Record::Broken(click, breakage) => self.push_json_click(click, *breakage != Breakage::AdMissing),
        }
        if let Record::Broken(_, Breakage::CutShort) = record {
            self.text.truncate(self.text.len() / 2);
        }
        out.extend_from_slice(self.text.as_bytes());
        out.push(b'\n');
    }

    fn push_json_click(&mut self, click: &ClickRecord, has_ad: bool) {
        let (names, text) = (self.names, &mut self.text);
        text.push_str("{\"click\":{\"click_id\":\"");
        names.push_click_id(text, click.click);
        if has_ad {
            text.push_str("\",\"ad_id\":\"");
            record::push_ad_id(text, click.ad);
        }
        text.push_str("\",\"timestamp\":");
        push_integer(text, click.event_ms);
        text.push_str(",\"user_id\":\"");
        record::push_user_id(text, click.user);
        text.push_str("\",\"price_micros\":");
        push_integer(text, click.price_micros);
        text.push_str(",\"campaign_id\":\"");
        record::push_campaign_id(text, click.ad);
        text.push_str("\",\"publisher_id\":\"");
        record::push_publisher_id(text, click.click);
        text.push_str("\",\"country\":\"");
        text.push_str(record::country(click.click));
        text.push_str("\",\"device\":\"");
        text.push_str(record::device(click.click));
        text.push_str("\"}}");
    }

    fn push_json_verdict(&mut self, verdict: &VerdictRecord) {
        let (names, text) = (self.names, &mut self.text);
        text.push_str("{\"verdict\":{\"click_id\":\"");
        names.push_click_id(text, verdict.click);
        text.push_str("\",\"decision\":\"");
        text.push_str(verdict.decision.as_str());
        text.push_str("\",\"timestamp\":");
        push_integer(text, verdict.decided_ms);
        text.push_str(",\"reason\":\"");
        text.push_str(record::reason(verdict));
        text.push_str("\",\"model_version\":\"");
        text.push_str(MODEL);
        text.push_str("\",\"score\":");
        record::push_score(text, record::score_thousandths(verdict));
        text.push_str("}}");
    }

    fn push_message(&mut self, record: &Record, out: &mut Vec<u8>) {
        self.body.clear();
        let body = match record {
            Record::Click(click) => self.push_protobuf_click(click, true),
            Record::Verdict(verdict) => self.push_protobuf_verdict(verdict),
            Record::Broken(click, breakage) => self.push_protobuf_click(click, *breakage != Breakage::AdMissing),
        };
        let length = self.body.len() as u64;
        if let Record::Broken(_, Breakage::CutShort) = record {
            self.body.truncate(self.body.len() / 2);
        }
        let head = 1 + varint_length(length);
        push_varint(out, head + self.body.len() as u64);
        push_varint(out, body << 3 | 2);
        push_varint(out, length);
        out.extend_from_slice(&self.body);
    }

    /// Gives the body's field number.
    fn push_protobuf_click(&mut self, click: &ClickRecord, has_ad: bool) -> u64 {
        let names = self.names;
        self.push_text(1, |text| names.push_click_id(text, click.click));
        if has_ad {
            self.push_text(2, |text| record::push_ad_id(text, click.ad));
        }
        self.push_number(3, click.event_ms);
        self.push_text(4, |text| record::push_user_id(text, click.user));
        self.push_number(5, click.price_micros);
        self.push_text(7, |text| record::push_campaign_id(text, click.ad));
        self.push_text(9, |text| record::push_publisher_id(text, click.click));
        self.push_text(12, |text| text.push_str(record::country(click.click)));
        self.push_text(13, |text| text.push_str(record::device(click.click)));
        1
    }

    /// Gives the body's field number.
    fn push_protobuf_verdict(&mut self, verdict: &VerdictRecord) -> u64 {
        let names = self.names;
        let decision = match verdict.decision {
            Decision::Invalid => 1,
            Decision::Valid => 2,
        };
        self.push_text(1, |text| names.push_click_id(text, verdict.click));
        self.push_number(2, decision);
        self.push_number(3, verdict.decided_ms);
        self.push_text(4, |text| text.push_str(record::reason(verdict)));
        self.push_text(5, |text| text.push_str(MODEL));
        push_varint(&mut self.body, 6 << 3 | 1);
        // The same double as the decimal text of three digits: both are the nearest one.
        let score = record::score_thousandths(verdict) as f64 / 1_000.0;
        self.body.extend_from_slice(&score.to_le_bytes());
        2
    }

    fn push_text(&mut self, number: u64, write: impl FnOnce(&mut String)) {
        self.text.clear();
        write(&mut self.text);
        push_varint(&mut self.body, number << 3 | 2);
        push_varint(&mut self.body, self.text.len() as u64);
        self.body.extend_from_slice(self.text.as_bytes());
    }

    fn push_number(&mut self, number: u64, value: i64) {
        push_varint(&mut self.body, number << 3);
        push_varint(&mut self.body, value as u64);
    }
}

fn push_integer(text: &mut String, value: i64) {
    text.push_str(itoa::Buffer::new().format(value));
}

fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn varint_length(value: u64) -> u64 {
    u64::from(64 - (value | 1).leading_zeros()).div_ceil(7)
}
