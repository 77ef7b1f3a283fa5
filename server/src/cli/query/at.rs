//! Times and epochs as they are asked for.

use clap::Args;

use crate::convert::wire;

/// Which epoch to read.
#[derive(Debug, Args)]
pub(super) struct ReadAtArgs {
    /// Read at this epoch [default: the newest complete one]
    #[arg(long, value_name = "EPOCH")]
    as_of: Option<u64>,
}

impl ReadAtArgs {
    /// For a request.
    pub(super) fn to_wire(&self) -> Option<wire::ReadAt> {
        self.as_of.map(|as_of| wire::ReadAt { at: Some(wire::read_at::At::AsOf(as_of)) })
    }
}

/// Milliseconds since 1970, or RFC 3339.
pub(in crate::cli) fn parse_time(text: &str) -> Result<i64, String> {
    if let Ok(time_ms) = text.parse() {
        return Ok(time_ms);
    }
    let time: Result<jiff::Timestamp, _> = text.parse();
    time.map(|time| time.as_millisecond())
        .map_err(|_| "write ms since 1970, or RFC 3339 with an offset, as in 2023-11-14T22:00:00Z".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_numbers_or_rfc_3339() {
        assert_eq!(parse_time("1700000000000"), Ok(1_700_000_000_000));
        assert_eq!(parse_time("2023-11-14T22:13:20Z"), Ok(1_700_000_000_000));
        assert_eq!(parse_time("2023-11-14T23:13:20+01:00"), Ok(1_700_000_000_000));
        assert!(parse_time("yesterday").is_err());
    }
}
