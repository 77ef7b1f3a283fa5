//! Epochs as they are asked for.

use clap::Args;

use crate::convert::base64;
use crate::convert::wire::{self, read_at::At};

/// Which epoch to read.
#[derive(Debug, Args)]
pub(super) struct ReadAtArgs {
    /// Read at this epoch [default: the newest complete one]
    #[arg(long, value_name = "EPOCH")]
    as_of: Option<u64>,
    /// Wait for what this token stands for, as an answer to events has it
    #[arg(long, value_name = "TOKEN", conflicts_with = "as_of", value_parser = token)]
    at_least: Option<Token>,
}

/// A token's bytes.
#[derive(Clone, Debug)]
struct Token(Vec<u8>);

fn token(text: &str) -> Result<Token, String> {
    base64::decode(text).map(Token).ok_or_else(|| "this is no token; write it as it came".to_owned())
}

impl ReadAtArgs {
    /// For a request.
    pub(super) fn to_wire(&self) -> Option<wire::ReadAt> {
        let at_least = self.at_least.as_ref().map(|token| At::AtLeast(token.0.clone()));
        self.as_of.map(At::AsOf).or(at_least).map(|at| wire::ReadAt { at: Some(at) })
    }
}
