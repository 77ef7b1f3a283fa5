//! Durations and sizes as people write them.

use std::time::Duration;

const DURATION_UNITS_MS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const SIZE_UNITS: [(&str, u64); 4] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("B", 1)];

/// A whole number of milliseconds, seconds, minutes, hours or days: `500ms`, `30s`, `5m`, `2h`, `7d`, or `0`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let millis = match text {
        "0" => Some(0),
        _ => with_unit(text, &DURATION_UNITS_MS),
    };
    millis.map(Duration::from_millis).ok_or_else(|| {
        format!("{text:?} is no duration; write a whole number and a unit, as in 500ms, 30s, 5m, 2h or 7d")
    })
}

/// A whole number of bytes: `65536B`, `64KiB`, `512MiB`, `2GiB`, or `0`.
pub(crate) fn size(text: &str) -> Result<usize, String> {
    let bytes = match text {
        "0" => Some(0),
        _ => with_unit(text, &SIZE_UNITS),
    };
    bytes
        .and_then(|bytes| usize::try_from(bytes).ok())
        .ok_or_else(|| format!("{text:?} is no size; write a whole number and a unit, as in 64KiB, 512MiB or 2GiB"))
}

/// A size that holds something.
pub(crate) fn some_size(text: &str) -> Result<usize, String> {
    match size(text)? {
        0 => Err("0 holds nothing; write a whole number and a unit, as in 64KiB, 512MiB or 2GiB".to_owned()),
        bytes => Ok(bytes),
    }
}

fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let &(_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(duration("7d"), Ok(Duration::from_secs(7 * 86_400)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        for broken in ["", "s", "5", "-5s", "1.5s", "5 s", "5M", "99999999999999999999s", "18446744073709551615d"] {
            assert!(duration(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn sizes_need_a_unit() {
        assert_eq!((size("512MiB"), size("0")), (Ok(512 << 20), Ok(0)));
        assert!(size("512").is_err() && size("512mb").is_err());
        assert!(some_size("0").is_err() && some_size("1B") == Ok(1));
    }
}
