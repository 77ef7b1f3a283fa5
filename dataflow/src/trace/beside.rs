//! Threads beside the workers: they take over pieces of work that nobody waits for yet, of merges above all.

use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::{io, iter};

use crossbeam_channel::{Sender, unbounded};

/// A piece of work that is done once, by whoever comes to it first.
pub(crate) trait Errand: Send + Sync {
    /// Does it, where it is not done.
    fn run(&self);
}

/// The way to the threads; `None` tells one that it may end.
type Errands = Sender<Option<Arc<dyn Errand>>>;

/// The threads, which end with it. What has been given to them and not been begun is left to whoever gave it.
pub(crate) struct Helpers {
    errands: Errands,
    threads: Vec<JoinHandle<()>>,
}

impl Helpers {
    /// Starts some threads.
    ///
    /// # Errors
    /// Where the system has none left.
    pub(crate) fn start(count: usize) -> io::Result<Self> {
        let (errands, given) = unbounded::<Option<Arc<dyn Errand>>>();
        let mut helpers = Helpers { errands, threads: Vec::with_capacity(count) };
        for number in 0..count {
            let given = given.clone();
            let work = move || iter::from_fn(|| given.recv().ok().flatten()).for_each(|errand| errand.run());
            helpers.threads.push(Builder::new().name(format!("merge-{number}")).spawn(work)?);
        }
        Ok(helpers)
    }

    /// Says how work comes to the threads: whatever has at least `len_min` records to go through.
    pub(crate) fn beside(&self, len_min: usize) -> Beside {
        Beside { errands: Some(self.errands.clone()), len_min }
    }
}

impl Drop for Helpers {
    fn drop(&mut self) {
        for _ in &self.threads {
            // Where none is left that listens, none has to be told.
            let _ = self.errands.send(None);
        }
        for thread in self.threads.drain(..) {
            // Whoever looked for the piece that panicked has said so.
            let _ = thread.join();
        }
    }
}

/// How work comes to the threads, where there are any.
#[derive(Clone)]
pub(crate) struct Beside {
    errands: Option<Errands>,
    len_min: usize,
}

impl Beside {
    /// There are no threads: whoever has work does it.
    pub(crate) fn nobody() -> Self {
        Beside { errands: None, len_min: usize::MAX }
    }

    /// Whether work on so many records is to be given to them: what is little is done sooner than handed over.
    pub(crate) fn takes(&self, len: usize) -> bool {
        self.errands.is_some() && self.len_min <= len
    }

    /// Gives them work. Whoever gives it does it in the end, where nobody has begun.
    pub(crate) fn give(&self, errand: Arc<dyn Errand>) {
        if let Some(errands) = &self.errands {
            // Where the threads have ended nobody begins.
            let _ = errands.send(Some(errand));
        }
    }
}
