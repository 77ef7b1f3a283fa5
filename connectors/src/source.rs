//! What the engine's feed asks of a source, whatever its records come from.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use recount_dataflow::domain::fact::Position;
use recount_dataflow::engine::StreamName;
use recount_dataflow::intake::Batch;

use crate::error::SourceError;
use crate::raw_store::RawStore;

/// Streams of records, decoded, each in the order of its offsets. A source reads ahead on threads of its own, into bounded
/// channels; one that is not asked stands still. It is in one of two moods: *live* ([`Source::next_within`]), where streams come
/// as they are, and *replay* ([`Source::next_of`]), where one stream is read up to an offset at which an epoch was cut before.
/// A replay of recorded epochs, stream by stream, is followed by live reading, and loses and repeats nothing.
pub trait Source: Send {
    /// The streams, by number. There may come more while it runs: that of every batch is among them before the batch is handed out.
    fn streams(&self) -> Vec<StreamName>;

    /// The next records of any stream, if there are some within `wait`.
    ///
    /// # Errors
    /// Where reading failed. What was read before has been handed out.
    fn next_within(&mut self, wait: Duration) -> Result<Next, SourceError>;

    /// The next records of one stream, all of them before offset `end`, if there are some within `wait`; [`Next::End`] where it
    /// has been read up to there.
    ///
    /// # Errors
    /// As [`Source::next_within`], and where it can be known that the stream ends before.
    fn next_of(&mut self, stream: u16, end: u64, wait: Duration) -> Result<Next, SourceError>;

    /// Hears of positions (next offsets by stream) that are bound for good, for whoever outside follows how far reading has come.
    fn bound(&mut self, _positions: &[(u16, u64)]) {}

    /// The names of what may have lost records that were read before, in between others that are still there. It is asked for where
    /// fewer records come again than were bound.
    fn compacted(&self) -> Vec<String> {
        Vec::new()
    }

    /// What ends the source from another thread.
    fn stopper(&self) -> Stopper;

    /// What reads raw records again.
    fn raw_store(&self) -> RawStore;
}

/// What a source was asked for.
pub enum Next {
    /// The next records, at least one.
    Batch(Batch),
    /// Nothing yet.
    Waiting,
    /// There are no more.
    End,
}

/// Hands every record before `positions` to `take`, stream by stream; false where `go_on` said no while nothing came for `wait`.
///
/// # Errors
/// As [`Source::next_of`]. What was read before has been handed out.
pub fn read_up_to(
    source: &mut dyn Source,
    positions: &[Position],
    wait: Duration,
    mut take: impl FnMut(&dyn Source, Batch),
    go_on: impl Fn() -> bool,
) -> Result<bool, SourceError> {
    for &Position { stream, offset } in positions {
        loop {
            match source.next_of(stream, offset, wait)? {
                Next::Batch(batch) => take(&*source, batch),
                Next::End => break,
                Next::Waiting if go_on() => {}
                Next::Waiting => return Ok(false),
            }
        }
    }
    Ok(true)
}

/// Ends a source from another thread.
#[derive(Clone)]
pub struct Stopper {
    stopped: Arc<AtomicBool>,
    wake: Arc<dyn Fn() + Send + Sync>,
}

impl Stopper {
    /// `wake` lets threads that wait for records look at the flag.
    pub(crate) fn new(stopped: Arc<AtomicBool>, wake: impl Fn() + Send + Sync + 'static) -> Self {
        Stopper { stopped, wake: Arc::new(wake) }
    }

    /// Lets the source read no further: what is already cut is still handed out, then it ends. A read that blocks, as of
    /// standard input, is not interrupted.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        (self.wake)();
    }
}

/// A batch that was taken from a channel and is not to be handed out yet, wholly or in part.
#[derive(Default)]
pub(crate) struct Ahead {
    batch: Option<Batch>,
}

impl Ahead {
    /// Keeps a batch that was taken from the channel.
    #[cfg(feature = "kafka")]
    pub(crate) fn put(&mut self, batch: Batch) {
        assert!(self.batch.is_none(), "a batch was read past one that is still ahead");
        self.batch = Some(batch);
    }

    /// Whether there is one.
    #[cfg(feature = "kafka")]
    pub(crate) fn is_some(&self) -> bool {
        self.batch.is_some()
    }

    /// The batch, which comes before what is in the channel.
    pub(crate) fn take(&mut self) -> Option<Batch> {
        self.batch.take()
    }

    /// Keeps what is not of this stream or not before `end`, and hands out the rest.
    pub(crate) fn cut(&mut self, mut batch: Batch, stream: u16, end: u64) -> Next {
        assert!(self.batch.is_none(), "a batch was read past one that is still ahead");
        let rest = match batch.stream == stream {
            true => batch.split_off(end),
            false => {
                self.batch = Some(batch);
                return Next::End;
            }
        };
        match (batch.records() > 0, rest.records() > 0) {
            (true, is_cut) => {
                self.batch = is_cut.then_some(rest);
                Next::Batch(batch)
            }
            (false, _) => {
                // The names of its ads go along with the records that are left.
                self.batch = Some(Batch { ads: batch.ads, ..rest });
                Next::End
            }
        }
    }
}
