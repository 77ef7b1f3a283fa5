//! How commands fail, and with which exit code.

use std::process::ExitCode;

use thiserror::Error;

use crate::config::ConfigError;
use crate::output::file::WriteError;

/// Why a command ended early.
#[derive(Debug, Error)]
pub(crate) enum CliError {
    /// The command was given wrongly.
    #[error("{0}")]
    Usage(String),
    /// The command failed.
    #[error("{0}")]
    Failed(String),
    /// What was made again is not what was kept.
    #[error("{0}")]
    Mismatch(String),
    /// The service is not there, or not ready.
    #[error("{0}")]
    NotReady(String),
    /// Who read our output has heard enough.
    #[error("standard output was closed")]
    BrokenPipe,
}

impl CliError {
    /// The command failed.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        CliError::Failed(message.into())
    }

    /// The command was given wrongly.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        CliError::Usage(message.into())
    }

    /// 0 done, 1 failed, 2 usage, 3 mismatch, 4 not ready.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            CliError::BrokenPipe => 0,
            CliError::Failed(_) => 1,
            CliError::Usage(_) => 2,
            CliError::Mismatch(_) => 3,
            CliError::NotReady(_) => 4,
        })
    }
}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> Self {
        CliError::usage(error.to_string())
    }
}

impl From<recount_dataflow::engine::EngineError> for CliError {
    fn from(error: recount_dataflow::engine::EngineError) -> Self {
        CliError::failed(error.to_string())
    }
}

impl From<recount_dataflow::read::ReadError> for CliError {
    fn from(error: recount_dataflow::read::ReadError) -> Self {
        CliError::failed(error.to_string())
    }
}

impl From<WriteError> for CliError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Closed => CliError::BrokenPipe,
            other => CliError::failed(other.to_string()),
        }
    }
}
