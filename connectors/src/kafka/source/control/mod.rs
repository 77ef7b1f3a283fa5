//! The thread that looks at topics: it numbers streams, assigns partitions, and says why reading can not go on.

mod absent;
mod ask;
mod look;
mod plan;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use rdkafka::consumer::base_consumer::BaseConsumer;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use recount_dataflow::domain::fact::Position;

use self::absent::Absent;
use self::ask::Cluster;
pub use self::look::look;
use self::plan::{Look, Wants};
use super::bell::Bell;
use super::check::{Standing, gap_of_offsets, gap_of_topic};
use super::context::Context;
use super::error::KafkaSourceError;
use super::format::TopicFormat;
use super::partition::{BATCHES_MAX, Item, Partition, Suspect, Trouble};
use super::raw::Records;
use super::settings::{AcceptedGap, KafkaSourceSettings};
use super::share::Share;
use super::shared::{Known, News, Shared};
use super::stats::StreamStats;
use super::{Resume, SETTINGS_WAIT};
use crate::kafka::{Client, KafkaError, Watch, creation};
use crate::streams::Streams;

/// How long one look at the queue of events lasts.
const POLL: Duration = Duration::from_millis(50);
/// How long to wait before a cluster, or a partition, that was not reached is asked again.
const RETRY: Duration = Duration::from_millis(500);
/// How often it is said that a cluster is not reached.
const WARN_EVERY: Duration = Duration::from_secs(30);
/// Time between two commits of the group's offsets.
const COMMIT_EVERY: Duration = Duration::from_secs(2);

/// Where reading stands, by stream.
struct Positions {
    /// The next offset to be read, where it is not the first.
    checkpoint: BTreeMap<u16, u64>,
    /// How far the newest epoch reaches.
    bound: BTreeMap<u16, u64>,
}

impl Positions {
    fn of(resume: Resume<'_>) -> Self {
        let by_stream = |positions: &[Position]| positions.iter().map(|at| (at.stream, at.offset)).collect();
        Positions { checkpoint: by_stream(resume.positions), bound: by_stream(resume.bound) }
    }
}

/// A thread that reads.
pub(super) struct ReaderHandle {
    pub(super) partitions: Sender<Partition>,
    pub(super) bell: Arc<Bell>,
}

/// The thread.
pub(super) struct Control {
    settings: KafkaSourceSettings,
    client: Client,
    cluster: Cluster,
    /// What a partition may have read ahead.
    share: Share,
    list: Streams,
    positions: Positions,
    shared: Arc<Shared>,
    readers: Vec<ReaderHandle>,
    suspects: Receiver<Suspect>,
    /// Streams that are read.
    reading: BTreeMap<u16, Arc<StreamStats>>,
    /// Gaps that were accepted, and are still to be found.
    accepted: Vec<AcceptedGap>,
    /// Partitions that nobody answered for in the last look.
    absent: Vec<Absent>,
    has_said_left_out: bool,
    warned: Option<Instant>,
}

/// Refuses formats that are not those that topics were read with.
pub(super) fn check_formats(settings: &KafkaSourceSettings, list: &Streams) -> Result<(), KafkaSourceError> {
    for (number, stream) in list.all().iter().enumerate() {
        let topic = settings.topics.iter().find(|topic| topic.name == stream.topic);
        let Some(topic) = topic.filter(|_| list.end(number as u16).is_none()) else { continue };
        if topic.format.as_str() != stream.format {
            let (topic, is) = (topic.name.clone(), topic.format.as_str().to_owned());
            return Err(KafkaSourceError::Format { topic, was: stream.format.clone(), is });
        }
    }
    Ok(())
}

/// Whether everything that streams ever began with is still there. Of a compacted topic nobody knows.
///
/// # Errors
/// Where the cluster does not answer.
pub fn is_whole(settings: &KafkaSourceSettings, list: &Streams) -> Result<bool, KafkaSourceError> {
    let client = Client::new(&settings.client)?;
    let share = Share::of(settings.prefetch_bytes, list.all().len());
    let cluster = Cluster::connect(&client, settings, share, Arc::default())?;
    let names: Vec<&str> = list.all().iter().map(|stream| stream.topic.as_str()).collect();
    let topics = cluster.topics(&names)?;
    for (number, stream) in list.all().iter().enumerate() {
        let standing = Standing { stream: number as u16, next: stream.first_offset, bound: stream.first_offset };
        if list.end(standing.stream).is_some() || gap_of_topic(stream, standing, topics.get(&stream.topic)).is_some() {
            return Ok(false);
        }
        if gap_of_offsets(standing, cluster.offsets(&stream.topic, stream.partition)?).is_some() {
            return Ok(false);
        }
    }
    for topic in topics.keys() {
        if client.is_compacted(topic, SETTINGS_WAIT)? {
            tracing::info!(topic, "is compacted, so that not everything that was read can be read again");
            return Ok(false);
        }
    }
    Ok(true)
}

