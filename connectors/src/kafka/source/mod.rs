//! Kafka as a source: partitions that are assigned by us, from offsets that we know.
//!
//! ```text
//!             control ──looks at topics, numbers streams, assigns──▶ librdkafka ──fetches──▶ queues, one a partition
//!                │                                                                                │
//!   news         ▼                 batches, a channel a partition                                 ▼
//! feed ◀── KafkaSource ◀───────────────────────────────────────────────── readers: copy, decode, validate
//! ```
//!
//! Nothing else than what was bound to epochs decides where reading goes on; the group's offsets are for lag tools. A record's next
//! offset is its offset and one; offsets without a record (markers of transactions, what compaction took) and records without a
//! value are no records. What is missing is never skipped: `check` says what it is, and [`KafkaSourceError`] how to accept it.
//! Which partition goes first while a history is read is decided in `skew`, and how long it is waited for in `wait_for`.

mod bell;
mod check;
mod context;
mod control;
mod error;
pub(super) mod format;
mod holding;
mod lookup;
pub(super) mod native;
mod partition;
mod raw;
mod settings;
mod share;
mod shared;
mod skew;
mod stats;
mod stream;
mod wait_for;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, unbounded};
use recount_dataflow::domain::fact::Position;
use recount_dataflow::domain::fingerprint::HashKey;
use recount_dataflow::domain::rules::Rules;
use recount_dataflow::engine::StreamName;
use recount_dataflow::intake::{AdName, Batch, Intake};

use self::bell::Bell;
use self::control::{Control, ReaderHandle};
use self::holding::{AbsentFeed, Holding};
pub(super) use self::partition::is_unreadable;
use self::partition::{Decoder, Limits, Reader};
use self::shared::{Known, News, Shared};
use self::skew::Choice;
use self::stream::StreamFeed;
use self::wait_for::{Reach, WaitFor};
use super::Client;
use crate::error::SourceError;
use crate::raw_store::RawStore;
use crate::source::{Next, Source, Stopper};
use crate::streams::Streams;

pub use control::{is_whole, look};
pub use error::KafkaSourceError;
pub use format::TopicFormat;
pub(super) use lookup::is_gone;
pub use settings::{AcceptedGap, KafkaSourceSettings, Start, Topic, place_of};
pub use stats::{KafkaStats, PartitionProgress};

/// How long a question for the settings of a topic may take.
const SETTINGS_WAIT: Duration = Duration::from_secs(5);
/// A batch's timestamps lie in a part of what partitions should be apart at most.
const SPANS_IN_REACH: i64 = 2;
/// Where there is no bound, batches end where they are full.
const NO_SPAN_MS: i64 = i64::MAX;

/// Where reading stands when a source starts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Resume<'a> {
    /// The next offset of every stream that has been read from, as of the checkpoint.
    pub positions: &'a [Position],
    /// The same, as of the newest epoch that was bound.
    pub bound: &'a [Position],
}

/// Batches of topics, from given positions on.
pub struct KafkaSource {
    shared: Arc<Shared>,
    client: Client,
    group: String,
    streams: Vec<StreamFeed>,
    /// Partitions that the others wait for, and that can not be read.
    absent: Vec<AbsentFeed>,
    holding: Holding,
    /// The names of ads in the batches that are being read: of no more than those.
    names: Receiver<Vec<AdName>>,
    reach: Option<Reach>,
    wait_for: WaitFor,
    readers: Vec<Arc<Bell>>,
    threads: Vec<JoinHandle<()>>,
}

