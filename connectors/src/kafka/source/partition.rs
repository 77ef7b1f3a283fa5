//! The threads that read and decode.
//!
//! Each has some of the partitions. It reads one where there is room in its channel, and never waits for room: a partition that
//! is held back stands still by itself, and its queue in librdkafka fills up to its bound, whereupon nothing more is fetched of it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, Sender};
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::error::{KafkaError as Cause, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedMessage, Message as _};
use recount_dataflow::domain::fact::OFFSET_END;
use recount_dataflow::domain::validate::Violation;
use recount_dataflow::intake::{AdName, Batch, Intake};

use super::bell::Bell;
use super::context::Context;
use super::format::{CONTENT_TYPE, RecordFormat, TopicFormat, of_content_type};
use super::native::header;
use super::raw::Records;
use super::stats::StreamStats;

/// Records in a batch.
const BATCH_RECORDS_MAX: usize = 4_096;
/// Batches of a partition that may wait for the feed.
pub(super) const BATCHES_MAX: usize = 2;
/// How long an idle thread sleeps where nothing wakes it.
const IDLE: Duration = Duration::from_millis(100);

/// What a partition's channel carries, in the order of its offsets.
pub(super) enum Item {
    /// Some records: the timestamp of the first, and the greatest, ms.
    Batch { batch: Batch, first_ms: i64, max_ms: i64 },
    /// There was nothing more.
    End,
}

/// A partition that can not be read on until somebody has looked at it.
pub(super) struct Suspect {
    pub(super) stream: u16,
    /// The next offset.
    pub(super) next: u64,
    pub(super) trouble: Trouble,
}

/// What is the matter with it.
pub(super) enum Trouble {
    /// The broker says that the offset, or the topic, is not there.
    Missing,
    /// A batch can not be read.
    Unreadable(Cause),
    /// An offset that no position can hold.
    TooFar(i64),
}

/// What bounds a batch.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// How far its timestamps may go beyond the first one's.
    pub(super) span_ms: i64,
}

/// A partition, as far as it was read.
pub(super) struct Partition {
    pub(super) stream: u16,
    pub(super) format: TopicFormat,
    /// Bytes at which a batch is full.
    pub(super) batch_bytes: usize,
    pub(super) queue: PartitionQueue<Context>,
    pub(super) items: Sender<Item>,
    pub(super) stats: Arc<StreamStats>,
    /// The next offset.
    pub(super) next: u64,
    /// Read, and not yet a batch.
    pub(super) open: Records,
    /// What did not fit into the channel.
    pub(super) waiting: VecDeque<Item>,
    /// It stands still until somebody has looked at it.
    pub(super) is_suspect: bool,
}

/// What makes a thread's records into batches. An ad is named once a thread, and which of its partitions is handed out first is
/// decided later: so names do not go with batches, but ahead of them.
pub(super) struct Decoder {
    pub(super) intake: Intake,
    pub(super) names: Sender<Vec<AdName>>,
}

impl Decoder {
    fn decode(&mut self, records: Records) -> Batch {
        let mut batch = records.decode(&mut self.intake);
        if !batch.ads.is_empty() {
            // Where nobody listens any more the source is going.
            let _ = self.names.send(std::mem::take(&mut batch.ads));
        }
        batch
    }
}

/// One thread.
pub(super) struct Reader {
    pub(super) inbox: Receiver<Partition>,
    pub(super) partitions: Vec<Partition>,
    pub(super) decoder: Decoder,
    pub(super) limits: Limits,
    /// Wakes this thread.
    pub(super) bell: Arc<Bell>,
    /// Wakes the feed.
    pub(super) feed: Arc<Bell>,
    pub(super) suspects: Sender<Suspect>,
    pub(super) stopped: Arc<AtomicBool>,
}

impl Reader {
    /// Reads until the source is dropped.
    pub(super) fn run(mut self) {
        while !self.stopped.load(Ordering::SeqCst) {
            self.partitions.extend(self.inbox.try_iter());
            let mut is_idle = true;
            for partition in &mut self.partitions {
                let step = partition.step(&mut self.decoder, self.limits);
                if let Step::Read = step {
                    is_idle = false;
                    self.feed.ring();
                }
                if let Step::Suspect(trouble) = step {
                    let (stream, next) = (partition.stream, partition.next);
                    // Where nobody listens any more the source is going.
                    let _ = self.suspects.send(Suspect { stream, next, trouble });
                }
            }
            if is_idle {
                self.bell.wait(IDLE);
            }
        }
    }
}

/// What came of a step.
enum Step {
    /// Something was handed on.
    Read,
    /// There was nothing to read, or no room.
    Idle,
    Suspect(Trouble),
}

