//! Checkpoint files: in the data directory, or in an object store with copies in the data directory.

#[cfg(feature = "object-store")]
pub mod bucket;
mod directory;
mod place;

use std::sync::Arc;

use recount_dataflow::store::Store;

#[cfg(feature = "object-store")]
use self::bucket::BucketStore;
pub use self::directory::DirectoryStore;
#[cfg(feature = "object-store")]
pub(crate) use self::directory::Unnamed;
pub use self::place::{BucketSettings, Place, PlaceError};
use crate::data_dir::DataDir;

/// The checkpoint files of a store, wherever they are.
pub struct CheckpointFiles {
    kept: Kept,
}

enum Kept {
    InDirectory(DirectoryStore),
    #[cfg(feature = "object-store")]
    InBucket(BucketStore),
}

impl CheckpointFiles {
    /// The checkpoint files of a data directory, which are to be at `place`. Where the directory is open for writing, files that are
    /// in it move to a bucket that is named for the first time, and what a crash left half written is removed.
    ///
    /// # Errors
    /// Where they are elsewhere, where the place belongs to another store or can not be reached, and where the disk fails.
    pub fn open(dir: &DataDir, place: &Place) -> Result<CheckpointFiles, PlaceError> {
        let noted = place::noted(dir)?;
        place::check(dir, noted.as_deref(), place)?;
        let kept = match place {
            Place::Directory => Kept::InDirectory(DirectoryStore::open(dir)?),
            #[cfg(feature = "object-store")]
            Place::Bucket(settings) => {
                let bucket = BucketStore::open(dir, settings)?;
                if noted.is_none() {
                    bucket.move_in()?;
                    place::note(dir, &settings.url)?;
                }
                Kept::InBucket(bucket)
            }
            #[cfg(not(feature = "object-store"))]
            Place::Bucket(_) => return Err(PlaceError::NoBuckets),
        };
        Ok(CheckpointFiles { kept })
    }

    /// The files, for the engine.
    pub fn store(&self) -> Arc<dyn Store> {
        match &self.kept {
            Kept::InDirectory(directory) => Arc::new(directory.clone()),
            #[cfg(feature = "object-store")]
            Kept::InBucket(bucket) => Arc::new(bucket.clone()),
        }
    }

    /// The files of the generation that the directory has begun since these were opened.
    ///
    /// # Errors
    /// Where the disk fails.
    pub fn of_generation(&self, dir: &DataDir) -> Result<CheckpointFiles, PlaceError> {
        let kept = match &self.kept {
            Kept::InDirectory(_) => Kept::InDirectory(DirectoryStore::open(dir)?),
            #[cfg(feature = "object-store")]
            Kept::InBucket(bucket) => Kept::InBucket(bucket.of_generation(dir)?),
        };
        Ok(CheckpointFiles { kept })
    }

    /// Deletes what is of other generations than these files, once theirs is the store's. In the data directory
    /// [`DataDir::finish_generation`] does it.
    ///
    /// # Errors
    /// Where the object store can not be reached. The next start does it then.
    pub fn clear_others(&self) -> Result<(), PlaceError> {
        match &self.kept {
            Kept::InDirectory(_) => Ok(()),
            #[cfg(feature = "object-store")]
            Kept::InBucket(bucket) => Ok(bucket.clear_others()?),
        }
    }
}
