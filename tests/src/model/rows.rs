//! Windows and metrics (4): every row of every granularity, counted from all clicks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use recount_dataflow::domain::metrics::{Metric, Metrics};
use recount_dataflow::domain::window::Granularity;

use super::RowKey;
use super::groups::{Copy, Group, Id};

/// The eight metrics, each counted by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Eight {
    /// Copies.
    pub received: i64,
    /// Copies that are not clicks.
    pub duplicates: i64,
    /// Clicks, whatever their verdict.
    pub gross_clicks: i64,
    /// Invalid clicks.
    pub invalid_clicks: i64,
    /// Valid clicks.
    pub clicks: i64,
    /// Distinct non-empty users among the valid clicks.
    pub unique_users: i64,
    /// Sum of the prices of the valid clicks, in millionths.
    pub spend_micros: i64,
    /// Sum of the prices of the invalid clicks, in millionths.
    pub invalid_spend_micros: i64,
}

impl Eight {
    /// One metric by name.
    pub fn get(&self, metric: Metric) -> i64 {
        match metric {
            Metric::Received => self.received,
            Metric::Duplicates => self.duplicates,
            Metric::GrossClicks => self.gross_clicks,
            Metric::InvalidClicks => self.invalid_clicks,
            Metric::Clicks => self.clicks,
            Metric::UniqueUsers => self.unique_users,
            Metric::SpendMicros => self.spend_micros,
            Metric::InvalidSpendMicros => self.invalid_spend_micros,
        }
    }

    /// The eight as an engine has them.
    pub fn of(metrics: &Metrics) -> Eight {
        Eight {
            received: metrics.get(Metric::Received),
            duplicates: metrics.get(Metric::Duplicates),
            gross_clicks: metrics.get(Metric::GrossClicks),
            invalid_clicks: metrics.get(Metric::InvalidClicks),
            clicks: metrics.get(Metric::Clicks),
            unique_users: metrics.get(Metric::UniqueUsers),
            spend_micros: metrics.get(Metric::SpendMicros),
            invalid_spend_micros: metrics.get(Metric::InvalidSpendMicros),
        }
    }
}

impl std::ops::AddAssign for Eight {
    fn add_assign(&mut self, other: Eight) {
        self.received += other.received;
        self.duplicates += other.duplicates;
        self.gross_clicks += other.gross_clicks;
        self.invalid_clicks += other.invalid_clicks;
        self.clicks += other.clicks;
        self.unique_users += other.unique_users;
        self.spend_micros += other.spend_micros;
        self.invalid_spend_micros += other.invalid_spend_micros;
    }
}

/// The four rows that a copy falls in.
pub(super) fn rows_of(copy: &Copy) -> [RowKey; 4] {
    [
        (Granularity::Minute, 60_000),
        (Granularity::FiveMinutes, 300_000),
        (Granularity::Hour, 3_600_000),
        (Granularity::Day, 86_400_000),
    ]
    .map(|(granularity, size_ms)| RowKey {
        ad_id: copy.ad_id.clone(),
        granularity,
        start_ms: copy.event_ms.div_euclid(size_ms) * size_ms,
    })
}

/// Every row.
pub(super) fn recount(groups: &BTreeMap<Id, Vec<Group<'_>>>) -> BTreeMap<RowKey, Eight> {
    let mut rows: BTreeMap<RowKey, Eight> = BTreeMap::new();
    let mut users: BTreeMap<RowKey, BTreeSet<Arc<str>>> = BTreeMap::new();
    for group in groups.values().flatten() {
        for copy in &group.duplicates {
            for key in rows_of(copy) {
                *rows.entry(key).or_default() += Eight { received: 1, duplicates: 1, ..Eight::default() };
            }
        }
        let click = group.click;
        let one = Eight { received: 1, gross_clicks: 1, ..Eight::default() };
        let one = match group.invalid() {
            true => Eight { invalid_clicks: 1, invalid_spend_micros: click.price_micros, ..one },
            false => Eight { clicks: 1, spend_micros: click.price_micros, ..one },
        };
        for key in rows_of(click) {
            if !group.invalid() && !click.user_id.is_empty() {
                users.entry(key.clone()).or_default().insert(click.user_id.clone());
            }
            *rows.entry(key).or_default() += one;
        }
    }
    for (key, users) in users {
        rows.get_mut(&key).unwrap().unique_users = users.len() as i64;
    }
    rows
}
