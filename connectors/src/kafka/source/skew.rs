//! Which partition is read next, so that none runs far ahead of another.
//!
//! The watermark follows the greatest event time of all partitions. While a long history is read, a partition that is read faster,
//! or that holds newer records, would carry it forward, and what the others hold would come too late. So the one that is furthest
//! behind, in record timestamps, goes first; and nothing is handed out that is more than a bound ahead of any partition that still
//! has records. A partition is at its end only when the broker has said so: one of which nothing is known yet holds back the rest.

/// What is known of a partition. Times are record timestamps, ms since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Front {
    /// How far it was handed out; `i64::MIN` where nothing was.
    pub(super) passed_ms: i64,
    /// What comes next.
    pub(super) next: Upcoming,
}

/// What comes next of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Upcoming {
    /// A batch: the timestamp of its first record, and the greatest.
    Batch { first_ms: i64, max_ms: i64 },
    /// It is not here yet.
    Unknown,
    /// There is nothing more for now.
    End,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// Hand out this partition's batch.
    Take(usize),
    /// Wait for this partition: what there is lies too far ahead of it.
    Held { by: usize },
    /// There is nothing to hand out.
    Nothing,
}

impl Front {
    /// Where it stands: it never goes back, however its records' timestamps lie.
    fn stands_ms(&self) -> i64 {
        match self.next {
            Upcoming::Batch { first_ms, .. } => self.passed_ms.max(first_ms),
            Upcoming::Unknown | Upcoming::End => self.passed_ms,
        }
    }
}

/// Chooses among partitions. A batch's timestamps must lie less than `max_skew_ms` apart: then the partition that is furthest
/// behind can always go on, once its next batch is here. Without a bound nobody waits.
pub(super) fn choose(fronts: impl Iterator<Item = Front> + Clone, max_skew_ms: Option<i64>) -> Choice {
    let batches = fronts.clone().enumerate().filter_map(|(partition, front)| match front.next {
        Upcoming::Batch { max_ms, .. } => Some((front.stands_ms(), partition, max_ms)),
        Upcoming::Unknown | Upcoming::End => None,
    });
    let Some((_, first, max_ms)) = batches.min() else { return Choice::Nothing };
    let unknown = fronts.enumerate().filter(|(_, front)| front.next == Upcoming::Unknown);
    let slowest = unknown.map(|(partition, front)| (front.passed_ms, partition)).min();
    match (slowest, max_skew_ms) {
        (Some((passed_ms, by)), Some(skew_ms)) if passed_ms.saturating_add(skew_ms) < max_ms => Choice::Held { by },
        _ => Choice::Take(first),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    fn batch(passed_ms: i64, first_ms: i64) -> Front {
        Front { passed_ms, next: Upcoming::Batch { first_ms, max_ms: first_ms } }
    }

    fn unknown(passed_ms: i64) -> Front {
        Front { passed_ms, next: Upcoming::Unknown }
    }

    fn end(passed_ms: i64) -> Front {
        Front { passed_ms, next: Upcoming::End }
    }

    fn choice(fronts: &[Front]) -> Choice {
        choose(fronts.iter().copied(), Some(HOUR_MS))
    }

    #[test]
    fn the_one_that_is_furthest_behind_goes_first() {
        assert_eq!(choice(&[batch(0, 5_000), batch(0, 4_000), batch(0, 6_000)]), Choice::Take(1));
        assert_eq!(choice(&[]), Choice::Nothing);
        assert_eq!(choice(&[end(0), unknown(7)]), Choice::Nothing);
    }

    #[test]
    fn one_of_which_nothing_is_known_holds_back_what_is_far_ahead() {
        assert_eq!(choice(&[batch(0, HOUR_MS), unknown(0)]), Choice::Take(0));
        assert_eq!(choice(&[batch(0, HOUR_MS + 1), unknown(0)]), Choice::Held { by: 1 });
        assert_eq!(choice(&[batch(0, 1), unknown(i64::MIN)]), Choice::Held { by: 1 });
        assert_eq!(choice(&[batch(0, 2 * HOUR_MS), unknown(HOUR_MS), unknown(9)]), Choice::Held { by: 2 });
        assert_eq!(choose([batch(0, 1), unknown(i64::MIN)].into_iter(), None), Choice::Take(0));
    }

    #[test]
    fn one_at_its_end_holds_nobody_back() {
        assert_eq!(choice(&[batch(0, 30 * HOUR_MS), end(0)]), Choice::Take(0));
        assert_eq!(choice(&[batch(0, 30 * HOUR_MS), end(i64::MIN)]), Choice::Take(0));
    }

    #[test]
    fn timestamps_that_go_back_do_not_take_a_partition_back() {
        // Partition 0 has passed hour 9; that its next record is of hour 1 does not put it before partition 1.
        assert_eq!(choice(&[batch(9 * HOUR_MS, HOUR_MS), batch(0, 8 * HOUR_MS)]), Choice::Take(1));
    }

    /// Whatever is delivered when, nothing is handed out that is over the bound ahead of a partition that has records left, and
    /// everything is handed out in the end.
    #[test]
    fn no_partition_runs_ahead_and_none_is_stuck() {
        for seed in 0..200_u64 {
            let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            let mut random = |bound: u64| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) % bound
            };
            // Every partition is a list of ascending timestamps.
            let mut left: Vec<Vec<i64>> = (0..3)
                .map(|_| {
                    let start = random(50) as i64 * HOUR_MS;
                    let mut times: Vec<i64> = (0..10).map(|n| start + n * random(HOUR_MS as u64) as i64).collect();
                    times.sort_unstable();
                    times.reverse();
                    times
                })
                .collect();
            let mut fronts = [unknown(i64::MIN); 3];
            for _ in 0..1_000 {
                let at = random(3) as usize;
                if fronts[at].next == Upcoming::Unknown {
                    fronts[at].next = match left[at].last() {
                        Some(&first_ms) => Upcoming::Batch { first_ms, max_ms: first_ms },
                        None => Upcoming::End,
                    };
                }
                let Choice::Take(taken) = choice(&fronts) else { continue };
                let time = left[taken].pop().expect("it had a batch");
                for others in left.iter().filter(|times| !times.is_empty()) {
                    assert!(time <= others[others.len() - 1] + HOUR_MS, "seed {seed}");
                }
                fronts[taken] = unknown(time);
            }
            assert!(left.iter().all(Vec::is_empty), "seed {seed}: {left:?}");
        }
    }
}