impl Partition {
    /// Reads a batch, where there is room for one.
    fn step(&mut self, decoder: &mut Decoder, limits: Limits) -> Step {
        let has_handed_on = self.hand_on();
        if self.is_suspect || !self.waiting.is_empty() || self.items.is_full() {
            return if has_handed_on { Step::Read } else { Step::Idle };
        }
        let read = self.read(limits);
        if let Some(full) = read.full {
            self.push(full, decoder);
        }
        match read.stop {
            Stop::Full => {}
            Stop::Empty => self.push_open(decoder),
            Stop::End => {
                self.push_open(decoder);
                self.waiting.push_back(Item::End);
            }
            Stop::Trouble(trouble) => {
                self.push_open(decoder);
                self.is_suspect = true;
                self.hand_on();
                return Step::Suspect(trouble);
            }
        }
        match self.hand_on() || has_handed_on {
            true => Step::Read,
            false => Step::Idle,
        }
    }

    /// Hands on what waits, as far as there is room.
    fn hand_on(&mut self) -> bool {
        let mut any = false;
        while let Some(item) = self.waiting.pop_front() {
            if let Err(error) = self.items.try_send(item) {
                self.waiting.push_front(error.into_inner());
                break;
            }
            any = true;
        }
        any
    }

    fn push_open(&mut self, decoder: &mut Decoder) {
        let open = std::mem::replace(&mut self.open, Records::new(self.stream, 0));
        self.push(open, decoder);
    }

    fn push(&mut self, records: Records, decoder: &mut Decoder) {
        if records.len() > 0 {
            let (first_ms, max_ms) = records.times_ms();
            self.waiting.push_back(Item::Batch { batch: decoder.decode(records), first_ms, max_ms });
        }
    }

    /// Reads what librdkafka has fetched, up to a batch.
    fn read(&mut self, limits: Limits) -> Read {
        // A timestamp from the future would make everything else look late.
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
        loop {
            if BATCH_RECORDS_MAX <= self.open.len() || self.batch_bytes <= self.open.bytes() {
                let full = std::mem::replace(&mut self.open, Records::new(self.stream, self.batch_bytes));
                return Read { full: Some(full), stop: Stop::Full };
            }
            let message = match self.queue.poll(Duration::ZERO) {
                None => return Read { full: None, stop: Stop::Empty },
                Some(Err(Cause::PartitionEOF(_))) => return Read { full: None, stop: Stop::End },
                Some(Err(cause)) => match trouble(&cause) {
                    Some(trouble) => return Read { full: None, stop: Stop::Trouble(trouble) },
                    // librdkafka tries again by itself; what is of a connection the watch has told of.
                    None if cause.rdkafka_error_code() == Some(Code::TopicAuthorizationFailed) => {
                        self.stats.refuse();
                        continue;
                    }
                    None => continue,
                },
                Some(Ok(message)) => message,
            };
            let offset = match u64::try_from(message.offset()) {
                Ok(offset) if offset < OFFSET_END - 1 => offset,
                _ => return Read { full: None, stop: Stop::Trouble(Trouble::TooFar(message.offset())) },
            };
            assert!(self.next <= offset, "offset {offset} came when {} was next", self.next);
            self.next = offset + 1;
            let Some(payload) = message.payload() else {
                self.stats.tombstones.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            let arrival_ms = message.timestamp().to_millis();
            let format = format_of(self.format, &message);
            let (first_ms, _) = self.open.times_ms();
            let is_far = first_ms != i64::MIN
                && arrival_ms.is_some_and(|ms| first_ms.saturating_add(limits.span_ms) < ms.min(now_ms));
            let full = is_far.then(|| std::mem::replace(&mut self.open, Records::new(self.stream, self.batch_bytes)));
            self.open.push(offset, payload, arrival_ms, now_ms, format);
            if full.is_some() {
                return Read { full, stop: Stop::Full };
            }
        }
    }
}

/// What was read.
struct Read {
    /// A batch that has to go on before anything else.
    full: Option<Records>,
    stop: Stop,
}

/// Why reading stopped.
enum Stop {
    Full,
    Empty,
    End,
    Trouble(Trouble),
}

/// What an error says of a partition; `None` where it passes by itself.
fn trouble(cause: &Cause) -> Option<Trouble> {
    match cause.rdkafka_error_code()? {
        Code::AutoOffsetReset
        | Code::LogTruncation
        | Code::OffsetOutOfRange
        | Code::UnknownTopicOrPartition
        | Code::UnknownTopic
        | Code::UnknownPartition => Some(Trouble::Missing),
        code if is_unreadable(code) => Some(Trouble::Unreadable(cause.clone())),
        _ => None,
    }
}

/// Whether a batch came, and can not be read.
pub(in crate::kafka) fn is_unreadable(code: Code) -> bool {
    matches!(
        code,
        Code::BadMessage
            | Code::BadCompression
            | Code::NotImplemented
            | Code::InvalidMessage
            | Code::MessageSizeTooLarge
    )
}

#[inline]
fn format_of(format: TopicFormat, message: &BorrowedMessage<'_>) -> Result<RecordFormat, Violation> {
    match format.fixed() {
        Some(format) => Ok(format),
        None => of_content_type(header(message, CONTENT_TYPE)),
    }
}
