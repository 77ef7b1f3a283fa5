//! The ads with the most of a metric.
//!
//! Every metric of an ad is the sum over its records, so one pass over the runs finds the ads ([`sums`](super::sums)), and only
//! those that may be among the best are kept. All metrics of the winners are read at the end.

use std::cmp::Reverse;
use std::num::NonZero;
use std::ops::Range;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use crate::domain::fingerprint::Fingerprint;
use crate::domain::metrics::{Metric, Metrics};
use crate::domain::window::Granularity;
use crate::operators::records::{CountRecord, OverlapRecord, WindowCode};
use crate::operators::view::{View, between};
use crate::trace::Run;

use super::rows::starting_in;
use super::sums::{Hashes, Summed, for_each_sum};
use super::{ReadError, Snapshot};

/// Fewer records than this are summed before a thread has started.
const RECORDS_IN_PARALLEL_MIN: usize = 100_000;
/// Threads that sum one answer, a core: while events come in the workers keep every core busy, and of a core that it shares with
/// one worker an answer gets two thirds by two threads.
const THREADS_A_CORE: usize = 2;
/// The most threads that sum one answer.
const THREADS_MAX: usize = 8;
/// Ads are gathered until there are so many, and then all but the best let go.
const GATHERED_MIN: usize = 8_192;

/// What is asked for.
#[derive(Clone)]
struct Question {
    metric: Metric,
    /// The size of the rows that are summed, and the numbers of their windows.
    size: Granularity,
    range: Range<u32>,
    /// The one kept window that the range is, where it is larger than the rows that are summed.
    larger: Option<WindowCode>,
    /// Whether users can be told.
    users_known: bool,
    as_of: u64,
    deadline: Option<Instant>,
}

/// The ads with the greatest values so far: at least `limit` of them where there have been as many, ties with the last of them
/// included.
struct Best {
    limit: usize,
    ads: Vec<(i64, Fingerprint)>,
    /// What an ad must have to be among them.
    least: i64,
    /// How many are gathered before some are let go.
    full: usize,
}

impl Best {
    fn new(limit: usize) -> Self {
        let full = GATHERED_MIN.max(2 * limit);
        Best { limit, ads: Vec::with_capacity(full), least: i64::MIN, full }
    }

    #[inline]
    fn add(&mut self, ad: Fingerprint, value: i64) {
        if value >= self.least {
            self.ads.push((value, ad));
            if self.ads.len() >= self.full {
                self.let_go();
            }
        }
    }

    /// Lets go of all that are not among the best. Ties with the last place are decided by name, so they stay.
    fn let_go(&mut self) {
        if self.limit < self.ads.len() {
            let (_, (least, _), _) = self.ads.select_nth_unstable_by_key(self.limit - 1, |(value, _)| Reverse(*value));
            self.least = *least;
            self.ads.retain(|(value, _)| *value >= self.least);
        }
        self.full = self.full.max(2 * self.ads.len());
    }

    fn join(mut self, other: Best) -> Best {
        self.ads.extend(other.ads);
        self.let_go();
        self
    }
}

impl Snapshot {
    /// The ads with the most of a metric over `[start_ms, end_ms)`, descending, ties by ad id. The range is whole minutes.
    /// `unique_users` are known only where the range is one kept window, else they are 0.
    ///
    /// # Errors
    /// [`ReadError::NotKept`] where the engine does not keep what the range needs; [`ReadError::DeadlineExceeded`].
    pub fn top(
        &self,
        start_ms: i64,
        end_ms: i64,
        order_by: Metric,
        limit: usize,
        deadline: Option<Instant>,
    ) -> Result<Vec<(Arc<str>, Metrics)>, ReadError> {
        let question = self.question(start_ms, end_ms, order_by, deadline)?;
        if limit == 0 {
            return Ok(Vec::new());
        }
        let best = self.best(&question, limit)?;
        let named = best.ads.into_iter().map(|(value, ad)| (Reverse(value), self.shared.dictionary.name(ad), ad));
        let mut named: Vec<_> = named.collect();
        named.sort_unstable();
        named.truncate(limit);
        let sum = |ad: Fingerprint| self.view_of(ad).map_or(Metrics::default(), |view| question.sum(view, ad));
        Ok(named.into_iter().map(|(_, name, ad)| (name, sum(ad))).collect())
    }

