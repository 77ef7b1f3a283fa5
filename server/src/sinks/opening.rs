//! The sinks before anything is published: they are looked at, and then claimed. Each step is made for all of them at once, since
//! what they do is to wait for brokers.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use recount_connectors::data_dir::DataDir;
use recount_connectors::kafka::sink::{Cancel, Identity, OUTCOME_WAIT, Publisher, PublisherSettings, SinkError};

use super::follow::Stop;
use super::settings::{Kind, SinkSettings, SinksSettings};

/// The sinks as they were found. Nobody is fenced yet, and nothing is made.
pub(crate) struct Looked {
    settings: SinksSettings,
    stop: Arc<Stop>,
    is_started: Arc<AtomicBool>,
    /// Breaks off what the other sinks wait for.
    has_failed: Arc<AtomicBool>,
    cancel: Cancel,
    /// The newest epoch that is bound here.
    bound: u64,
    sinks: Vec<LookedAt>,
}

/// One sink, and the newest epoch that it has published, as far as can be seen.
struct LookedAt {
    settings: SinkSettings,
    publisher: PublisherSettings,
    published: Option<u64>,
}

/// The sinks, open: former writers are fenced, and it is known how far each has come.
pub(crate) struct Opened {
    pub(super) settings: SinksSettings,
    pub(super) stop: Arc<Stop>,
    pub(super) sinks: Vec<OpenSink>,
}

/// One sink, open.
pub(super) struct OpenSink {
    pub(super) settings: SinkSettings,
    pub(super) identity: Identity,
    pub(super) publisher: Publisher,
    pub(super) published: Option<u64>,
}

impl Looked {
    /// Looks at the sinks of a store whose newest bound epoch is `bound`. Waits for brokers, until `stopping`.
    ///
    /// # Errors
    /// Where a later writer or another history has published, where a topic is of the wrong kind, and where Kafka refuses.
    pub(crate) fn look(
        settings: &SinksSettings,
        dir: &DataDir,
        bound: u64,
        stopping: &Arc<AtomicBool>,
    ) -> Result<Looked, SinkError> {
        let stop = Arc::new(Stop::default());
        let (until, stopping) = (stop.clone(), stopping.clone());
        let (is_started, has_failed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (started, failed) = (is_started.clone(), has_failed.clone());
        // While nothing runs yet there is nothing to publish either.
        let cancel: Cancel = Arc::new(move || match started.load(Ordering::Relaxed) {
            true => until.is_over(),
            false => stopping.load(Ordering::Relaxed) || failed.load(Ordering::Relaxed),
        });
        let sinks = at_once(&settings.sinks, &has_failed, |own| {
            let sink = own.kind.name();
            let fence = dir.fence();
            let writer = fence.writer();
            let publisher = PublisherSettings {
                client: own.client.clone(),
                identity: Identity { store: dir.store_id(), sink, generation: dir.generation(), writer },
                topics: own.topics.clone(),
                progress_topic: settings.progress_topic.clone(),
                delivery: own.delivery,
                transaction_timeout: settings.transaction_timeout,
                outcome_wait: OUTCOME_WAIT,
                guard: Arc::new(move || fence.check().map_err(|error| error.to_string())),
            };
            let published = publisher.look(bound, cancel.clone())?;
            Ok(LookedAt { settings: own.clone(), publisher, published })
        })?;
        Ok(Looked { settings: settings.clone(), stop, is_started, has_failed, cancel, bound, sinks })
    }

    /// The newest epoch whose state every sink can go on from without publishing its whole table again, as far as can be seen: what
    /// is in an open transaction may add to it.
    pub(crate) fn restore_up_to(&self) -> u64 {
        restore_up_to(self.sinks.iter().map(|sink| (&sink.settings.kind, sink.published)))
    }

    /// Opens the sinks. Waits for brokers, until the start is broken off.
    ///
    /// # Errors
    /// As [`look`](Looked::look).
    pub(crate) fn claim(self) -> Result<Opened, SinkError> {
        let sinks = at_once(self.sinks, &self.has_failed, |LookedAt { settings, publisher, .. }| {
            let identity = publisher.identity.clone();
            let publisher = Publisher::open(publisher, self.cancel.clone())?;
            Ok(OpenSink { settings, identity, publisher, published: None })
        })?;
        // What a killed process has left open in one sink hides the progress of the others, until all are taken back.
        let sinks = at_once(sinks, &self.has_failed, |mut sink| {
            sink.published = sink.publisher.claim(self.bound)?;
            Ok(sink)
        })?;
        self.is_started.store(true, Ordering::Relaxed);
        Ok(Opened { settings: self.settings, stop: self.stop, sinks })
    }
}

/// Does the same for every sink, at once. Where it fails for one the others are told not to wait any longer.
fn at_once<T: Send, U: Send>(
    sinks: impl IntoIterator<Item = T>,
    has_failed: &AtomicBool,
    run: impl Fn(T) -> Result<U, SinkError> + Sync,
) -> Result<Vec<U>, SinkError> {
    let run = |sink| run(sink).inspect_err(|_| has_failed.store(true, Ordering::Relaxed));
    let done: Vec<Result<U, SinkError>> = thread::scope(|scope| {
        let threads: Vec<_> = sinks.into_iter().map(|sink| scope.spawn(|| run(sink))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    });
    let (mut all, mut cause) = (Vec::new(), None);
    for one in done {
        match one {
            Ok(sink) => all.push(sink),
            // The others were only broken off.
            Err(error) if matches!(cause, None | Some(SinkError::Cancelled)) => cause = Some(error),
            Err(_) => {}
        }
    }
    cause.map_or(Ok(all), Err)
}

impl Opened {
    /// The newest epoch whose state every sink can go on from without publishing its whole table again.
    pub(crate) fn restore_up_to(&self) -> u64 {
        restore_up_to(self.sinks.iter().map(|sink| (&sink.settings.kind, sink.published)))
    }
}

/// Only what an epoch changed in counts can not be read for epochs behind the checkpoint that was restored.
fn restore_up_to<'a>(published: impl Iterator<Item = (&'a Kind, Option<u64>)>) -> u64 {
    let mut counts = published.filter(|(kind, _)| matches!(kind, Kind::Counts(_)));
    counts.next().map_or(u64::MAX, |(_, published)| published.unwrap_or(0))
}