impl KafkaSource {
    /// Starts to read the topics. The list of streams gets what is new, where it was opened for writing. That brokers can not be
    /// reached is no error: it is tried for as long as it takes, and said.
    ///
    /// # Errors
    /// Where settings can not be used, or are not those that the streams were read with.
    pub fn start(
        settings: &KafkaSourceSettings,
        list: Streams,
        resume: Resume<'_>,
        key: HashKey,
        rules: Rules,
    ) -> Result<KafkaSource, KafkaSourceError> {
        let client = Client::new(&settings.client)?;
        control::check_formats(settings, &list)?;
        let known = list
            .all()
            .iter()
            .enumerate()
            .map(|(number, stream)| Known { stream: stream.clone(), end: list.end(number as u16) });
        let shared = Arc::new(Shared::new(known.collect()));
        let (named, names) = unbounded();
        let reach = settings
            .max_partition_skew
            .map(|skew| Reach::new(skew.as_millis().min(i64::MAX as u128) as i64, rules.allowed_lateness_ms));
        let mut source = KafkaSource {
            shared: Arc::clone(&shared),
            client: client.clone(),
            group: settings.group.clone(),
            streams: Vec::new(),
            absent: Vec::new(),
            holding: Holding::default(),
            names,
            reach,
            wait_for: WaitFor::default(),
            readers: Vec::new(),
            threads: Vec::new(),
        };
        source.take_in_streams(resume);
        let span_ms = reach.map_or(NO_SPAN_MS, |reach| reach.near_ms() / SPANS_IN_REACH);
        let (suspects, told) = unbounded();
        let mut readers = Vec::new();
        let limits = Limits { span_ms };
        for number in 0..settings.threads.max(1) {
            let (sender, inbox) = unbounded();
            let bell = Arc::new(Bell::default());
            let reader = Reader {
                inbox,
                partitions: Vec::new(),
                decoder: Decoder { intake: Intake::new(key, rules), names: named.clone() },
                limits,
                bell: Arc::clone(&bell),
                feed: Arc::clone(&shared.feed),
                suspects: suspects.clone(),
                stopped: Arc::clone(&shared.stopped),
            };
            source.readers.push(Arc::clone(&bell));
            source.spawn(format!("kafka-read-{number}"), move || reader.run())?;
            readers.push(ReaderHandle { partitions: sender, bell });
        }
        let control = Control::new(settings.clone(), &client, list, resume, shared, readers, told)?;
        source.spawn("kafka".to_owned(), move || control.run())?;
        Ok(source)
    }

    fn spawn(&mut self, name: String, work: impl FnOnce() + Send + 'static) -> Result<(), KafkaSourceError> {
        let (shared, called) = (Arc::clone(&self.shared), name.clone());
        let thread = thread::Builder::new().name(name).spawn(move || shared.guard(&called, work));
        self.threads.push(thread.map_err(KafkaSourceError::Thread)?);
        Ok(())
    }

    /// What is told of it, for any thread.
    pub fn stats(&self) -> Arc<KafkaStats> {
        Arc::clone(&self.shared.stats)
    }

    /// Takes streams in that others have added to the list.
    fn take_in_streams(&mut self, resume: Resume<'_>) {
        let known = self.shared.known.read().expect("nothing panics while it holds the streams");
        for (number, known) in known.iter().enumerate().skip(self.streams.len()) {
            let position = Position::in_stream(resume.positions, number as u16).unwrap_or(known.stream.first_offset);
            self.streams.push(StreamFeed::new(known, position));
        }
    }

    /// Hears what the other threads have to say.
    fn hear(&mut self) -> Result<(), SourceError> {
        while let Some(news) = self.shared.hear() {
            match news {
                News::Failed(error) => return Err(error.into()),
                News::Absent(stats) => {
                    // Where others are read already, it stands where the slowest of them does; before that nothing is known.
                    let live = self.streams.iter().filter(|stream| stream.is_live());
                    let passed_ms = live.map(|stream| stream.front().passed_ms).min().unwrap_or(i64::MIN);
                    self.absent.push(AbsentFeed { stats, passed_ms });
                }
                News::Reading { stream, is_live, items, reader, stats } => {
                    self.take_in_streams(Resume::default());
                    self.absent.retain(|absent| absent.stats.place() != stats.place());
                    self.streams[usize::from(stream)].attach(is_live, items, reader, stats);
                }
            }
        }
        Ok(())
    }

    /// The batch, with all names that its ads may have come by.
    fn with_names(&self, mut batch: Batch) -> Batch {
        batch.ads.extend(self.names.try_iter().flatten());
        batch
    }

