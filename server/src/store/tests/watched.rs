//! Files for tests: somebody hears of each before it is made, and may hold it up.

use std::io;
use std::sync::Arc;

use recount_dataflow::store::{Mapped, NewFile, Store as Files};

/// Files, and what is called with the name of each that is about to be made.
pub(super) struct Watched {
    pub(super) files: Arc<dyn Files>,
    pub(super) before_create: Box<dyn Fn(&str) + Send + Sync>,
}

impl Files for Watched {
    fn create(&self, name: &str) -> io::Result<Box<dyn NewFile>> {
        (self.before_create)(name);
        self.files.create(name)
    }

    fn map(&self, name: &str) -> io::Result<Arc<dyn Mapped>> {
        self.files.map(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.files.list()
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        self.files.delete(name)
    }
}
