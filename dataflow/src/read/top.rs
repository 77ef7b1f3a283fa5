//! The ads with the most of a metric.
//!
//! Every metric of an ad is the sum over its records, so each run gives a sorted list of (ad, value), and lists add up by
//! merging, the shortest first: the long run of old rows is passed over once, forward through memory.

use std::cmp::Reverse;
use std::ops::Range;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use crate::domain::fingerprint::Fingerprint;
use crate::domain::metrics::{Metric, Metrics};
use crate::domain::window::Granularity;
use crate::operators::context::State;
use crate::operators::records::{CountRecord, WindowCode};
use crate::operators::view::View;
use crate::trace::{Record, Run};

use super::rows::starting_in;
use super::{ReadError, Snapshot};

/// Fewer records than this are summed before a thread has started.
const RECORDS_IN_PARALLEL_MIN: usize = 100_000;

/// The value of each ad, by ad.
type Values = Vec<(Fingerprint, i64)>;

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
        let ads = self.values(&question)?;
        let winners = self.best(ads, limit).into_iter();
        Ok(winners
            .map(|(ad_id, ad)| (ad_id, self.view_of(ad).map_or(Metrics::default(), |view| question.sum(view, ad))))
            .collect())
    }

    /// The value of every ad. Each worker's ads are its own, so their lists need no merging.
    fn values(&self, question: &Question) -> Result<Vec<(i64, Fingerprint)>, ReadError> {
        let records: usize = self.workers.iter().flat_map(|worker| question.rows(&worker.view)).map(Run::len).sum();
        let lists: Result<Vec<Values>, ReadError> = if records < RECORDS_IN_PARALLEL_MIN {
            self.workers.iter().map(|worker| question.values(worker)).collect()
        } else {
            thread::scope(|scope| {
                let summing = self.workers.iter().map(|worker| scope.spawn(|| question.values(worker)));
                let summing: Vec<_> = summing.collect();
                let join =
                    |list: thread::ScopedJoinHandle<'_, _>| list.join().unwrap_or_else(|panic| resume_unwind(panic));
                summing.into_iter().map(join).collect()
            })
        };
        Ok(lists?.into_iter().flatten().map(|(ad, value)| (value, ad)).collect())
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
        let larger = one_window.filter(|one| *one != size);
        Ok(Question {
            metric,
            size,
            range: starting_in(size, start_ms, end_ms),
            larger: larger.map(|larger| WindowCode::new(larger, larger.window_of(start_ms))),
            users_known: one_window.is_some(),
            as_of: self.as_of(),
            deadline,
        })
    }

    /// The `limit` ads with the greatest values, descending, ties by name.
    fn best(&self, mut ads: Vec<(i64, Fingerprint)>, limit: usize) -> Vec<(Arc<str>, Fingerprint)> {
        if limit == 0 {
            return Vec::new();
        }
        if limit < ads.len() {
            // Ties with the last place are decided by name, so all of them stay in for now.
            let (_, (last, _), _) = ads.select_nth_unstable_by_key(limit - 1, |(value, _)| Reverse(*value));
            let last = *last;
            ads.retain(|(value, _)| *value >= last);
        }
        let named = ads.into_iter().map(|(value, ad)| (Reverse(value), self.shared.dictionary.name(ad), ad));
        let mut named: Vec<_> = named.collect();
        named.sort_unstable();
        named.truncate(limit);
        named.into_iter().map(|(_, name, ad)| (name, ad)).collect()
    }
}

impl Question {
    /// The runs that are summed.
    fn rows<'a>(&self, view: &'a View) -> &'a [Run<CountRecord>] {
        if self.size == view.windows.base { &view.base } else { &view.days }
    }

    /// The value of every ad of a worker that has a row in the range.
    fn values(&self, worker: &State) -> Result<Values, ReadError> {
        let view = &worker.view;
        let of_row = |record: &CountRecord| {
            let visible = self.range.contains(&record.window) && record.epoch <= self.as_of;
            visible.then(|| record.metrics.widen().get(self.metric))
        };
        let mut lists = self.rows(view).iter().map(|run| self.list(run, of_row)).collect::<Result<Vec<Values>, _>>()?;
        if let (Metric::UniqueUsers, Some(larger)) = (self.metric, self.larger) {
            for run in &view.overlaps {
                lists.push(self.list(run, |record| {
                    (record.window == larger && record.epoch <= self.as_of).then_some(-record.users)
                })?);
            }
        }
        while lists.len() > 1 {
            lists.sort_unstable_by_key(|list| Reverse(list.len()));
            let (a, b) = (lists.pop().unwrap_or_default(), lists.pop().unwrap_or_default());
            lists.push(add(&a, &b));
        }
        Ok(lists.pop().unwrap_or_default())
    }

    /// The values of a run's records, summed by ad. An ad without a row in the range is not in the list.
    fn list<R: Record>(&self, run: &Run<R>, value: impl Fn(&R) -> Option<i64>) -> Result<Values, ReadError> {
        let mut values = Values::new();
        for records in run.slices() {
            if self.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Err(ReadError::DeadlineExceeded);
            }
            for record in records {
                let Some(value) = value(record) else { continue };
                match values.last_mut() {
                    Some((ad, sum)) if *ad == record.key() => *sum += value,
                    _ => values.push((record.key(), value)),
                }
            }
        }
        Ok(values)
    }

    /// All metrics of one ad over the range.
    fn sum(&self, view: &View, ad: Fingerprint) -> Metrics {
        let of_ad = view.of_ad(ad);
        let rows = of_ad.rows(self.size, self.range.clone(), self.as_of);
        let mut sum = rows.into_iter().fold(Metrics::default(), |sum, (_, metrics)| sum + metrics);
        if let Some(larger) = self.larger {
            let window = larger.window();
            let rows = of_ad.rows(larger.granularity(), window..window + 1, self.as_of);
            sum.unique_users = rows.first().map_or(0, |(_, metrics)| metrics.unique_users);
        }
        if !self.users_known {
            sum.unique_users = 0;
        }
        sum
    }
}

/// The sum of two lists.
fn add(a: &Values, b: &Values) -> Values {
    let mut sum = Values::with_capacity(a.len() + b.len());
    let (mut from_a, mut from_b) = (0, 0);
    while from_a < a.len() && from_b < b.len() {
        let ((ad_a, value_a), (ad_b, value_b)) = (a[from_a], b[from_b]);
        sum.push(match ad_a.cmp(&ad_b) {
            std::cmp::Ordering::Less => (ad_a, value_a),
            std::cmp::Ordering::Equal => (ad_a, value_a + value_b),
            std::cmp::Ordering::Greater => (ad_b, value_b),
        });
        from_a += usize::from(ad_a <= ad_b);
        from_b += usize::from(ad_b <= ad_a);
    }
    sum.extend_from_slice(&a[from_a..]);
    sum.extend_from_slice(&b[from_b..]);
    sum
}
