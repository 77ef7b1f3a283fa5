//! From a failing history to a small one: records are taken out, and the plan made plainer, while it still fails.

use super::History;

/// The smallest history found that still fails, in at most `tries` tries.
pub fn shrink(history: &History, mut tries: usize, mut fails: impl FnMut(&History) -> bool) -> History {
    let mut smallest = history.clone();
    let mut chunk = smallest.records.len().div_ceil(2);
    while chunk > 0 {
        let mut progress = false;
        let mut start = 0;
        while start < smallest.records.len() {
            if tries == 0 {
                return smallest;
            }
            tries -= 1;
            let mut candidate = smallest.clone();
            let end = (start + chunk).min(candidate.records.len());
            candidate.records.drain(start..end);
            if fails(&candidate) {
                smallest = candidate;
                progress = true;
            } else {
                start += chunk;
            }
        }
        chunk = if progress && chunk == 1 { 1 } else { chunk / 2 };
    }
    for plainer in plainer_plans(&smallest) {
        if fails(&plainer) {
            smallest.plan = plainer.plan;
        }
    }
    smallest
}

fn plainer_plans(history: &History) -> Vec<History> {
    let mut plans = Vec::new();
    for workers in 1..history.plan.workers {
        let mut plainer = history.clone();
        plainer.plan.workers = workers;
        plans.push(plainer);
    }
    plans.reverse();
    plans
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Body;

    #[test]
    fn a_failure_shrinks_to_what_it_needs() {
        let history =
            (0..).map(History::from_seed).find(|history| verdicts(history) > 3 && history.records.len() > 40).unwrap();
        let small = shrink(&history, 10_000, |history| verdicts(history) >= 2);
        assert_eq!(small.records.len(), 2);
    }

    fn verdicts(history: &History) -> usize {
        history.records.iter().filter(|record| matches!(record.body, Body::Verdict(_))).count()
    }
}
