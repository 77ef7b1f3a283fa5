//! The names of granularities and metrics, as the wire, the command line and people write them.

use recount_dataflow::domain::metrics::Metric;
use recount_dataflow::domain::window::Granularity;

use super::wire;

/// The name on the command line: `five-minutes`.
pub(crate) fn granularity_name(granularity: Granularity) -> &'static str {
    match granularity {
        Granularity::Minute => "minute",
        Granularity::FiveMinutes => "five-minutes",
        Granularity::Hour => "hour",
        Granularity::Day => "day",
    }
}

/// The granularity of either spelling: `five-minutes` or `FIVE_MINUTES`.
pub(crate) fn granularity_by_name(name: &str) -> Option<Granularity> {
    Granularity::ALL.into_iter().find(|&g| name == granularity_name(g) || name == g.as_str())
}

/// The granularity of a message's field; `None` where it is unspecified or unknown.
pub(crate) fn granularity_from_wire(value: i32) -> Option<Granularity> {
    match wire::Granularity::try_from(value).ok()? {
        wire::Granularity::Unspecified => None,
        wire::Granularity::Minute => Some(Granularity::Minute),
        wire::Granularity::FiveMinutes => Some(Granularity::FiveMinutes),
        wire::Granularity::Hour => Some(Granularity::Hour),
        wire::Granularity::Day => Some(Granularity::Day),
    }
}

/// The metric of a name of the contract.
pub(crate) fn metric_by_name(name: &str) -> Option<Metric> {
    Metric::ALL.into_iter().find(|metric| metric.as_str() == name)
}

/// The names of all metrics, for messages to people.
pub(crate) fn metric_names() -> String {
    Metric::ALL.map(Metric::as_str).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_granularity_is_found_by_both_its_names() {
        for granularity in Granularity::ALL {
            assert_eq!(granularity_by_name(granularity_name(granularity)), Some(granularity));
            assert_eq!(granularity_by_name(granularity.as_str()), Some(granularity));
        }
        assert_eq!(granularity_by_name("week"), None);
    }
}