impl Control {
    pub(super) fn new(
        settings: KafkaSourceSettings,
        client: &Client,
        list: Streams,
        resume: Resume<'_>,
        shared: Arc<Shared>,
        readers: Vec<ReaderHandle>,
        suspects: Receiver<Suspect>,
    ) -> Result<Control, KafkaSourceError> {
        let share = Share::of(settings.prefetch_bytes, list.all().len());
        let cluster = Cluster::connect(client, &settings, share, Arc::clone(&shared.stats))?;
        Ok(Control {
            accepted: settings.accepted_gaps.clone(),
            settings,
            client: client.clone(),
            cluster,
            share,
            list,
            positions: Positions::of(resume),
            shared,
            readers,
            suspects,
            reading: BTreeMap::new(),
            absent: Vec::new(),
            has_said_left_out: false,
            warned: None,
        })
    }

    /// Runs until the source is dropped, or can not go on.
    pub(super) fn run(mut self) {
        if let Err(error) = self.serve() {
            self.shared.tell(News::Failed(error));
        }
        // Readers hold the queues of this consumer; it goes after them.
    }

    fn serve(&mut self) -> Result<(), KafkaSourceError> {
        let mut look_at = Instant::now();
        let mut commit_at = Instant::now() + COMMIT_EVERY;
        while !self.shared.is_stopped() {
            self.cluster.poll(POLL);
            if look_at <= Instant::now() {
                let has_looked = self.or_later(Control::look)?.is_some();
                let is_all = has_looked && self.absent.is_empty();
                look_at = Instant::now() + if is_all { self.settings.metadata_interval } else { RETRY };
            }
            while let Ok(suspect) = self.suspects.try_recv() {
                self.judge(&suspect)?;
            }
            if commit_at <= Instant::now() {
                self.commit();
                commit_at = Instant::now() + COMMIT_EVERY;
            }
        }
        self.commit();
        self.cluster.poll(POLL);
        Ok(())
    }

