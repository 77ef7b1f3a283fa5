//! Which copies count.
//!
//! Order an id's copies by event time, equal ones by their contents. A copy is a click if it is the first, or if the copy
//! before it is more than `dedup_horizon` older; every other copy is a duplicate. So the copies fall into *groups* in which
//! each is within the horizon of the one before, and the first of each group is the click.

use std::cmp::Ordering;

use super::fact::Fact;
use super::rules::Rules;

/// The order of the copies of one id: event time, then price, then the order of contents. Copies that are equal so far are
/// identical in all that is counted, and the one with the least position stands for them.
pub fn copy_order(a: &Fact, b: &Fact) -> Ordering {
    (a.event_ms().cmp(&b.event_ms()))
        .then_with(|| a.price_micros().cmp(&b.price_micros()))
        .then_with(|| a.order().cmp(&b.order()))
        .then_with(|| a.position().cmp(&b.position()))
}

/// Splits the copies of one id, in [`copy_order`], into groups; the first of each is the click.
pub fn groups<'a>(copies: &'a [Fact], rules: &Rules) -> impl Iterator<Item = &'a [Fact]> {
    let horizon_ms = rules.dedup_horizon_ms;
    copies.chunk_by(move |before, after| after.event_ms() - before.event_ms() <= horizon_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::Click;
    use crate::domain::fact::Position;
    use crate::domain::fingerprint::HashKey;
    use crate::domain::rules::DAY_MS;

    fn copies(days: &[i64]) -> Vec<Fact> {
        let key = HashKey::new([0; 16]);
        let copy = |day: &i64| {
            let click = Click { click_id: "c".into(), ad_id: "a".into(), event_ms: day * DAY_MS, ..Click::default() };
            Fact::copy(&click, Position::default(), &key, &Rules::default())
        };
        let mut copies: Vec<Fact> = days.iter().map(copy).collect();
        copies.sort_by(copy_order);
        copies
    }

    fn clicks(days: &[i64]) -> Vec<i64> {
        groups(&copies(days), &Rules::default()).map(|group| group[0].event_ms() / DAY_MS).collect()
    }

    #[test]
    fn the_first_copy_counts_and_one_beyond_the_horizon_counts_again() {
        assert_eq!(clicks(&[12]), [12]);
        assert_eq!(clicks(&[14, 12, 13]), [12]);
        assert_eq!(clicks(&[12, 19]), [12], "exactly the horizon apart is a duplicate");
        assert_eq!(clicks(&[12, 20]), [12, 20]);
    }

    #[test]
    fn the_horizon_is_measured_from_the_copy_before_not_from_the_click() {
        assert_eq!(clicks(&[12, 18, 24, 30]), [12]);
        assert_eq!(clicks(&[12, 20, 16]), [12], "a copy between joins two clicks into one");
    }
}
