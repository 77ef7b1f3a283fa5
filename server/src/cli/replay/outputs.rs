//! The files that a replay writes: some on the way, epoch by epoch, the others at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use recount_dataflow::domain::validate::Shelf;
use recount_dataflow::domain::window::Granularity;
use recount_dataflow::engine::Engine;
use recount_dataflow::read::{Reader, Snapshot};

use super::{Format, OutputArgs, table};
use crate::cli::CliError;
use crate::convert::json::ToJson as _;
use crate::convert::to_wire;
use crate::output::file::OutputFile;
use crate::output::lines;

/// The lineage of a replay: its epochs are a function of the files, so two replays of them agree on every correction's id.
const LINEAGE: &str = "replay";

/// Corrections of so many epochs are asked for at a time: each question goes through all that there are.
const CORRECTION_EPOCHS: u64 = 32;

/// The files being written.
pub(in crate::cli) struct Outputs {
    reader: Reader,
    granularity: Granularity,
    format: Format,
    out: Option<OutputFile>,
    changes: Option<OutputFile>,
    corrections: Option<OutputFile>,
    status: Option<OutputFile>,
    quarantine: Option<OutputFile>,
    parked: Option<OutputFile>,
    /// The first epoch whose changes were not written.
    changes_from: u64,
    /// The first epoch whose corrections were not written.
    corrections_from: u64,
    by_cause: BTreeMap<&'static str, u64>,
}

/// Refuses outputs that would take each other's place, or that of a file that is read.
pub(super) fn check(args: &OutputArgs, files: &[String]) -> Result<(), CliError> {
    let paths = [&args.out, &args.changes, &args.corrections, &args.status, &args.quarantine, &args.parked];
    let paths = paths.into_iter().flatten();
    if paths.clone().filter(|path| path.as_os_str() == "-").count() > 1 {
        return Err(CliError::usage("only one of the outputs can go to standard output; name files for the others"));
    }
    let read: BTreeSet<PathBuf> = files.iter().filter_map(|file| place(Path::new(file))).collect();
    let mut written = BTreeSet::new();
    for (path, place) in paths.filter_map(|path| Some((path.display(), place(path)?))) {
        if read.contains(&place) {
            return Err(CliError::usage(format!(
                "{path}: is read, so nothing can be written there; name another file"
            )));
        }
        if !written.insert(place) {
            return Err(CliError::usage(format!("{path}: two outputs can not go to one file; name another for one")));
        }
    }
    Ok(())
}

/// Where a file is or will be, however its path is written; `None` where it is a pipe or a device, or no directory holds it.
fn place(path: &Path) -> Option<PathBuf> {
    match fs::canonicalize(path) {
        _ if path.as_os_str() == "-" => None,
        Ok(place) => place.is_file().then_some(place),
        Err(_) => {
            let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
            Some(fs::canonicalize(dir).ok()?.join(path.file_name()?))
        }
    }
}

impl Outputs {
    /// Opens all of them, so that a path that can not be written is known before any work.
    pub(in crate::cli) fn open(
        args: &OutputArgs,
        granularity: Granularity,
        reader: Reader,
    ) -> Result<Outputs, CliError> {
        let open = |path: &Option<PathBuf>| path.as_deref().map(OutputFile::open).transpose();
        Ok(Outputs {
            reader,
            granularity,
            format: args.format,
            out: open(&args.out)?,
            changes: open(&args.changes)?,
            corrections: open(&args.corrections)?,
            status: open(&args.status)?,
            quarantine: open(&args.quarantine)?,
            parked: open(&args.parked)?,
            // Epoch 0 is empty: no record, no change.
            changes_from: 1,
            corrections_from: 1,
            by_cause: BTreeMap::new(),
        })
    }

    /// How many corrections there were of each cause.
    pub(super) fn corrections_by_cause(&self) -> &BTreeMap<&'static str, u64> {
        &self.by_cause
    }

    /// Writes what the epochs complete by now have brought.
    pub(super) fn advance(&mut self, engine: &mut Engine) -> Result<(), CliError> {
        let upper = self.reader.readable().upper;
        if let Some(out) = &mut self.changes {
            for epoch in self.changes_from..upper {
                let snapshot = self.reader.snapshot(Some(epoch))?;
                let changes = snapshot.changes(self.granularity, None)?;
                lines::push_changes(out.buffer(), epoch, snapshot.watermark_ms().unwrap_or(0), &changes);
                out.advance()?;
            }
        }
        self.changes_from = upper;
        if self.corrections.is_some() && upper >= self.corrections_from + CORRECTION_EPOCHS {
            self.write_corrections(upper)?;
        }
        for record in engine.take_set_aside() {
            let out = match record.reason.shelf() {
                Shelf::Parked => &mut self.parked,
                Shelf::Quarantined => &mut self.quarantine,
            };
            if let Some(out) = out {
                lines::push_set_aside(out.buffer(), &record, &self.reader.streams());
                out.advance()?;
            }
        }
        Ok(())
    }

    /// The same after the last epoch: nothing is left for later.
    pub(super) fn catch_up(&mut self, engine: &mut Engine) -> Result<(), CliError> {
        self.advance(engine)?;
        let by_cause = self.reader.corrections_by_cause().into_iter();
        self.by_cause = by_cause.map(|(cause, corrections)| (cause.as_str(), corrections)).collect();
        self.write_corrections(self.reader.readable().upper)
    }

    fn write_corrections(&mut self, upper: u64) -> Result<(), CliError> {
        let Some(out) = &mut self.corrections else { return Ok(()) };
        for correction in self.reader.corrections(self.corrections_from, upper) {
            lines::push_correction(out.buffer(), &correction, LINEAGE);
            out.advance()?;
        }
        self.corrections_from = upper;
        Ok(())
    }

    /// Writes what only the end can tell, and gives all files their names. Returns the number of rows.
    pub(super) fn finish(mut self, snapshot: &Snapshot) -> Result<u64, CliError> {
        let rows = table::write(snapshot, self.granularity, self.format, self.out.as_mut())?;
        if let Some(out) = &mut self.status {
            let status = to_wire::status(snapshot, snapshot.readable(), &self.reader.streams());
            out.buffer().extend_from_slice(status.to_json().to_string().as_bytes());
            out.buffer().push(b'\n');
        }
        let outputs = [self.out, self.changes, self.corrections, self.status, self.quarantine, self.parked];
        outputs.into_iter().flatten().try_for_each(OutputFile::finish)?;
        Ok(rows)
    }
}
