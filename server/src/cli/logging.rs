//! Logs, to standard error.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;

use super::CliError;
use crate::config::{Config, LogFormat};

/// What is logged.
///
/// # Errors
/// Where `log.level` is no filter.
pub(super) fn filter(config: &Config) -> Result<EnvFilter, CliError> {
    EnvFilter::try_new(&config.log_level)
        .map_err(|cause| CliError::usage(format!("log.level: {:?} is no filter: {cause}", config.log_level)))
}

/// Starts logging as the settings say.
pub(super) fn start(config: &Config) -> Result<(), CliError> {
    let filter = filter(config)?;
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    let started = match config.log_format {
        LogFormat::Text => builder.with_target(false).try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    started.map_err(|cause| CliError::failed(format!("logging can not be started: {cause}")))
}
