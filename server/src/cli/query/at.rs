//! Epochs as they are asked for.

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
