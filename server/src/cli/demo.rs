//! `recount demo`.
use super::{CliError, Global};
use clap::Args;
#[derive(Debug, Args)]
pub(super) struct DemoArgs {}
pub(super) fn run(_: &Global, _: &DemoArgs) -> Result<(), CliError> {
    Ok(())
}
