//! The workloads that the engine and the baseline are measured on.

use std::error::Error;
use std::path::Path;

use recount_connectors::workload::{Batches, Workload, WorkloadSettings};
use recount_dataflow::engine::Settings;

use crate::facts::FactFile;

/// Records of one batch while facts are written. It does not show in what is measured.
const BATCH_RECORDS: usize = 50_000;

/// A day of clicks on a million ads by two million users, 3 % of them judged, 2 % sent again, 1 % late; as facts, made where
/// they are not there yet. Where `hot`, one ad has half of the clicks.
///
/// # Errors
/// Where they can not be written.
pub(crate) fn prepare(dir: &Path, clicks: u64, hot: bool) -> Result<FactFile, Box<dyn Error>> {
    let file = FactFile::new(&dir.join(format!("{}-{clicks}", if hot { "hot" } else { "even" })));
    if !file.exists() {
        eprintln!("making {clicks} clicks");
        let hot_ad = if hot { 0.5 } else { 0.0 };
        let shape = WorkloadSettings { ads: 1_000_000, users: 2_000_000, hot_ad, ..WorkloadSettings::new(clicks, 1) };
        let Settings { key, rules, .. } = Settings::default();
        file.write(Batches::new(Workload::new(shape)?, key, rules, 0, BATCH_RECORDS))?;
    }
    Ok(file)
}
