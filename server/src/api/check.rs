//! The rules that requests must keep, each with its reason and its field.

use recount_dataflow::domain::metrics::Metric;
use recount_dataflow::domain::rules::MINUTE_MS;
use recount_dataflow::domain::validate::{ID_BYTES_MAX, TIME_END_MS};
use recount_dataflow::domain::window::Granularity;

use super::errors::{CallError, ErrorReason};
use crate::convert::names;
use crate::limits::{ADS_MAX, LIMIT_DEFAULT, LIMIT_MAX, PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX, RANGE_MS_MAX};

/// A half-open range of time in which windows start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
}

/// One to [`ADS_MAX`] ads, sorted by bytes, each once.
pub(crate) fn ads(ad_ids: Vec<String>) -> Result<Vec<String>, CallError> {
    if ad_ids.is_empty() {
        return Err(CallError::field(ErrorReason::AdsMissing, "ad_ids", "name at least one ad"));
    }
    ads_or_all(ad_ids)
}

/// The same, where none means all.
pub(crate) fn ads_or_all(mut ad_ids: Vec<String>) -> Result<Vec<String>, CallError> {
    if ad_ids.len() > ADS_MAX {
        let message = format!("{} ads were asked for; at most {ADS_MAX} are allowed", ad_ids.len());
        return Err(CallError::field(ErrorReason::TooManyAds, "ad_ids", message).with("limit", ADS_MAX));
    }
    for ad_id in &ad_ids {
        check_ad("ad_ids", ad_id)?;
    }
    ad_ids.sort_unstable();
    ad_ids.dedup();
    Ok(ad_ids)
}

/// An id of 1 to 128 bytes.
pub(crate) fn check_ad(field: &'static str, ad_id: &str) -> Result<(), CallError> {
    if (1..=ID_BYTES_MAX).contains(&ad_id.len()) {
        return Ok(());
    }
    let message = format!("an ad id has {} bytes; it must have 1 to {ID_BYTES_MAX}", ad_id.len());
    Err(CallError::field(ErrorReason::AdIdInvalid, field, message))
}

/// A named granularity.
pub(crate) fn granularity(value: i32) -> Result<Granularity, CallError> {
    names::granularity_from_wire(value).ok_or_else(|| {
        let found = if value == 0 { "missing".to_owned() } else { value.to_string() };
        let message = format!("granularity is {found}; it must be MINUTE, FIVE_MINUTES, HOUR or DAY");
        CallError::field(ErrorReason::GranularityInvalid, "granularity", message)
    })
}

/// A range that is not backwards and not too long, cut to the times that records can carry.
pub(crate) fn range(start_ms: i64, end_ms: i64) -> Result<Range, CallError> {
    if end_ms < start_ms {
        let message = format!("end_ms {end_ms} lies before start_ms {start_ms}");
        return Err(CallError::field(ErrorReason::RangeInvalid, "end_ms", message));
    }
    let length_ms = end_ms.saturating_sub(start_ms);
    if length_ms > RANGE_MS_MAX {
        let message = format!("the range spans {length_ms} ms; at most {RANGE_MS_MAX} are allowed");
        return Err(CallError::field(ErrorReason::RangeTooLong, "end_ms", message).with("limit_ms", RANGE_MS_MAX));
    }
    let clamp = |time_ms: i64| time_ms.clamp(0, TIME_END_MS);
    Ok(Range { start_ms: clamp(start_ms), end_ms: clamp(end_ms) })
}

/// A range of whole minutes that is not empty.
pub(crate) fn range_of_minutes(start_ms: i64, end_ms: i64) -> Result<Range, CallError> {
    for (field, time_ms) in [("start_ms", start_ms), ("end_ms", end_ms)] {
        if time_ms.rem_euclid(MINUTE_MS) != 0 {
            let message = format!("{field} is {time_ms}; the range must be whole minutes, multiples of {MINUTE_MS}");
            return Err(CallError::field(ErrorReason::RangeInvalid, field, message));
        }
    }
    if start_ms == end_ms {
        return Err(CallError::field(ErrorReason::RangeInvalid, "end_ms", "the range is empty"));
    }
    range(start_ms, end_ms)
}

