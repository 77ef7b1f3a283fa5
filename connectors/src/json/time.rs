//! Times as text.

const SECONDS_A_DAY: i64 = 86_400;

/// The milliseconds since 1970 UTC that a text means: an integer, or RFC 3339 with an offset, cut to milliseconds. A leap
/// second is the first one of the next minute, as in Unix time.
pub(super) fn parse(text: &str) -> Option<i64> {
    match integer(text) {
        Some(time_ms) => Some(time_ms),
        None => rfc3339(text.as_bytes()),
    }
}

/// A decimal integer: digits, with a minus before them or not.
pub(super) fn integer(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    match !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        true => text.parse().ok(),
        false => None,
    }
}

fn rfc3339(text: &[u8]) -> Option<i64> {
    let (date, rest) = text.split_at_checked(10)?;
    let (clock, rest) = rest.split_at_checked(9)?;
    let [y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1] = *date else { return None };
    let [b'T' | b't' | b' ', h0, h1, b':', i0, i1, b':', s0, s1] = *clock else { return None };
    let year = i64::from(two(y0, y1)?) * 100 + i64::from(two(y2, y3)?);
    let (month, day) = (two(m0, m1)?, two(d0, d1)?);
    let (hour, minute, second) = (two(h0, h1)?, two(i0, i1)?, two(s0, s1)?);
    if !(1..=12).contains(&month) || day < 1 || day > days_in(year, month) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (millis, rest) = fraction(rest)?;
    let offset_seconds = offset(rest)?;
    let seconds = days_since_1970(year, month, day) * SECONDS_A_DAY
        + i64::from(hour) * 3_600
        + i64::from(minute) * 60
        + i64::from(second)
        - offset_seconds;
    Some(seconds * 1_000 + millis)
}

fn two(tens: u8, ones: u8) -> Option<u8> {
    match tens.is_ascii_digit() && ones.is_ascii_digit() {
        true => Some((tens - b'0') * 10 + ones - b'0'),
        false => None,
    }
}

/// The milliseconds of an optional fraction of a second, and what follows it.
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let Some(rest) = text.strip_prefix(b".") else { return Some((0, text)) };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (fraction, rest) = rest.split_at(digits);
    let digit = |at: usize| fraction.get(at).map_or(0, |byte| i64::from(byte - b'0'));
    (digits > 0).then(|| (digit(0) * 100 + digit(1) * 10 + digit(2), rest))
}

/// How far local time is ahead of UTC, in seconds.
fn offset(text: &[u8]) -> Option<i64> {
    let [sign, h0, h1, b':', m0, m1] = *text else {
        return matches!(text, b"Z" | b"z").then_some(0);
    };
    let (hours, minutes) = (two(h0, h1)?, two(m0, m1)?);
    let seconds = i64::from(hours) * 3_600 + i64::from(minutes) * 60;
    match sign {
        _ if hours > 23 || minutes > 59 => None,
        b'+' => Some(seconds),
        b'-' => Some(-seconds),
        _ => None,
    }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i64, month: u8) -> u8 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Counts from March, so that the leap day is the last of its year: the well-known algorithm of Howard Hinnant.
fn days_since_1970(year: i64, month: u8, day: u8) -> i64 {
    let (month, day) = (i64::from(month), i64::from(day));
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_integers_or_rfc_3339_with_an_offset() {
        let cases = [
            ("0", Some(0)),
            ("-5", Some(-5)),
            ("1700000000000", Some(1_700_000_000_000)),
            ("2023-11-14T22:13:20Z", Some(1_700_000_000_000)),
            ("2023-11-14t22:13:20.5z", Some(1_700_000_000_500)),
            ("2023-11-14 22:13:20.0009+00:00", Some(1_700_000_000_000)),
            ("2023-11-15T03:43:20.123999999+05:30", Some(1_700_000_000_123)),
            ("2023-11-14T14:13:20-08:00", Some(1_700_000_000_000)),
            ("2016-12-31T23:59:60Z", Some(1_483_228_800_000)),
            ("2024-02-29T00:00:00Z", Some(1_709_164_800_000)),
            ("2023-02-29T00:00:00Z", None),
            ("2023-11-14T22:13:20", None),
            ("2023-11-14", None),
            ("2023-11-14T24:00:00Z", None),
            ("2023-11-14T22:13:20.Z", None),
            ("2023-11-14T22:13:20+0530", None),
            ("2023-11-14T22:13:20+24:00", None),
            ("2023-13-14T22:13:20Z", None),
            ("2023-11-14T22:13:20Z ", None),
            ("", None),
            ("-", None),
            ("+5", None),
            ("1.5", None),
            ("9223372036854775808", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_jiff(time_ms in -60_000_000_000_000_i64..250_000_000_000_000, offset_minutes in -1_400_i32..1_400) {
            let timestamp = jiff::Timestamp::from_millisecond(time_ms).unwrap();
            prop_assert_eq!(parse(&timestamp.to_string()), Some(time_ms));
            let offset = jiff::tz::Offset::from_seconds(offset_minutes * 60).unwrap();
            prop_assert_eq!(parse(&timestamp.display_with_offset(offset).to_string()), Some(time_ms));
        }
    }
}
