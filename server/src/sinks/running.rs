//! The sinks from their start to their end.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use recount_connectors::kafka::sink::SinkError;
use recount_dataflow::read::Reader;
use tokio::sync::mpsc;

use super::corrections::Corrections;
use super::counts::Counts;
use super::dead_letters::DeadLetters;
use super::encode::Encoder;
use super::follow::{Content, Follow, FollowError, Link, Stop};
use super::opening::{COUNTS, DEAD_LETTERS, OpenSink, Opened};
use super::stats::{SinkStats, SinksCollector};
use crate::lineage::Lineage;

impl Opened {
    /// Starts the threads. Nothing must have been fed yet.
    ///
    /// # Errors
    /// Where a thread can not be started.
    pub(crate) fn start(self, reader: &Reader, lineage: Lineage) -> io::Result<Sinks> {
        let Opened { settings, stop, sinks } = self;
        let (failed, failure) = mpsc::channel(sinks.len().max(1));
        let mut running =
            Sinks { reader: reader.clone(), stop: stop.clone(), failure, stats: Vec::new(), threads: Vec::new() };
        // They take hold of records set aside before anybody who follows lets some go.
        let mut letters = settings.dead_letters.as_ref().and_then(|letters| {
            let open = sinks.iter().find(|sink| sink.identity.sink == DEAD_LETTERS)?;
            Some(DeadLetters::new(letters, reader, open.published, open.publisher.message_bytes_max(), stop.clone()))
        });
        for OpenSink { settings: own, identity, publisher, published } in sinks {
            let stats = Arc::new(SinkStats::new(identity.sink, publisher.outcomes(), published));
            running.stats.push(stats.clone());
            let link = Link::new(reader.clone(), publisher, settings.limits, stats, published);
            if let Some(content) = letters.take_if(|_| identity.sink == DEAD_LETTERS) {
                running.threads.push(spawn(Follow::new(link, content, stop.clone()), DEAD_LETTERS, failed.clone())?);
                continue;
            }
            let store = format!("{:016x}", identity.store);
            let lineage = lineage.to_string();
            let encoder = Encoder { format: own.format, lineage, store, writer: identity.writer };
            let thread = match (identity.sink, &settings.counts) {
                (COUNTS, Some((_, granularities))) => {
                    let content = Counts::new(encoder, granularities.clone());
                    spawn(Follow::new(link, content, stop.clone()), identity.sink, failed.clone())?
                }
                _ => spawn(Follow::new(link, Corrections::new(encoder), stop.clone()), identity.sink, failed.clone())?,
            };
            running.threads.push(thread);
        }
        Ok(running)
    }
}

fn spawn<C: Content + Send + 'static>(
    follow: Follow<C>,
    sink: &'static str,
    failed: mpsc::Sender<Option<SinkError>>,
) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(format!("sink-{sink}")).spawn(move || {
        // The panic itself was reported by the panic hook.
        let failure = match catch_unwind(AssertUnwindSafe(|| follow.run())) {
            Ok(Ok(())) => return,
            Ok(Err(FollowError::Sink(SinkError::Cancelled))) => {
                tracing::warn!(
                    sink,
                    "the drain time was over before all was published; the next start goes on from there"
                );
                return;
            }
            Ok(Err(FollowError::Sink(error))) => Some(error),
            Ok(Err(FollowError::Read(error))) => {
                tracing::error!(sink, %error, "a sink holds what it reads, and it was gone");
                None
            }
            Err(_) => None,
        };
        // At shutdown nobody listens any more.
        let _ = failed.try_send(failure);
    })
}

/// The running sinks.
pub(crate) struct Sinks {
    reader: Reader,
    stop: Arc<Stop>,
    /// Why one ended; `None` for a bug.
    failure: mpsc::Receiver<Option<SinkError>>,
    stats: Vec<Arc<SinkStats>>,
    threads: Vec<JoinHandle<()>>,
}

impl Sinks {
    /// Says which epoch every sink could go on from after a restart without publishing its whole table again.
    pub(crate) fn restore_up_to(&self) -> Box<dyn Fn() -> u64 + Send> {
        match self.stats.iter().find(|stats| stats.name == COUNTS).cloned() {
            Some(counts) => Box::new(move || counts.last_told()),
            None => Box::new(|| u64::MAX),
        }
    }

    /// What is told of them.
    pub(crate) fn collector(&self) -> SinksCollector {
        SinksCollector { reader: self.reader.clone(), sinks: self.stats.clone() }
    }

    /// Waits until a sink ends by itself, which it only does where it failed.
    pub(crate) async fn failed(&mut self) -> SinkError {
        match self.failure.recv().await {
            Some(Some(error)) => error,
            Some(None) | None => panic!("a sink's thread panicked; this is a bug in Recount"),
        }
    }

    /// Publishes what is complete, for as long as `drain`, and ends the threads.
    pub(crate) fn stop(self, drain: Duration) {
        self.stop.ask(Instant::now() + drain);
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a sink's thread panicked; this is a bug in Recount");
            }
        }
    }
}
