//! Files of events into a topic: every record as it stands in its file, counted once it is delivered.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::producer::BaseRecord;
use recount_dataflow::domain::event::Event;
use thiserror::Error;

use super::client::Client;
use super::error::KafkaError;
use super::outbox::Outbox;
use super::properties::{set, set_default};
use crate::error::SourceError;
use crate::file::RawRecords;
use crate::format::{Decoded, Format, decode_one};
use crate::protobuf::wire::{Wire, take_field};

/// How long the cluster may take to answer at first.
const CONNECT_WAIT: Duration = Duration::from_secs(15);
/// How many records are sent between two looks at what was delivered.
const POLL_RECORDS: u64 = 1_000;
/// Bytes of a batch, at most.
const BATCH_BYTES: i64 = 1_000_000;

/// Properties that make a producer fast, where nobody says otherwise.
const FAST: [(&str, &str); 3] = [
    ("linger.ms", "20"),
    ("queue.buffering.max.kbytes", "131072"),
    // Records are up to a mebibyte; whether a larger message is taken is for the broker to say.
    ("message.max.bytes", "4000000"),
];

/// What goes into a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// The record as it stands in its file.
    Record,
    /// Of protobuf, the click alone; verdicts are left out.
    Click,
    /// Of protobuf, the verdict alone; clicks are left out.
    Verdict,
}

/// What a message is keyed by. A record without it, or that can not be read, has no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyBy {
    /// The click's id, so that copies and verdicts of a click are in one partition.
    ClickId,
    /// The ad's id, which verdicts have not.
    AdId,
    /// Nothing.
    Nothing,
}

/// What a message's timestamp is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timestamps {
    /// When it is sent.
    Now,
    /// When the event happened; of a record that can not be read, when it is sent.
    Event,
}

/// What to send, and how.
#[derive(Clone, Debug)]
pub struct ProduceSettings {
    /// The topic, which must be there.
    pub topic: String,
    /// What goes into a message.
    pub content: Content,
    /// The format that the files must have; `None` takes any.
    pub format: Option<Format>,
    /// What a message is keyed by.
    pub key: KeyBy,
    /// What a message's timestamp is.
    pub timestamps: Timestamps,
    /// Records a second, at most.
    pub rate: Option<u64>,
    /// Partitions to send to, by turns or by key; where there are none, librdkafka chooses among all.
    pub partitions: Vec<i32>,
    /// Whether all replicas in sync must have a record, or its leader alone.
    pub acks_all: bool,
    /// How batches are compressed: none, gzip, snappy, lz4 or zstd.
    pub compression: Option<String>,
}

impl ProduceSettings {
    /// Every record as it is, as fast as it goes.
    pub fn new(topic: impl Into<String>) -> Self {
        ProduceSettings {
            topic: topic.into(),
            content: Content::Record,
            format: None,
            key: KeyBy::Nothing,
            timestamps: Timestamps::Now,
            rate: None,
            partitions: Vec::new(),
            acks_all: true,
            compression: None,
        }
    }
}

/// What became of the records: each is counted exactly once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Produced {
    /// Records that the cluster has.
    pub delivered: u64,
    /// Records that may not have arrived, by what went wrong.
    pub failed: BTreeMap<String, u64>,
    /// Records of the other body, where only clicks or verdicts were asked for.
    pub left_out: u64,
    /// Records that the files do not hold whole, or whose body can not be taken out: not sent.
    pub unreadable: u64,
    /// Bytes of the values delivered.
    pub bytes: u64,
}

impl Produced {
    /// How many records may not have arrived.
    pub fn failures(&self) -> u64 {
        self.failed.values().sum()
    }
}

/// Why sending ended before the end of the files.
#[derive(Debug, Error)]
pub enum ProduceError {
    /// The cluster can not be used.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// A file can not be read.
    #[error(transparent)]
    File(#[from] SourceError),
    /// A file is written otherwise than what is to be sent.
    #[error("{file}: holds {}, which can not be sent as {}; records are sent as they are written, so generate the file anew",
        of_format(*.found), of_format(*.wanted))]
    Format {
        /// The path as given.
        file: String,
        /// How it is written.
        found: Format,
        /// How it should be.
        wanted: Format,
    },
}

fn of_format(format: Format) -> &'static str {
    match format {
        Format::JsonLines => "JSON lines",
        Format::Protobuf => "protobuf",
    }
}

/// Sends the records of some files, and returns when each has been delivered or has failed. `progress` is called now and then with
/// how many were sent, and the file.
///
/// # Errors
/// Where the topic can not be written to at all, or a file can not be read; what was sent before is waited for, and counted.
pub fn produce(
    client: &Client,
    files: &[String],
    settings: &ProduceSettings,
    progress: impl FnMut(u64, &str),
) -> (Produced, Result<(), ProduceError>) {
    match Sending::start(client, settings, progress) {
        Err(error) => (Produced::default(), Err(error.into())),
        Ok(mut sending) => {
            let sent = files.iter().try_for_each(|file| sending.file(file));
            (sending.finish(), sent)
        }
    }
}

/// A producer at work.
struct Sending<'a, P> {
    settings: &'a ProduceSettings,
    outbox: Outbox,
    progress: P,
    started: Instant,
    left_out: u64,
    unreadable: u64,
}

