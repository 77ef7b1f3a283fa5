//! A workload straight to an engine, with no text between.

use std::borrow::Cow;
use std::sync::Arc;

use recount_dataflow::domain::event::{Click, Event, Verdict};
use recount_dataflow::domain::fingerprint::HashKey;
use recount_dataflow::domain::rules::Rules;
use recount_dataflow::intake::{Batch, BatchBuilder, Intake, RawRecords, unreadable};

use super::plan::Workload;
use super::record::{self, Breakage, ClickRecord, MODEL, Names, Record, VerdictRecord};

/// The batches of a workload, as one stream. A record's offset is its number, from 0; there are no raw bytes.
pub struct Batches {
    workload: Workload,
    intake: Intake,
    batch_records: usize,
    stream: u16,
    offset: u64,
    names: Names,
    strings: Strings,
}

/// Kept from record to record.
#[derive(Default)]
struct Strings {
    click_id: String,
    ad_id: String,
    user_id: String,
}

/// A record that was never bytes.
struct NoBytes;

impl RawRecords for NoBytes {
    fn record(&self, offset: u64) -> (&[u8], u64) {
        (&[], offset + 1)
    }
}

impl Batches {
    /// Batches of `batch_records` each (the last may have fewer), as records of the stream with this number.
    pub fn new(workload: Workload, key: HashKey, rules: Rules, stream: u16, batch_records: usize) -> Self {
        let (names, intake) = (workload.names(), Intake::new(key, rules));
        let batch_records = batch_records.max(1);
        Batches { workload, intake, batch_records, stream, offset: 0, names, strings: Strings::default() }
    }
}

impl Iterator for Batches {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        let mut batch = self.intake.batch(self.stream, self.batch_records, Arc::new(NoBytes));
        for record in self.workload.by_ref().take(self.batch_records) {
            self.strings.push(&record, self.names, self.offset, &mut batch);
            self.offset += 1;
        }
        Some(batch.finish()).filter(|batch| batch.records() > 0)
    }
}

impl Strings {
    fn push(&mut self, record: &Record, names: Names, offset: u64, batch: &mut BatchBuilder<'_>) {
        let event = match record {
            Record::Broken(_, Breakage::CutShort) => {
                return batch.push_broken(unreadable("the record ends in the middle"), offset, &[], 0);
            }
            Record::Broken(click, breakage) => self.click(click, names, *breakage != Breakage::AdMissing),
            Record::Click(click) => self.click(click, names, true),
            Record::Verdict(verdict) => self.verdict(verdict, names),
        };
        batch.push(&event, offset, &[], None);
    }

    fn click(&mut self, click: &ClickRecord, names: Names, has_ad: bool) -> Event<'_> {
        let Strings { click_id, ad_id, user_id } = self;
        for text in [&mut *click_id, ad_id, user_id] {
            text.clear();
        }
        names.push_click_id(click_id, click.click);
        if has_ad {
            record::push_ad_id(ad_id, click.ad);
        }
        record::push_user_id(user_id, click.user);
        Event::Click(Click {
            click_id: Cow::Borrowed(click_id),
            ad_id: Cow::Borrowed(ad_id),
            event_ms: click.event_ms,
            user_id: Cow::Borrowed(user_id),
            price_micros: click.price_micros,
            ..Click::default()
        })
    }

    fn verdict(&mut self, verdict: &VerdictRecord, names: Names) -> Event<'_> {
        self.click_id.clear();
        names.push_click_id(&mut self.click_id, verdict.click);
        Event::Verdict(Verdict {
            click_id: Cow::Borrowed(&self.click_id),
            decision: Some(verdict.decision),
            decided_ms: verdict.decided_ms,
            reason: Cow::Borrowed(record::reason(verdict)),
            model_version: Cow::Borrowed(MODEL),
            score: record::score_thousandths(verdict) as f64 / 1_000.0,
            ..Verdict::default()
        })
    }
}
