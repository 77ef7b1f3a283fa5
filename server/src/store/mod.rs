//! The data directory in operation: what is opened, in which order, and how it fails.

use std::path::PathBuf;
use std::sync::Arc;

use recount_connectors::SourceError;
use recount_connectors::data_dir::{DataDir, DataDirError, NewStore};
use recount_connectors::disk::{DiskError, SystemDisk};
use recount_connectors::log::{Log, LogError, LogFailure, LogSettings, LogSource};
use recount_dataflow::domain::rules::Rules;
use thiserror::Error;
use tokio::sync::oneshot;

use crate::lineage::Lineage;

/// What the data directory runs with.
#[derive(Clone)]
pub struct StoreSettings {
    /// The directory.
    pub dir: PathBuf,
    /// What it gets where there is no store yet.
    pub new: NewStore,
    /// The log's settings.
    pub log: LogSettings,
}

/// Why the data directory can not be used.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The directory is refused.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The log can not be opened.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The log can not be read.
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// An open data directory, and its log.
pub(crate) struct Store {
    pub(crate) dir: DataDir,
    pub(crate) log: Arc<Log>,
    /// Where the log says that it has failed.
    pub(crate) failure: oneshot::Receiver<Arc<LogFailure>>,
}

impl Store {
    /// Takes the directory over, then opens the log: no other process writes from here on. Blocks while the log recovers.
    pub(crate) fn open(settings: &StoreSettings, rules: Rules) -> Result<Store, StoreError> {
        let disk = Arc::new(SystemDisk::create(&settings.dir)?);
        let dir = DataDir::open(disk, &settings.new, rules)?;
        let (failed, failure) = oneshot::channel();
        let log = Log::open(&dir, settings.log.clone(), move |why| {
            // At shutdown nobody listens any more.
            let _ = failed.send(why);
        })?;
        Ok(Store { dir, log: Arc::new(log), failure })
    }

    /// The identity of the store's epochs and positions.
    pub(crate) fn lineage(&self) -> Lineage {
        Lineage::new(self.dir.store_id().to_le_bytes())
    }

    /// The log's records, from its beginning.
    pub(crate) fn source(&self) -> Result<LogSource, StoreError> {
        Ok(LogSource::start(&self.log.view(), self.dir.hash_key(), self.dir.rules(), &[])?)
    }
}