    /// The batch that comes next, where there is one that may.
    fn choose(&mut self) -> Option<Batch> {
        self.streams.iter_mut().for_each(StreamFeed::pull);
        let live = |stream: &&StreamFeed| stream.is_live();
        let fronts = self.streams.iter().filter(live).map(StreamFeed::front);
        let fronts = fronts.chain(self.absent.iter().map(AbsentFeed::front));
        let choice = self.wait_for.choose(fronts, self.reach, Instant::now());
        let is_held = matches!(choice, Choice::Held { .. });
        self.streams.iter().filter(live).for_each(|stream| stream.tell_held(is_held));
        let stats = self.streams.iter().filter(live).filter_map(StreamFeed::stats);
        let by = match choice {
            Choice::Held { by } => stats.chain(self.absent.iter().map(|one| &one.stats)).nth(by),
            Choice::Take(_) | Choice::Nothing => None,
        };
        self.holding.tell(by, Instant::now());
        match choice {
            Choice::Take(chosen) => self.streams.iter_mut().filter(|stream| stream.is_live()).nth(chosen)?.take(),
            Choice::Held { .. } | Choice::Nothing => None,
        }
    }
}

impl Source for KafkaSource {
    fn streams(&self) -> Vec<StreamName> {
        let name = |known: &Known| StreamName { source: known.stream.topic.clone(), partition: known.stream.partition };
        self.shared.known.read().expect("nothing panics while it holds the streams").iter().map(name).collect()
    }

    fn next_within(&mut self, wait: Duration) -> Result<Next, SourceError> {
        let deadline = Instant::now() + wait;
        loop {
            self.hear()?;
            if let Some(batch) = self.choose() {
                return Ok(Next::Batch(self.with_names(batch)));
            }
            if self.shared.is_stopped() {
                return Ok(Next::End);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Next::Waiting);
            }
            self.shared.feed.wait(left);
        }
    }

    fn next_of(&mut self, stream: u16, end: u64, wait: Duration) -> Result<Next, SourceError> {
        let deadline = Instant::now() + wait;
        loop {
            self.hear()?;
            let Some(one) = self.streams.get_mut(usize::from(stream)) else {
                // Who reads beside the process that writes may hear of a stream after it was bound.
                self.take_in_streams(Resume::default());
                if self.streams.len() <= usize::from(stream) {
                    if deadline <= Instant::now() || self.shared.is_stopped() {
                        return Ok(Next::Waiting);
                    }
                    self.shared.feed.wait(deadline.saturating_duration_since(Instant::now()));
                }
                continue;
            };
            match one.next_before(stream, end)? {
                Some(Next::Batch(batch)) => return Ok(Next::Batch(self.with_names(batch))),
                Some(next) => return Ok(next),
                None => {}
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.shared.is_stopped() {
                return Ok(Next::Waiting);
            }
            self.shared.feed.wait(left);
        }
    }

    fn bound(&mut self, positions: &[(u16, u64)]) {
        self.shared.put_bound(positions);
    }

    fn compacted(&self) -> Vec<String> {
        let streams = self.streams().into_iter().map(|stream| stream.source);
        let topics: BTreeSet<String> = streams.collect();
        // Where nobody answers nothing is known.
        let is_compacted = |topic: &String| self.client.is_compacted(topic, SETTINGS_WAIT).unwrap_or_default();
        topics.into_iter().filter(is_compacted).collect()
    }

    fn stopper(&self) -> Stopper {
        let shared = Arc::clone(&self.shared);
        Stopper::new(Arc::clone(&self.shared.stopped), move || shared.feed.ring())
    }

    fn raw_store(&self) -> RawStore {
        lookup::raw_store(self.client.clone(), self.group.clone(), Arc::clone(&self.shared))
    }
}

impl Drop for KafkaSource {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        self.readers.iter().for_each(|bell| bell.ring());
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread that reads Kafka panicked; this is a bug in Recount");
            }
        }
    }
}
