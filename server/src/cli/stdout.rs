//! Standard output, whose reader may have heard enough at any time.

use std::io::{self, Write as _};

use super::CliError;

/// Writes to standard output.
pub(super) fn print(text: &str) -> Result<(), CliError> {
    print_bytes(text.as_bytes())
}

/// Writes to standard output what is no text of ours.
pub(super) fn print_bytes(bytes: &[u8]) -> Result<(), CliError> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|cause| stdout_error(&cause))
}

/// What writing to standard output may end with.
pub(super) fn stdout_error(cause: &io::Error) -> CliError {
    match cause.kind() {
        io::ErrorKind::BrokenPipe => CliError::BrokenPipe,
        _ => CliError::failed(format!("standard output can not be written: {cause}")),
    }
}