    /// The ads with the greatest values, and those that tie with the last of them. Each worker's ads are its own.
    fn best(&self, question: &Question, limit: usize) -> Result<Best, ReadError> {
        let len = |view: &View| question.rows(view).iter().map(Run::len).sum::<usize>();
        let records: usize = self.workers.iter().map(|worker| len(&worker.view)).sum();
        let threads = match records < RECORDS_IN_PARALLEL_MIN {
            true => 1,
            false => (THREADS_A_CORE * thread::available_parallelism().map_or(1, NonZero::get)).min(THREADS_MAX),
        };
        let parts = threads.div_ceil(self.workers.len().max(1));
        let shares = self.workers.iter().flat_map(|worker| {
            let hashes = Hashes::of(question.rows(&worker.view)).into_iter().flat_map(move |all| all.parts(parts));
            hashes.map(move |part| (&worker.view, part, len(&worker.view) / parts))
        });
        let sum = |(view, part, len)| question.best(view, part, len, limit);
        if threads == 1 {
            return shares.map(sum).try_fold(Best::new(limit), |best, found| Ok(best.join(found?)));
        }
        thread::scope(|scope| {
            let mut shares = shares;
            // This thread takes a share as well.
            let own = shares.next();
            let others: Vec<_> = shares.map(|share| scope.spawn(move || sum(share))).collect();
            let own = own.map(sum).into_iter();
            let others = others.into_iter().map(|sum| sum.join().unwrap_or_else(|panic| resume_unwind(panic)));
            own.chain(others).try_fold(Best::new(limit), |best, found| Ok(best.join(found?)))
        })
    }

    fn question(
        &self,
        start_ms: i64,
        end_ms: i64,
        metric: Metric,
        deadline: Option<Instant>,
    ) -> Result<Question, ReadError> {
        let windows = self.shared.windows;
        let is_range = |size: &Granularity| start_ms + size.size_ms() == end_ms && start_ms % size.size_ms() == 0;
        let one_window = windows.all().find(is_range);
        // Where days are kept a whole day is read from them; all else is summed from the base windows.
        let size = if windows.days && one_window == Some(Granularity::Day) { Granularity::Day } else { windows.base };
        if start_ms % size.size_ms() != 0 || end_ms % size.size_ms() != 0 {
            return Err(ReadError::NotKept { granularity: Granularity::Minute });
        }
        let range = self.asked_of(starting_in(size, start_ms, end_ms), size, one_window, start_ms);
        let larger = one_window.filter(|one| *one != size);
        Ok(Question {
            metric,
            size,
            range,
            larger: larger.map(|larger| WindowCode::new(larger, larger.window_of(start_ms))),
            users_known: one_window.is_some(),
            as_of: self.as_of(),
            deadline,
        })
    }

    /// What of a range can still be asked about: one window is a row or is none; of any other range, the windows that are rows.
    fn asked_of(&self, range: Range<u32>, size: Granularity, window: Option<Granularity>, start_ms: i64) -> Range<u32> {
        let retention = self.retention();
        match window {
            Some(one) if retention.first_row(one) <= one.window_of(start_ms) => range,
            Some(_) => 0..0,
            None => range.start.max(retention.first_row(size))..range.end,
        }
    }
}

impl Question {
    /// The runs that are summed.
    fn rows<'a>(&self, view: &'a View) -> &'a [Run<CountRecord>] {
        if self.size == view.windows.base { &view.base } else { &view.days }
    }

    /// The runs of the overlaps that are taken off; none where what is summed is no number of users.
    fn overlaps<'a>(&self, view: &'a View) -> &'a [Run<OverlapRecord>] {
        if self.metric == Metric::UniqueUsers && self.larger.is_some() { &view.overlaps } else { &[] }
    }

    fn is_in(&self, row: &CountRecord) -> bool {
        self.range.contains(&row.window) && row.epoch() <= self.as_of
    }

    fn is_of_larger(&self, overlap: &OverlapRecord) -> bool {
        Some(overlap.window) == self.larger && overlap.epoch <= self.as_of
    }

    /// The ads with the greatest values of a stretch, which has about `len` rows.
    fn best(&self, view: &View, hashes: Hashes, len: usize, limit: usize) -> Result<Best, ReadError> {
        let mut best = Best::new(limit);
        let row = |row: &CountRecord| self.is_in(row).then(|| row.metrics().get(self.metric));
        let overlap = |overlap: &OverlapRecord| self.is_of_larger(overlap).then_some(-overlap.users);
        let rows = Summed::new(self.rows(view), hashes, row);
        let overlaps = Summed::new(self.overlaps(view), hashes, overlap);
        for_each_sum(hashes, len, rows, overlaps, self.deadline, |ad, value| best.add(ad, value))?;
        best.let_go();
        Ok(best)
    }

    /// All metrics of one ad over the range.
    fn sum(&self, view: &View, ad: Fingerprint) -> Metrics {
        let rows = self.rows(view).iter().flat_map(|run| run.find(ad));
        let rows = rows.flat_map(|rows| between(rows, |row| row.window, self.range.clone()));
        let mut sum = rows.filter(|row| self.is_in(row)).fold(Metrics::default(), |sum, row| sum + row.metrics());
        if !self.users_known {
            sum.unique_users = 0;
        } else if let Some(larger) = self.larger {
            let one = larger..WindowCode::new(larger.granularity(), larger.window() + 1);
            let overlaps = view.overlaps.iter().flat_map(|run| run.find(ad));
            let overlaps = overlaps.flat_map(|overlaps| between(overlaps, |overlap| overlap.window, one.clone()));
            let visible = overlaps.filter(|overlap| self.is_of_larger(overlap));
            sum.unique_users -= visible.map(|overlap| overlap.users).sum::<i64>();
        }
        sum
    }
}