    /// Does what may be done later where a cluster is not reached now; then it says so, now and then.
    fn or_later<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, KafkaSourceError>,
    ) -> Result<Option<T>, KafkaSourceError> {
        match work(self) {
            Ok(done) => {
                if self.warned.take().is_some() {
                    tracing::info!("the Kafka cluster is reached again");
                }
                Ok(Some(done))
            }
            Err(error) if error.is_retryable() => {
                if self.warned.is_none_or(|warned| WARN_EVERY <= warned.elapsed()) {
                    tracing::warn!(%error, "no records come in until the Kafka cluster is reached; it is tried again, and reads go on");
                    self.warned = Some(Instant::now());
                }
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Says why a partition can not be read on.
    fn judge(&mut self, suspect: &Suspect) -> Result<(), KafkaSourceError> {
        let number = suspect.stream;
        if self.what_to_look_at().wants(number) == Wants::Nothing {
            return Ok(());
        }
        let stream = self.list.all()[usize::from(number)].clone();
        let (topic, partition) = (stream.topic.clone(), stream.partition);
        match &suspect.trouble {
            Trouble::TooFar(offset) => return Err(KafkaSourceError::TooFar { topic, partition, offset: *offset }),
            Trouble::Unreadable(cause) => {
                let (offset, cause) = (suspect.next, cause.to_string());
                return Err(KafkaSourceError::Unreadable { topic, partition, offset, cause });
            }
            Trouble::Missing => {}
        }
        self.positions.checkpoint.insert(number, suspect.next);
        self.positions.bound.insert(number, suspect.next);
        while !self.shared.is_stopped() {
            let looked = self.or_later(|control| {
                control.look()?;
                control.cluster.offsets(&topic, partition)
            })?;
            if let Some((low, end)) = looked {
                let standing = Standing { stream: number, next: suspect.next, bound: suspect.next };
                return Err(match gap_of_offsets(standing, (low, end)) {
                    Some(gap) => gap.refuse(&stream, Vec::new()),
                    None => KafkaSourceError::Refused { topic, partition, wanted: suspect.next, low, end },
                });
            }
            self.cluster.poll(RETRY);
        }
        Ok(())
    }

    fn what_to_look_at(&self) -> Look<'_> {
        let Control { settings, cluster, list, positions, reading, .. } = self;
        Look { settings, cluster, list, begins: list.is_written(), positions, reading }
    }

    /// Begins to read every stream that is not read yet.
    fn assign(&mut self, streams: &[u16]) -> Result<(), KafkaSourceError> {
        let mut assignment = TopicPartitionList::new();
        for &number in streams {
            let stream = self.list.all()[usize::from(number)].clone();
            let format: TopicFormat = stream.format.parse().map_err(|_| self.unknown_format(&stream.topic))?;
            let look = self.what_to_look_at();
            let (next, wants) = (look.standing(number).next, look.wants(number));
            let (items, received) = bounded::<Item>(BATCHES_MAX);
            let stats = Arc::new(StreamStats::new(&stream, next));
            let reader = &self.readers[usize::from(number) % self.readers.len()];
            let bell = Arc::clone(&reader.bell);
            // Before it is assigned: what comes then goes to this queue from the first record on.
            let queue = self.cluster.queue(&stream.topic, stream.partition, move || bell.ring())?;
            let offset = Offset::Offset(next as i64);
            let added = assignment.add_partition_offset(&stream.topic, stream.partition, offset);
            added.map_err(|cause| KafkaError::call("a partition can not be assigned", cause))?;
            let partition = Partition {
                stream: number,
                format,
                batch_bytes: self.share.batch_bytes,
                queue,
                items,
                stats: Arc::clone(&stats),
                next,
                open: Records::new(number, 0),
                waiting: Default::default(),
                is_suspect: false,
            };
            // Readers run until the source is dropped.
            let _ = reader.partitions.send(partition);
            let is_live = wants == Wants::All;
            if is_live {
                self.shared.stats.add(Arc::clone(&stats));
            }
            self.shared.tell(News::Reading {
                stream: number,
                is_live,
                items: received,
                reader: Arc::clone(&reader.bell),
                stats: Arc::clone(&stats),
            });
            self.reading.insert(number, stats);
        }
        self.cluster.assign(&assignment)
    }

    /// Shares what may be read ahead among so many partitions. A client can not be told later, so another one takes over before it
    /// reads anything.
    fn share_among(&mut self, partitions: usize) -> Result<(), KafkaSourceError> {
        let share = Share::of(self.settings.prefetch_bytes, partitions);
        if share != self.share {
            self.cluster = Cluster::connect(&self.client, &self.settings, share, Arc::clone(&self.shared.stats))?;
            self.share = share;
        }
        Ok(())
    }

    fn unknown_format(&self, topic: &str) -> KafkaSourceError {
        let settings = self.settings.topics.iter().find(|one| one.name == topic);
        let is = settings.map_or("nothing", |topic| topic.format.as_str()).to_owned();
        KafkaSourceError::Format { topic: topic.to_owned(), was: "a format of a newer version".to_owned(), is }
    }

    /// Lets everybody know the streams of the list.
    fn publish(&self) {
        let mut known = self.shared.known.write().expect("nothing panics while it holds the streams");
        *known = (self.list.all().iter().enumerate())
            .map(|(number, stream)| Known { stream: stream.clone(), end: self.list.end(number as u16) })
            .collect();
    }

    /// Commits what was bound, for lag tools. Nothing waits for it.
    fn commit(&self) {
        let Some(positions) = self.shared.take_bound().filter(|_| self.list.is_written()) else { return };
        let mut offsets = TopicPartitionList::new();
        for (stream, offset) in positions.into_iter().filter(|(stream, _)| self.reading.contains_key(stream)) {
            let stream = &self.list.all()[usize::from(stream)];
            // An offset that was bound is one that a partition can have.
            let _ = offsets.add_partition_offset(&stream.topic, stream.partition, Offset::Offset(offset as i64));
        }
        if offsets.count() > 0 {
            self.cluster.commit(&offsets);
        }
    }
}

/// The consumer's type.
type Consumer = BaseConsumer<Context>;

/// Makes a consumer that may fetch so much ahead.
fn consumer(
    client: &Client,
    settings: &KafkaSourceSettings,
    share: Share,
    context: Context,
) -> Result<Consumer, KafkaSourceError> {
    let mut config = client.consumer_config(&settings.group);
    let has_fetch_bytes = config.get("fetch.message.max.bytes").is_some();
    let mut unless_given = |name: &str, value: String| {
        if config.get(name).is_none() {
            config.set(name, value);
        }
    };
    // Every partition has a queue of its own, and then this is of each.
    unless_given("queued.max.messages.kbytes", share.queue_kib.to_string());
    if !has_fetch_bytes {
        unless_given("max.partition.fetch.bytes", share.fetch_bytes.to_string());
    }
    // A queue that was full is filled again as soon as there is room.
    unless_given("fetch.queue.backoff.ms", "10".to_owned());
    unless_given("fetch.wait.max.ms", "100".to_owned());
    unless_given("statistics.interval.ms", "1000".to_owned());
    // There is no session, since nobody joins the group. For so long a commit waits for who coordinates it, and so does the end of the
    // consumer.
    unless_given("session.timeout.ms", "3000".to_owned());
    config.create_with_context(context).map_err(|cause| creation(cause).into())
}

/// A context that keeps count in `stats`.
fn context(stats: Arc<super::KafkaStats>) -> (Context, Watch) {
    let watch = Watch::default();
    (Context { watch: watch.clone(), stats }, watch)
}
