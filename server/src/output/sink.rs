//! Where lines go: standard output, or a file that appears under its name only when it is whole.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::text::Buffer;
use crate::cli::CliError;

/// Lines are written out in pieces of this many bytes.
const PIECE_BYTES: usize = 1 << 20;

/// Lines on their way out.
pub(crate) struct Sink {
    buffer: Buffer,
    out: Out,
}

enum Out {
    Stdout(io::Stdout),
    /// A pipe or a device: there is nothing to rename.
    Direct {
        file: File,
        path: PathBuf,
    },
    /// A file under a name of its own until it is whole.
    Staged {
        file: File,
        partial: PathBuf,
        path: PathBuf,
    },
}

impl Sink {
    /// Opens a file, or standard output where the path is `-`. A path that can not be written fails here, before any work.
    pub(crate) fn open(path: &Path) -> Result<Sink, CliError> {
        let buffer = Buffer::with_capacity(PIECE_BYTES + (PIECE_BYTES >> 2));
        if path.as_os_str() == "-" {
            return Ok(Sink { buffer, out: Out::Stdout(io::stdout()) });
        }
        let failed = |cause: io::Error| CliError::failed(format!("{}: can not be written: {cause}", path.display()));
        if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
            let file = File::options().write(true).open(path).map_err(failed)?;
            return Ok(Sink { buffer, out: Out::Direct { file, path: path.into() } });
        }
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let file = File::create(&partial).map_err(failed)?;
        Ok(Sink { buffer, out: Out::Staged { file, partial, path: path.into() } })
    }

    /// The buffer to append whole lines to; call [`Sink::advance`] between them.
    pub(crate) fn buffer(&mut self) -> &mut Buffer {
        &mut self.buffer
    }

    /// Writes the buffer out once it is long.
    pub(crate) fn advance(&mut self) -> Result<(), CliError> {
        match self.buffer.len() < PIECE_BYTES {
            true => Ok(()),
            false => self.flush(),
        }
    }

    /// Writes out whole lines that were put together elsewhere, behind what the buffer holds.
    pub(crate) fn write(&mut self, lines: &[u8]) -> Result<(), CliError> {
        self.flush()?;
        self.write_out(lines)
    }

    /// Writes out what is left, and gives a file its name.
    pub(crate) fn finish(mut self) -> Result<(), CliError> {
        self.flush()?;
        if let Out::Staged { partial, path, .. } = &self.out {
            fs::rename(partial, path)
                .map_err(|cause| CliError::failed(format!("{}: can not be written: {cause}", path.display())))?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), CliError> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let written = self.write_out(&buffer);
        buffer.clear();
        self.buffer = buffer;
        written
    }

    fn write_out(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let written = match &mut self.out {
            Out::Stdout(stdout) => stdout.lock().write_all(bytes).and_then(|()| stdout.flush()),
            Out::Direct { file, .. } | Out::Staged { file, .. } => file.write_all(bytes),
        };
        written.map_err(|cause| match (&self.out, cause.kind()) {
            (_, io::ErrorKind::BrokenPipe) => CliError::BrokenPipe,
            (Out::Stdout(_), _) => CliError::failed(format!("standard output can not be written: {cause}")),
            (Out::Direct { path, .. } | Out::Staged { path, .. }, _) => {
                CliError::failed(format!("{}: can not be written: {cause}", path.display()))
            }
        })
    }
}

impl Drop for Sink {
    /// Half a table is worse than none: a file that was not finished goes away.
    fn drop(&mut self) {
        if let Out::Staged { partial, .. } = &self.out {
            // After `finish` there is nothing under this name any more.
            let _ = fs::remove_file(partial);
        }
    }
}
