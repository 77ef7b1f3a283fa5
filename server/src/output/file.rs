//! Where lines go: standard output, or a file that appears under its name only when it is whole.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::text::Buffer;

/// Lines are written out in pieces of this many bytes.
const PIECE_BYTES: usize = 1 << 20;

/// Why lines were not written.
#[derive(Debug, Error)]
pub(crate) enum WriteError {
    /// Who reads standard output has heard enough.
    #[error("standard output was closed")]
    Closed,
    /// Standard output takes nothing.
    #[error("standard output can not be written: {0}")]
    Stdout(io::Error),
    /// The file can not be made, or takes nothing.
    #[error("{}: can not be written: {cause}", .path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
}

/// Lines on their way out.
pub(crate) struct OutputFile {
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

impl OutputFile {
    /// Opens a file, or standard output where the path is `-`. A path that can not be written fails here, before any work.
    pub(crate) fn open(path: &Path) -> Result<OutputFile, WriteError> {
        let buffer = Buffer::with_capacity(PIECE_BYTES + (PIECE_BYTES >> 2));
        if path.as_os_str() == "-" {
            return Ok(OutputFile { buffer, out: Out::Stdout(io::stdout()) });
        }
        let failed = |cause| WriteError::File { path: path.into(), cause };
        if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
            let file = File::options().write(true).open(path).map_err(failed)?;
            return Ok(OutputFile { buffer, out: Out::Direct { file, path: path.into() } });
        }
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let file = File::create(&partial).map_err(failed)?;
        Ok(OutputFile { buffer, out: Out::Staged { file, partial, path: path.into() } })
    }

    /// The buffer to append whole lines to; call [`OutputFile::advance`] between them.
    pub(crate) fn buffer(&mut self) -> &mut Buffer {
        &mut self.buffer
    }

    /// Writes the buffer out once it is long.
    pub(crate) fn advance(&mut self) -> Result<(), WriteError> {
        match self.buffer.len() < PIECE_BYTES {
            true => Ok(()),
            false => self.flush(),
        }
    }

    /// Writes out whole lines that were put together elsewhere, behind what the buffer holds.
    pub(crate) fn write(&mut self, lines: &[u8]) -> Result<(), WriteError> {
        self.flush()?;
        self.write_out(lines)
    }

    /// Writes out what is left, and gives a file its name.
    pub(crate) fn finish(mut self) -> Result<(), WriteError> {
        self.flush()?;
        if let Out::Staged { partial, path, .. } = &self.out {
            fs::rename(partial, path).map_err(|cause| WriteError::File { path: path.clone(), cause })?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), WriteError> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let written = self.write_out(&buffer);
        buffer.clear();
        self.buffer = buffer;
        written
    }

    fn write_out(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let written = match &mut self.out {
            Out::Stdout(stdout) => stdout.lock().write_all(bytes).and_then(|()| stdout.flush()),
            Out::Direct { file, .. } | Out::Staged { file, .. } => file.write_all(bytes),
        };
        written.map_err(|cause| match (&self.out, cause.kind()) {
            (_, io::ErrorKind::BrokenPipe) => WriteError::Closed,
            (Out::Stdout(_), _) => WriteError::Stdout(cause),
            (Out::Direct { path, .. } | Out::Staged { path, .. }, _) => WriteError::File { path: path.clone(), cause },
        })
    }
}

impl Drop for OutputFile {
    /// Half a table is worse than none: a file that was not finished goes away.
    fn drop(&mut self) {
        if let Out::Staged { partial, .. } = &self.out {
            // After `finish` there is nothing under this name any more.
            let _ = fs::remove_file(partial);
        }
    }
}
