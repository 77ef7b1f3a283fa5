//! The metrics of one row: six that are kept, two that are derived.

use std::ops::{Add, AddAssign, Sub};

/// The metrics of one (ad, window). `duplicates` and `clicks` are derived, so the identity of the contract holds by construction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Copies.
    pub received: i64,
    /// Clicks, whatever their verdict.
    pub gross_clicks: i64,
    /// Clicks whose standing verdict is `INVALID`.
    pub invalid_clicks: i64,
    /// Distinct non-empty users among the valid clicks.
    pub unique_users: i64,
    /// Sum of the prices of the valid clicks, in millionths.
    pub spend_micros: i64,
    /// Sum of the prices of the invalid clicks, in millionths.
    pub invalid_spend_micros: i64,
}

/// The eight metrics by name, as requests name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Metric {
    /// See [`Metrics::received`].
    Received,
    /// See [`Metrics::duplicates`].
    Duplicates,
    /// See [`Metrics::gross_clicks`].
    GrossClicks,
    /// See [`Metrics::invalid_clicks`].
    InvalidClicks,
    /// See [`Metrics::clicks`].
    Clicks,
    /// See [`Metrics::unique_users`].
    UniqueUsers,
    /// See [`Metrics::spend_micros`].
    SpendMicros,
    /// See [`Metrics::invalid_spend_micros`].
    InvalidSpendMicros,
}

impl Metric {
    /// Every metric, in the order of the contract.
    pub const ALL: [Metric; 8] = [
        Metric::Received,
        Metric::Duplicates,
        Metric::GrossClicks,
        Metric::InvalidClicks,
        Metric::Clicks,
        Metric::UniqueUsers,
        Metric::SpendMicros,
        Metric::InvalidSpendMicros,
    ];

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Metric::Received => "received",
            Metric::Duplicates => "duplicates",
            Metric::GrossClicks => "gross_clicks",
            Metric::InvalidClicks => "invalid_clicks",
            Metric::Clicks => "clicks",
            Metric::UniqueUsers => "unique_users",
            Metric::SpendMicros => "spend_micros",
            Metric::InvalidSpendMicros => "invalid_spend_micros",
        }
    }
}

impl Metrics {
    /// The metrics as files hold them, so their order never changes.
    pub(crate) fn to_words(self) -> [i64; 6] {
        let Metrics { received, gross_clicks, invalid_clicks, unique_users, spend_micros, invalid_spend_micros } = self;
        [received, gross_clicks, invalid_clicks, unique_users, spend_micros, invalid_spend_micros]
    }

    /// The metrics from their [words](Metrics::to_words).
    pub(crate) fn from_words(words: [i64; 6]) -> Metrics {
        let [received, gross_clicks, invalid_clicks, unique_users, spend_micros, invalid_spend_micros] = words;
        Metrics { received, gross_clicks, invalid_clicks, unique_users, spend_micros, invalid_spend_micros }
    }

    /// Copies that are not clicks.
    pub fn duplicates(&self) -> i64 {
        self.received - self.gross_clicks
    }

    /// Valid clicks: what is billed.
    pub fn clicks(&self) -> i64 {
        self.gross_clicks - self.invalid_clicks
    }

    /// Whether a row exists: it does once a copy was received.
    pub fn is_row(&self) -> bool {
        self.received > 0
    }

    /// Whether nothing differs from an absent row.
    pub fn is_zero(&self) -> bool {
        *self == Metrics::default()
    }

    /// One metric by name.
    pub fn get(&self, metric: Metric) -> i64 {
        match metric {
            Metric::Received => self.received,
            Metric::Duplicates => self.duplicates(),
            Metric::GrossClicks => self.gross_clicks,
            Metric::InvalidClicks => self.invalid_clicks,
            Metric::Clicks => self.clicks(),
            Metric::UniqueUsers => self.unique_users,
            Metric::SpendMicros => self.spend_micros,
            Metric::InvalidSpendMicros => self.invalid_spend_micros,
        }
    }
}

impl Add for Metrics {
    type Output = Metrics;

    fn add(self, other: Metrics) -> Metrics {
        Metrics {
            received: self.received + other.received,
            gross_clicks: self.gross_clicks + other.gross_clicks,
            invalid_clicks: self.invalid_clicks + other.invalid_clicks,
            unique_users: self.unique_users + other.unique_users,
            spend_micros: self.spend_micros + other.spend_micros,
            invalid_spend_micros: self.invalid_spend_micros + other.invalid_spend_micros,
        }
    }
}

impl AddAssign for Metrics {
    fn add_assign(&mut self, other: Metrics) {
        *self = *self + other;
    }
}

impl Sub for Metrics {
    type Output = Metrics;

    fn sub(self, other: Metrics) -> Metrics {
        Metrics {
            received: self.received - other.received,
            gross_clicks: self.gross_clicks - other.gross_clicks,
            invalid_clicks: self.invalid_clicks - other.invalid_clicks,
            unique_users: self.unique_users - other.unique_users,
            spend_micros: self.spend_micros - other.spend_micros,
            invalid_spend_micros: self.invalid_spend_micros - other.invalid_spend_micros,
        }
    }
}
