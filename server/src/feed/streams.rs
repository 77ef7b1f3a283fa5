//! The names of streams, which the engine has to know before their records come.

use recount_connectors::Source;
use recount_dataflow::engine::Engine;

/// What an engine knows of a source's streams.
pub(crate) struct KnownStreams {
    /// How many, the first ones.
    known: usize,
}

impl KnownStreams {
    /// An engine was started with so many.
    pub(crate) fn new(known: usize) -> Self {
        KnownStreams { known }
    }

    /// Tells the engine of those that came since, where `stream` is one of them.
    pub(crate) fn tell(&mut self, source: &dyn Source, stream: u16, engine: &Engine) {
        if self.known <= usize::from(stream) {
            for name in source.streams().split_off(self.known) {
                engine.add_stream(name);
                self.known += 1;
            }
        }
    }
}
