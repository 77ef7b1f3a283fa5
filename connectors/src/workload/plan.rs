//! What happens, and in which order it arrives.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recount_dataflow::domain::event::Decision;
use recount_dataflow::domain::rules::{HOUR_MS, MINUTE_MS, SECOND_MS};

use super::record::{Breakage, ClickRecord, Names, Record, VerdictRecord, price_micros};
use super::settings::{TAIL_MS, WorkloadError, WorkloadSettings};

/// An ordinary click arrives this long after it happened, at most.
const JITTER_MS: u32 = 3 * SECOND_MS as u32;
/// Records that may be still to arrive. Where there are more, the first of them arrives earlier than it would.
const PENDING_MAX: usize = 1 << 20;

/// Half-open ranges of delays, in ms.
const LATE_MS: (i64, i64) = (2 * MINUTE_MS, 6 * HOUR_MS);
const RETRY_MS: (i64, i64) = (SECOND_MS, 5 * MINUTE_MS);
const VERDICT_MS: (i64, i64) = (MINUTE_MS, HOUR_MS);
const REVERSAL_MS: (i64, i64) = (10 * MINUTE_MS, 6 * HOUR_MS);

const _: () = assert!(LATE_MS.1 + VERDICT_MS.1 + REVERSAL_MS.1 < TAIL_MS, "nothing is decided after the tail");

/// The records of a workload, in the order of arrival. The same settings give the same records.
pub struct Workload {
    settings: WorkloadSettings,
    random: ChaCha8Rng,
    /// The number of the next click.
    next_click: u64,
    /// A broken record that comes right after the click before it.
    broken: Option<Record>,
    /// What is still to arrive, the first on top.
    pending: BinaryHeap<Reverse<Pending>>,
    /// How many records have been put off so far: the order among those that arrive in one millisecond.
    put_off: u64,
}

/// A record that is still to arrive.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Pending {
    arrival_ms: i64,
    sequence: u64,
    record: Record,
}

impl Workload {
    /// The workload of these settings.
    ///
    /// # Errors
    /// Where a setting is out of its range.
    pub fn new(settings: WorkloadSettings) -> Result<Self, WorkloadError> {
        settings.check()?;
        let random = ChaCha8Rng::seed_from_u64(settings.seed);
        Ok(Workload { settings, random, next_click: 0, broken: None, pending: BinaryHeap::new(), put_off: 0 })
    }

    /// What it is made of.
    pub fn settings(&self) -> &WorkloadSettings {
        &self.settings
    }

    /// How many of its clicks have been drawn, for whoever shows progress.
    pub fn clicks_drawn(&self) -> u64 {
        self.next_click
    }

    pub(super) fn names(&self) -> Names {
        Names::new(self.settings.seed)
    }

    /// Whether something happens that has this probability.
    fn happens(&mut self, rate: f64) -> bool {
        u64::from(self.random.next_u32()) < (rate * (1_u64 << 32) as f64) as u64
    }

    /// A number below `end`.
    fn below(&mut self, end: u32) -> u32 {
        ((u64::from(self.random.next_u32()) * u64::from(end)) >> 32) as u32
    }

    fn delay_ms(&mut self, range_ms: (i64, i64)) -> i64 {
        range_ms.0 + i64::from(self.below((range_ms.1 - range_ms.0) as u32))
    }

    fn put_off(&mut self, arrival_ms: i64, record: Record) {
        let sequence = self.put_off;
        self.put_off += 1;
        self.pending.push(Reverse(Pending { arrival_ms, sequence, record }));
    }

    /// When the next click arrives if it is in time, or `None` after the last.
    fn next_arrival_ms(&self) -> Option<i64> {
        let &WorkloadSettings { clicks, start_ms, span_ms, .. } = &self.settings;
        let elapsed_ms = |click: u64| (u128::from(click) * span_ms as u128 / u128::from(clicks)) as i64;
        (self.next_click < clicks).then(|| start_ms + elapsed_ms(self.next_click))
    }

    /// Draws the next click and all that will come of it. `None` where the click itself is late.
    fn draw(&mut self, now_ms: i64) -> Option<Record> {
        let settings = self.settings.clone();
        let ad = match self.happens(settings.hot_ad) {
            true => 0,
            false => self.below(settings.ads),
        };
        let user = self.below(settings.users);
        let event_ms = (now_ms - i64::from(self.below(JITTER_MS))).max(settings.start_ms);
        let click = ClickRecord { click: self.next_click, ad, user, event_ms, price_micros: price_micros(ad) };
        self.next_click += 1;

        let is_late = self.happens(settings.late);
        let arrival_ms = if is_late { now_ms + self.delay_ms(LATE_MS) } else { now_ms };
        if is_late {
            self.put_off(arrival_ms, Record::Click(click));
        }
        if self.happens(settings.duplicates) {
            self.draw_duplicate(click, arrival_ms);
        }
        if self.happens(settings.verdicts) {
            self.draw_verdicts(click);
        }
        if self.happens(settings.broken) {
            self.draw_broken(click);
        }
        (!is_late).then_some(Record::Click(click))
    }

    /// A retry: the same click again. Some clients stamp it anew, and few send another price.
    fn draw_duplicate(&mut self, mut click: ClickRecord, arrival_ms: i64) {
        if self.below(8) == 0 {
            click.event_ms = (click.event_ms + i64::from(self.below(4_000)) - 2_000).max(self.settings.start_ms);
        }
        if self.happens(self.settings.conflicting) {
            click.price_micros += 1_000;
        }
        let delay_ms = self.delay_ms(RETRY_MS);
        self.put_off(arrival_ms + delay_ms, Record::Click(click));
    }

    /// A verdict, which a late click may find already there, and perhaps its reversal.
    fn draw_verdicts(&mut self, click: ClickRecord) {
        let (first, second) = match self.below(16) {
            0 => (Decision::Valid, Decision::Invalid),
            _ => (Decision::Invalid, Decision::Valid),
        };
        let decided_ms = click.event_ms + self.delay_ms(VERDICT_MS);
        self.put_off_verdict(VerdictRecord { click: click.click, decision: first, decided_ms });
        if self.happens(self.settings.reversals) {
            let decided_ms = decided_ms + self.delay_ms(REVERSAL_MS);
            self.put_off_verdict(VerdictRecord { click: click.click, decision: second, decided_ms });
        }
    }

    fn put_off_verdict(&mut self, verdict: VerdictRecord) {
        let delay_ms = i64::from(self.below(JITTER_MS));
        self.put_off(verdict.decided_ms + delay_ms, Record::Verdict(verdict));
    }

    fn draw_broken(&mut self, click: ClickRecord) {
        let breakage = match self.below(4) {
            0 => Breakage::CutShort,
            1 => Breakage::AdMissing,
            2 => Breakage::PriceNegative,
            _ => Breakage::TooOld,
        };
        self.broken = Some(Record::Broken(breakage.fault(click), breakage));
    }
}

impl Iterator for Workload {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        if let Some(broken) = self.broken.take() {
            return Some(broken);
        }
        loop {
            let Some(now_ms) = self.next_arrival_ms() else {
                return self.pending.pop().map(|Reverse(pending)| pending.record);
            };
            let is_due = self.pending.peek().is_some_and(|Reverse(pending)| pending.arrival_ms <= now_ms);
            if is_due || self.pending.len() >= PENDING_MAX {
                return self.pending.pop().map(|Reverse(pending)| pending.record);
            }
            if let Some(record) = self.draw(now_ms) {
                return Some(record);
            }
        }
    }
}
