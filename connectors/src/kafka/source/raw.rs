//! Some consecutive records of a partition, as they came.

use recount_dataflow::domain::validate::{RECORD_BYTES_KEPT, RECORD_BYTES_MAX, Reason, Violation};
use recount_dataflow::intake::{Batch, Intake, RawRecords, unreadable};

use super::format::RecordFormat;
use crate::format::push_decoded;

/// Records, copied out of the client's buffers into one of our own: a batch outlives them, and librdkafka's are freed at once.
pub(super) struct Records {
    stream: u16,
    records: Vec<Record>,
    bytes: Vec<u8>,
    violations: Vec<Violation>,
    first_ms: i64,
    max_ms: i64,
}

/// One record.
struct Record {
    offset: u64,
    /// Where its kept bytes end; they start where those of the record before it do.
    end: usize,
    length: u64,
    arrival_ms: Option<i64>,
    /// How it is written; else the number of its violation.
    format: Result<RecordFormat, u32>,
}

impl Records {
    pub(super) fn new(stream: u16, bytes: usize) -> Self {
        Records {
            stream,
            records: Vec::new(),
            bytes: Vec::with_capacity(bytes),
            violations: Vec::new(),
            first_ms: i64::MIN,
            max_ms: i64::MIN,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The timestamp of the first record, and the greatest, ms; `i64::MIN` where there is none.
    pub(super) fn times_ms(&self) -> (i64, i64) {
        (self.first_ms, self.max_ms)
    }

    /// Adds a record. Of one that is too long only the beginning is kept. For the order among partitions a timestamp counts up to
    /// `now_ms`: one from the future would make everything else look late.
    #[inline]
    pub(super) fn push(
        &mut self,
        offset: u64,
        payload: &[u8],
        arrival_ms: Option<i64>,
        now_ms: i64,
        format: Result<RecordFormat, Violation>,
    ) {
        if let Some(ms) = arrival_ms.map(|ms| ms.min(now_ms)) {
            self.first_ms = if self.first_ms == i64::MIN { ms } else { self.first_ms };
            self.max_ms = self.max_ms.max(ms);
        }
        let length = payload.len() as u64;
        let mut violation = |violation| {
            self.violations.push(violation);
            Err(self.violations.len() as u32 - 1)
        };
        let (kept, format) = match format {
            _ if RECORD_BYTES_MAX < payload.len() => (&payload[..RECORD_BYTES_KEPT], violation(too_long(length))),
            Err(why) => (payload, violation(why)),
            Ok(RecordFormat::Json) if payload.is_empty() => (payload, violation(unreadable("the record is empty"))),
            Ok(format) => (payload, Ok(format)),
        };
        self.bytes.extend_from_slice(kept);
        self.records.push(Record { offset, end: self.bytes.len(), length, arrival_ms, format });
    }

    /// Decodes and validates all of them.
    pub(super) fn decode(self, intake: &mut Intake) -> Batch {
        let records = std::sync::Arc::new(self);
        let mut builder = intake.batch(records.stream, records.len(), records.clone());
        let mut start = 0;
        for record in &records.records {
            let payload = &records.bytes[start..record.end];
            start = record.end;
            match record.format {
                Ok(format) => {
                    push_decoded(&mut builder, format.decode(payload), record.offset, payload, record.arrival_ms);
                }
                Err(number) => {
                    let violation = records.violations[number as usize].clone();
                    builder.push_broken(violation, record.offset, payload, record.length);
                }
            }
        }
        builder.finish()
    }

    fn find(&self, offset: u64) -> Option<usize> {
        // Where no offset is missing, which is the rule, it lies where it must.
        let guess = (offset - self.records.first()?.offset) as usize;
        match self.records.get(guess) {
            Some(record) if record.offset == offset => Some(guess),
            _ => self.records.binary_search_by_key(&offset, |record| record.offset).ok(),
        }
    }
}

impl RawRecords for Records {
    fn record(&self, offset: u64) -> (&[u8], u64) {
        let at = self.find(offset).expect("only records of the batch are asked for");
        let start = at.checked_sub(1).map_or(0, |before| self.records[before].end);
        (&self.bytes[start..self.records[at].end], offset + 1)
    }
}

fn too_long(length: u64) -> Violation {
    let detail =
        format!("the record has {length} bytes; at most {RECORD_BYTES_MAX} are allowed; its beginning is kept");
    Violation::new(Reason::RecordTooLong, detail)
}

#[cfg(test)]
mod tests {
    use recount_dataflow::domain::fingerprint::HashKey;
    use recount_dataflow::domain::rules::Rules;

    use super::*;

    #[test]
    fn records_keep_their_offsets_over_gaps_and_none_is_dropped() {
        let mut records = Records::new(3, 100);
        let click = br#"{"click":{"click_id":"c","ad_id":"a","timestamp":1700000000000}}"#;
        records.push(7, click, Some(1_700_000_000_000), i64::MAX, Ok(RecordFormat::Json));
        records.push(9, b"", Some(1_600_000_000_000), i64::MAX, Ok(RecordFormat::Json));
        records.push(12, &vec![b'x'; RECORD_BYTES_MAX + 1], None, i64::MAX, Ok(RecordFormat::Event));
        records.push(13, b"?", Some(1), i64::MAX, Err(unreadable("no header")));
        assert_eq!(records.times_ms(), (1_700_000_000_000, 1_700_000_000_000));
        let batch = records.decode(&mut Intake::new(HashKey::new([1; 16]), Rules::default()));
        assert_eq!((batch.stream, batch.facts.len(), batch.end()), (3, 1, Some(14)));
        let broken: Vec<_> = batch.broken.iter().map(|one| (one.position.offset, one.payload_length)).collect();
        assert_eq!(broken, [(9, 0), (12, RECORD_BYTES_MAX as u64 + 1), (13, 1)]);
        assert_eq!(batch.broken[1].payload.len(), RECORD_BYTES_KEPT);
        assert_eq!(batch.raw.record(7), (&click[..], 8));
        assert_eq!(batch.raw.record(13), (&b"?"[..], 14));
    }
}