impl<'a, P: FnMut(u64, &str)> Sending<'a, P> {
    fn start(client: &Client, settings: &'a ProduceSettings, progress: P) -> Result<Self, KafkaError> {
        let topic = client.connect()?.topic(&settings.topic, CONNECT_WAIT)?;
        if let Some(missing) =
            settings.partitions.iter().find(|one| topic.partitions.iter().all(|it| it.number != **one))
        {
            return Err(KafkaError::NoPartition { topic: topic.name, partition: *missing });
        }
        // A broker refuses a batch as a whole, so one must not be larger than one message of the topic may be.
        let batch_bytes = client.topic_number(&settings.topic, "max.message.bytes", CONNECT_WAIT)?;
        let outbox = Outbox::open(&config(client, settings, batch_bytes))?;
        Ok(Sending { settings, outbox, progress, started: Instant::now(), left_out: 0, unreadable: 0 })
    }

    fn file(&mut self, file: &str) -> Result<(), ProduceError> {
        let mut records = RawRecords::open(file)?;
        let found = records.format();
        if let Some(wanted) = self.settings.format.filter(|wanted| *wanted != found) {
            return Err(ProduceError::Format { file: file.to_owned(), found, wanted });
        }
        while let Some(block) = records.next_block()? {
            for record in block.records() {
                match record {
                    Ok(record) => self.record(found, record)?,
                    Err(_) => self.unreadable += 1,
                }
                if self.outbox.sent().is_multiple_of(POLL_RECORDS) {
                    self.look(file);
                }
            }
        }
        Ok(())
    }

    /// Sends one record, or counts why not.
    fn record(&mut self, format: Format, record: &[u8]) -> Result<(), KafkaError> {
        let is_read = self.settings.key != KeyBy::Nothing || self.settings.timestamps == Timestamps::Event;
        let event = if is_read { decode_one(format, record).ok() } else { None };
        let event = event.and_then(|Decoded { event, .. }| event);
        let value = match self.settings.content {
            Content::Record => record,
            Content::Click | Content::Verdict => match (body_of(record), self.settings.content) {
                (Some((1, click)), Content::Click) => click,
                (Some((2, verdict)), Content::Verdict) => verdict,
                (Some(_), _) => {
                    self.left_out += 1;
                    return Ok(());
                }
                (None, _) => {
                    self.unreadable += 1;
                    return Ok(());
                }
            },
        };
        self.send(event.as_ref(), value)
    }

    fn send(&mut self, event: Option<&Event<'_>>, value: &[u8]) -> Result<(), KafkaError> {
        let key = event.and_then(|event| key_of(self.settings.key, event)).filter(|key| !key.is_empty());
        let mut message: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(&self.settings.topic).payload(value);
        message.key = key.map(str::as_bytes);
        message.partition = self.partition(key);
        message.timestamp = match self.settings.timestamps {
            Timestamps::Now => None,
            Timestamps::Event => event.map(event_ms).filter(|&ms| ms > 0),
        };
        self.outbox.push(message)
    }

    fn partition(&self, key: Option<&str>) -> Option<i32> {
        let partitions = &self.settings.partitions;
        let place = match key {
            Some(key) => u64::from(crc32fast::hash(key.as_bytes())),
            None => self.outbox.sent(),
        };
        (!partitions.is_empty()).then(|| partitions[(place % partitions.len() as u64) as usize])
    }

    /// Takes in what was delivered, and waits where a rate was asked for.
    fn look(&mut self, file: &str) {
        self.outbox.poll(Duration::ZERO);
        let sent = self.outbox.sent();
        (self.progress)(sent, file);
        if let Some(rate) = self.settings.rate {
            let due = Duration::from_secs_f64(sent as f64 / rate.max(1) as f64);
            while let Some(early) = due.checked_sub(self.started.elapsed()).filter(|early| !early.is_zero()) {
                self.outbox.poll(early.min(Duration::from_millis(100)));
            }
        }
    }

    fn finish(self) -> Produced {
        let Sending { outbox, mut progress, left_out, unreadable, .. } = self;
        let all = outbox.sent();
        let sent = outbox.finish(|| progress(all, "waiting for the cluster"));
        Produced { delivered: sent.delivered, failed: sent.failed, left_out, unreadable, bytes: sent.bytes }
    }
}

fn config(client: &Client, settings: &ProduceSettings, batch_bytes: Option<i64>) -> ClientConfig {
    let mut config = client.producer_config();
    FAST.iter().for_each(|(name, value)| set_default(&mut config, name, value));
    let batch_bytes = batch_bytes.unwrap_or(BATCH_BYTES).clamp(1, BATCH_BYTES).to_string();
    set_default(&mut config, "batch.size", &batch_bytes);
    if let Some(compression) = &settings.compression {
        set(&mut config, "compression.type", compression);
    }
    if !settings.acks_all {
        config.set("enable.idempotence", "false").set("acks", "1");
    }
    config
}

/// The body of a protobuf event that holds nothing else: its field's number, and its bytes.
fn body_of(mut event: &[u8]) -> Option<(u32, &[u8])> {
    match take_field(&mut event) {
        Ok((number @ (1 | 2), Wire::Bytes(body))) if event.is_empty() => Some((number, body)),
        _ => None,
    }
}

fn key_of<'a>(key: KeyBy, event: &'a Event<'_>) -> Option<&'a str> {
    match (key, event) {
        (KeyBy::ClickId, Event::Click(click)) => Some(&click.click_id),
        (KeyBy::ClickId, Event::Verdict(verdict)) => Some(&verdict.click_id),
        (KeyBy::AdId, Event::Click(click)) => Some(&click.ad_id),
        (KeyBy::AdId, Event::Verdict(_)) | (KeyBy::Nothing, _) => None,
    }
}

fn event_ms(event: &Event<'_>) -> i64 {
    match event {
        Event::Click(click) => click.event_ms,
        Event::Verdict(verdict) => verdict.decided_ms,
    }
}
