//! Which partition the others wait for: known to whoever asks, and said where it lasts.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::skew::{Front, Upcoming};
use super::stats::StreamStats;

/// After how long it is said that all wait for a partition, and how often.
const SAY_AFTER: Duration = Duration::from_secs(5);
const SAY_EVERY: Duration = Duration::from_secs(30);

/// A partition that should be read, and that nobody answers for. Others wait for it as for one of which nothing has come yet.
pub(super) struct AbsentFeed {
    pub(super) stats: Arc<StreamStats>,
    /// Where it stands, for the others.
    pub(super) passed_ms: i64,
}

impl AbsentFeed {
    pub(super) fn front(&self) -> Front {
        Front { passed_ms: self.passed_ms, next: Upcoming::Unknown }
    }
}

/// Which partition the others wait for.
#[derive(Default)]
pub(super) struct Holding {
    by: Option<Arc<StreamStats>>,
    since: Option<Instant>,
    said: Option<Instant>,
}

impl Holding {
    /// Nothing waits, or everything for this partition.
    pub(super) fn tell(&mut self, by: Option<&Arc<StreamStats>>, now: Instant) {
        if !same(self.by.as_ref(), by) {
            let set = |one: &Option<Arc<StreamStats>>, is| {
                one.iter().for_each(|one| one.is_holding.store(is, Ordering::Relaxed));
            };
            set(&self.by, false);
            self.by = by.cloned();
            set(&self.by, true);
            (self.since, self.said) = (by.map(|_| now), None);
        }
        if let Some(stats) = self.by.as_ref().filter(|_| self.is_to_be_said(now)) {
            let (topic, partition) = stats.place();
            tracing::warn!(
                topic,
                partition,
                "no records are handed out: those that are here lie more than source.kafka.max_partition_skew ahead of this \
                 partition, of which nothing comes. See whether its broker is there, and whether this user may read it; reads go on"
            );
            self.said = Some(now);
        }
    }

    fn is_to_be_said(&self, now: Instant) -> bool {
        let lasts = self.since.is_some_and(|since| since + SAY_AFTER <= now);
        lasts && self.said.is_none_or(|said| said + SAY_EVERY <= now)
    }
}

fn same(one: Option<&Arc<StreamStats>>, other: Option<&Arc<StreamStats>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (None, None) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lasts_is_said_now_and_then_and_what_passes_is_not() {
        let partition = |number| Arc::new(StreamStats::absent("clicks", number));
        let (one, other) = (partition(0), partition(1));
        let is_holding = |stats: &Arc<StreamStats>| stats.is_holding.load(Ordering::Relaxed);
        let mut holding = Holding::default();
        let start = Instant::now();
        holding.tell(Some(&one), start);
        assert!(is_holding(&one) && !holding.is_to_be_said(start));
        assert!(holding.is_to_be_said(start + SAY_AFTER));
        holding.tell(Some(&one), start + SAY_AFTER);
        assert!(!holding.is_to_be_said(start + SAY_AFTER + SAY_AFTER), "it was said");
        assert!(holding.is_to_be_said(start + SAY_AFTER + SAY_EVERY));
        holding.tell(Some(&other), start + SAY_AFTER);
        assert!(!is_holding(&one) && is_holding(&other) && !holding.is_to_be_said(start + SAY_AFTER));
        holding.tell(None, start + SAY_AFTER);
        assert!(!is_holding(&other) && !holding.is_to_be_said(start + SAY_EVERY + SAY_EVERY));
    }
}
