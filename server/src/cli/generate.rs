//! `recount generate`.
use super::{CliError, Global};
use clap::Args;
#[derive(Debug, Args)]
pub(super) struct GenerateArgs {}
pub(super) fn run(_: &Global, _: &GenerateArgs) -> Result<(), CliError> {
    Ok(())
}
