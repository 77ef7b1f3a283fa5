//! When a call has to be answered. `grpc-timeout` is a number and a unit: hours, minutes, seconds, or milli-, micro- and
//! nanoseconds (`H M S m u n`).

use std::time::{Duration, Instant};

use tonic::metadata::MetadataMap;

use crate::api::call::DEADLINE_DEFAULT;

/// The part of a client's deadline that is kept back so that our own error, with its reason, arrives before the transport's.
const SPARE_MAX: Duration = Duration::from_millis(20);

/// The client's deadline, or our own where it set none.
pub(super) fn deadline(metadata: &MetadataMap) -> Instant {
    client_deadline(metadata).unwrap_or_else(|| Instant::now() + DEADLINE_DEFAULT)
}

/// The client's own deadline; `None` where it set none.
pub(super) fn client_deadline(metadata: &MetadataMap) -> Option<Instant> {
    let timeout = parse_timeout(metadata.get("grpc-timeout")?.to_str().ok()?)?;
    let spare = (timeout / 10).min(SPARE_MAX);
    Some(Instant::now() + (timeout - spare))
}

fn parse_timeout(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let number = &text[..text.len() - unit.len_utf8()];
    if number.is_empty() || number.len() > 8 {
        return None;
    }
    let value: u64 = number.parse().ok()?;
    match unit {
        'H' => Some(Duration::from_secs(value * 3_600)),
        'M' => Some(Duration::from_secs(value * 60)),
        'S' => Some(Duration::from_secs(value)),
        'm' => Some(Duration::from_millis(value)),
        'u' => Some(Duration::from_micros(value)),
        'n' => Some(Duration::from_nanos(value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_have_a_number_of_at_most_eight_digits_and_a_unit() {
        assert_eq!(parse_timeout("100m"), Some(Duration::from_millis(100)));
        assert_eq!(parse_timeout("99999999H"), Some(Duration::from_secs(99_999_999 * 3_600)));
        for broken in ["", "m", "100", "100x", "123456789S", "-1S", "1.5S", "1ö"] {
            assert_eq!(parse_timeout(broken), None, "{broken}");
        }
    }
}
