//! The tables of rows. They keep what the engine keeps: rows of minutes and of days; of five minutes and of hours just how often
//! their minutes' users repeat, for the rest of such a row is a sum.

use std::collections::HashMap;

use hashbrown::HashTable;
use recount_dataflow::domain::fingerprint::Fingerprint;
use recount_dataflow::domain::metrics::Metrics;
use recount_dataflow::domain::resolution::Role;
use recount_dataflow::domain::window::Granularity;

use super::clicks::Update;
use super::visits::{Uniques, Visits};
use crate::checksum::Checksums;

/// One row: a cache line.
struct Row {
    ad_hash: u64,
    ad_low: u32,
    window: u32,
    metrics: Metrics,
}

const _: () = assert!(size_of::<Row>() == 64, "a row is a cache line");

/// By how much the distinct users of a larger window are fewer than the sum over its minutes.
struct Overlap {
    ad_hash: u64,
    ad_low: u32,
    window: u32,
    users: i32,
}

/// The rows of the ads that one worker owns, and their users.
#[derive(Default)]
pub(crate) struct Rows {
    minutes: HashTable<Row>,
    days: HashTable<Row>,
    /// Of five minutes and of hours.
    overlaps: [HashTable<Overlap>; 2],
    visits: Visits,
}

impl Rows {
    /// Applies what became of one copy.
    pub(crate) fn apply(&mut self, update: &Update) {
        let price_micros = update.price_micros;
        let before = update.before().map_or(Metrics::default(), |role| role.metrics(price_micros));
        let uniques = self.uniques(update);
        let change = update.after().metrics(price_micros) - before;
        let [minute, five_minutes, hour, day] =
            Granularity::ALL.map(|granularity| Granularity::Minute.per(granularity));
        let users = |index: usize| Metrics { unique_users: uniques[index] as i64, ..change };
        add(&mut self.minutes, update, update.minute / minute, users(0));
        add(&mut self.days, update, update.minute / day, users(3));
        for (index, minutes) in [(0, five_minutes), (1, hour)] {
            let repeats = uniques[0] - uniques[index + 1];
            if repeats != 0 {
                add_overlap(&mut self.overlaps[index], update, update.minute / minutes, repeats);
            }
        }
    }

    fn uniques(&mut self, update: &Update) -> Uniques {
        let valid = |role| (role == Some(Role::Valid)) as i8;
        let step = valid(Some(update.after())) - valid(update.before());
        if step == 0 || (update.visit_hash, update.visit_low) == (0, 0) {
            return [0; 4];
        }
        self.visits.step(update.visit_hash, update.visit_low, update.minute, step)
    }

    /// What the rows of every granularity come to.
    pub(crate) fn checksums(&self) -> Checksums {
        let mut sums = Checksums::default();
        for (table, granularity) in [(&self.minutes, Granularity::Minute), (&self.days, Granularity::Day)] {
            for row in table.iter().filter(|row| row.metrics.is_row()) {
                sums.add_row(granularity, row.ad(), row.window, &row.metrics);
            }
        }
        for (overlaps, granularity) in self.overlaps.iter().zip([Granularity::FiveMinutes, Granularity::Hour]) {
            for ((ad, window), metrics) in self.sums(overlaps, granularity) {
                sums.add_row(granularity, ad, window, &metrics);
            }
        }
        sums
    }

    /// The rows that are not kept: sums of minutes without the users that repeat.
    fn sums(&self, overlaps: &HashTable<Overlap>, granularity: Granularity) -> HashMap<(Fingerprint, u32), Metrics> {
        let mut rows: HashMap<(Fingerprint, u32), Metrics> = HashMap::new();
        for row in self.minutes.iter().filter(|row| row.metrics.is_row()) {
            let window = row.window / Granularity::Minute.per(granularity);
            *rows.entry((row.ad(), window)).or_default() += row.metrics;
        }
        for overlap in overlaps {
            let ad = Fingerprint { hash: overlap.ad_hash, low: overlap.ad_low };
            let row = rows.get_mut(&(ad, overlap.window)).expect("users repeat only where there is a row");
            row.unique_users -= overlap.users as i64;
        }
        rows
    }
}

impl Row {
    fn ad(&self) -> Fingerprint {
        Fingerprint { hash: self.ad_hash, low: self.ad_low }
    }
}

fn add(table: &mut HashTable<Row>, update: &Update, window: u32, change: Metrics) {
    let Update { ad_hash, ad_low, .. } = *update;
    let entry = table.entry(
        hash(ad_hash, window),
        |row| row.ad_hash == ad_hash && row.window == window && row.ad_low == ad_low,
        |row| hash(row.ad_hash, row.window),
    );
    let row = entry.or_insert_with(|| Row { ad_hash, ad_low, window, metrics: Metrics::default() });
    row.into_mut().metrics += change;
}

fn add_overlap(table: &mut HashTable<Overlap>, update: &Update, window: u32, repeats: i8) {
    let Update { ad_hash, ad_low, .. } = *update;
    let entry = table.entry(
        hash(ad_hash, window),
        |overlap| overlap.ad_hash == ad_hash && overlap.window == window && overlap.ad_low == ad_low,
        |overlap| hash(overlap.ad_hash, overlap.window),
    );
    let overlap = entry.or_insert_with(|| Overlap { ad_hash, ad_low, window, users: 0 });
    overlap.into_mut().users += repeats as i32;
}

/// Ads are hashes already; an odd factor spreads their windows.
fn hash(ad_hash: u64, window: u32) -> u64 {
    ad_hash ^ (window as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