/// The one window that a range is, if it is one.
pub(crate) fn one_window(range: Range) -> Option<Granularity> {
    let is_window =
        |g: &Granularity| range.end_ms - range.start_ms == g.size_ms() && range.start_ms.rem_euclid(g.size_ms()) == 0;
    Granularity::ALL.into_iter().find(is_window)
}

/// The metric to order by; `clicks` where none is named.
pub(crate) fn metric(name: &str) -> Result<Metric, CallError> {
    if name.is_empty() {
        return Ok(Metric::Clicks);
    }
    names::metric_by_name(name).ok_or_else(|| {
        let message = format!("there is no metric {name:?}; the metrics are {}", names::metric_names());
        CallError::field(ErrorReason::MetricUnknown, "order_by", message)
    })
}

/// The rows of a page.
pub(crate) fn page_rows(page_size: i32) -> Result<usize, CallError> {
    bounded(page_size, PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX, ErrorReason::PageSizeInvalid, "page_size")
}

/// The ads or clicks of an answer.
pub(crate) fn limit(limit: i32) -> Result<usize, CallError> {
    bounded(limit, LIMIT_DEFAULT, LIMIT_MAX, ErrorReason::LimitInvalid, "limit")
}

fn bounded(
    value: i32,
    default: usize,
    max: usize,
    reason: ErrorReason,
    field: &'static str,
) -> Result<usize, CallError> {
    match usize::try_from(value) {
        Ok(0) => Ok(default),
        Ok(value) if value <= max => Ok(value),
        _ => {
            let message = format!("{field} is {value}; it must be from 1 to {max}, or 0 for {default}");
            Err(CallError::field(reason, field, message).with("limit", max))
        }
    }
}

#[cfg(test)]
mod tests {
    use recount_dataflow::domain::rules::{DAY_MS, HOUR_MS};

    use super::*;

    #[test]
    fn ads_are_sorted_and_named_once() {
        let sorted = ads(vec!["b".into(), "a".into(), "b".into()]).expect("these are fine");
        assert_eq!(sorted, ["a", "b"]);
        assert_eq!(ads(vec![]).expect_err("none").reason, ErrorReason::AdsMissing);
        assert_eq!(ads(vec!["x".into(); 1_001]).expect_err("many").reason, ErrorReason::TooManyAds);
        assert_eq!(ads(vec!["x".repeat(129)]).expect_err("long").reason, ErrorReason::AdIdInvalid);
        assert!(ads(vec!["x".repeat(128)]).is_ok());
    }

    #[test]
    fn extreme_ranges_are_refused_and_never_overflow() {
        assert_eq!(range(i64::MIN, i64::MAX).expect_err("long").reason, ErrorReason::RangeTooLong);
        assert_eq!(range(1, 0).expect_err("backwards").reason, ErrorReason::RangeInvalid);
        assert_eq!(range(-5, 5), Ok(Range { start_ms: 0, end_ms: 5 }));
        assert_eq!(range_of_minutes(0, 60_001).expect_err("odd").reason, ErrorReason::RangeInvalid);
        assert_eq!(range_of_minutes(60_000, 60_000).expect_err("empty").reason, ErrorReason::RangeInvalid);
    }

    #[test]
    fn one_window_is_aligned_and_whole() {
        let at = |start_ms, end_ms| one_window(Range { start_ms, end_ms });
        assert_eq!(at(DAY_MS, 2 * DAY_MS), Some(Granularity::Day));
        assert_eq!(at(HOUR_MS, 2 * HOUR_MS), Some(Granularity::Hour));
        assert_eq!(at(MINUTE_MS, 2 * MINUTE_MS), Some(Granularity::Minute));
        assert_eq!(at(MINUTE_MS, MINUTE_MS + HOUR_MS), None);
        assert_eq!(at(0, 2 * HOUR_MS), None);
    }

    #[test]
    fn sizes_have_a_default_and_a_bound() {
        assert_eq!(page_rows(0), Ok(10_000));
        assert_eq!(page_rows(100_000), Ok(100_000));
        assert_eq!(page_rows(-1).expect_err("negative").reason, ErrorReason::PageSizeInvalid);
        assert_eq!(limit(10_001).expect_err("large").reason, ErrorReason::LimitInvalid);
    }
}
