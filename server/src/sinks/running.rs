//! The sinks from their start to their end.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use recount_connectors::kafka::sink::SinkError;
use recount_dataflow::read::Reader;
use tokio::sync::mpsc;

use super::SinksError;
use super::corrections::Corrections;
use super::counts::Counts;
use super::dead_letters::DeadLetters;
use super::encode::Encoder;
use super::follow::{Content, Follow, FollowError, Link, Stop};
use super::opening::{OpenSink, Opened};
use super::settings::Kind;
use super::stats::{SinkStats, SinksCollector};
use crate::lineage::Lineage;

impl Opened {
    /// Starts the threads. Nothing must have been fed yet.
    ///
    /// # Errors
    /// Where a thread can not be started.
    pub(crate) fn start(self, reader: &Reader, lineage: Lineage) -> io::Result<Sinks> {
        let Opened { settings, stop, mut sinks } = self;
        let (failed, failure) = mpsc::channel(sinks.len().max(1));
        let mut running = Sinks {
            reader: reader.clone(),
            stop: stop.clone(),
            failure,
            stats: Vec::new(),
            counts: None,
            threads: Vec::new(),
        };
        // They take hold of records set aside before anybody who follows lets some go.
        sinks.sort_by_key(|sink| !matches!(sink.settings.kind, Kind::DeadLetters(_)));
        for OpenSink { settings: own, identity, publisher, published } in sinks {
            let name = own.kind.name();
            let stats = Arc::new(SinkStats::new(name, publisher.outcomes(), published));
            running.stats.push(stats.clone());
            let (store, lineage) = (format!("{:016x}", identity.store), lineage.to_string());
            let encoder = Encoder { format: own.format, lineage, store, writer: identity.writer };
            let bytes_max = publisher.message_bytes_max().to_vec();
            let link = Link::new(reader.clone(), publisher, settings.limits, stats.clone(), published);
            let (stop, failed) = (stop.clone(), failed.clone());
            running.threads.push(match &own.kind {
                Kind::Corrections => spawn(Follow::new(link, Corrections::new(encoder), stop), name, failed)?,
                Kind::Counts(granularities) => {
                    running.counts = Some(stats);
                    let content = Counts::new(encoder, granularities.clone());
                    spawn(Follow::new(link, content, stop), name, failed)?
                }
                Kind::DeadLetters(targets) => {
                    let content = DeadLetters::new(&own, targets, reader, published, &bytes_max, stop.clone());
                    spawn(Follow::new(link, content, stop), name, failed)?
                }
            });
        }
        Ok(running)
    }
}

fn spawn<C: Content + Send + 'static>(
    follow: Follow<C>,
    sink: &'static str,
    failed: mpsc::Sender<Option<SinksError>>,
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
            Ok(Err(FollowError::Sink(error))) => Some(error.into()),
            Ok(Err(FollowError::Read(cause))) => Some(SinksError::Read { sink, cause }),
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
    /// Why one ended; `None` where it panicked.
    failure: mpsc::Receiver<Option<SinksError>>,
    stats: Vec<Arc<SinkStats>>,
    /// Those of the sink of rows.
    counts: Option<Arc<SinkStats>>,
    threads: Vec<JoinHandle<()>>,
}

impl Sinks {
    /// Says which epoch every sink could go on from after a restart without publishing its whole table again.
    pub(crate) fn restore_up_to(&self) -> Box<dyn Fn() -> u64 + Send> {
        match self.counts.clone() {
            Some(counts) => Box::new(move || counts.last_told()),
            None => Box::new(|| u64::MAX),
        }
    }

    /// What is told of them.
    pub(crate) fn collector(&self) -> SinksCollector {
        SinksCollector { reader: self.reader.clone(), sinks: self.stats.clone() }
    }

    /// Waits until a sink ends by itself, which it only does where it failed.
    pub(crate) async fn failed(&mut self) -> SinksError {
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
