//! The sink `dead-letters`: every quarantined record of a topic that names another for them, as it came and with why it was not counted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use recount_connectors::kafka::sink::{Batch, MessageHeader, Shared, SinkError};
use recount_connectors::kafka::{Missing, Origin, Original, Originals, TIME_HEADER};
use recount_dataflow::engine::StreamName;
use recount_dataflow::read::{Reader, SetAside, SetAsideHold};

use super::follow::{Content, FollowError, Link, Stop};
use super::settings::SinkSettings;

/// How long to wait before a record is looked for again, and how often that is spoken of.
const PAUSE: Duration = Duration::from_millis(200);
const SAY_EVERY: Duration = Duration::from_secs(10);
/// What a batch and a record take beside what they hold, and what a header takes beside its name and its value, at most.
const RECORD_BYTES: usize = 512;
const HEADER_BYTES: usize = 16;

/// What the sink makes messages of.
pub(super) struct DeadLetters {
    originals: Originals,
    targets: BTreeMap<String, Target>,
    /// Keeps the records that are not published of epochs up to the one that the engine went on from, until they are.
    before: Option<SetAsideHold>,
    stop: Arc<Stop>,
}

/// Where a topic's dead letters go.
struct Target {
    /// Its number among the publisher's topics.
    topic: usize,
    /// The most bytes that a message may have.
    bytes_max: usize,
}

/// A message, but for where it goes.
struct Letter {
    original: Original,
    headers: Vec<MessageHeader>,
}

impl DeadLetters {
    /// Takes hold of what is to be published yet of epochs before the one that the engine went on from. `published` is the newest epoch
    /// that is published, and `bytes_max` what a message of each topic may have.
    pub(super) fn new(
        settings: &SinkSettings,
        targets: &BTreeMap<String, usize>,
        reader: &Reader,
        published: Option<u64>,
        bytes_max: &[usize],
        stop: Arc<Stop>,
    ) -> Self {
        let before = Some(reader.hold_set_aside(published.unwrap_or(0) + 1));
        let dropped = reader.set_aside_dropped();
        if published.is_none() && dropped > 0 {
            tracing::warn!(
                dropped,
                "the sink of dead letters is new: it begins with what the quarantine keeps, and older records set aside are not \
                 there any more"
            );
        }
        let target = |(source, topic): (&String, &usize)| {
            (source.clone(), Target { topic: *topic, bytes_max: bytes_max[*topic] })
        };
        let targets = targets.iter().map(target).collect();
        DeadLetters { originals: Originals::new(settings.client.clone()), targets, before, stop }
    }

    fn push(&mut self, record: &SetAside, streams: &[StreamName], batch: &mut Batch) -> Result<(), FollowError> {
        let stream = &streams[usize::from(record.position.stream)];
        if !self.targets.contains_key(&stream.source) {
            return Ok(());
        }
        let original = self.original(stream, record)?;
        let target = &self.targets[&stream.source];
        let Letter { original, headers } = letter(stream, record, original, target.bytes_max);
        let (topic, timestamp_ms) = (target.topic, original.timestamp_ms);
        batch.begin_with(Shared { topic, timestamp_ms, time_header: Some(TIME_HEADER), headers });
        batch.push_any(original.key.as_deref(), original.value.as_deref());
        Ok(())
    }

    /// The record as it came, where its topic still has it. Waits for brokers for as long as it takes.
    fn original(&mut self, stream: &StreamName, record: &SetAside) -> Result<Option<Original>, FollowError> {
        let StreamName { source, partition } = stream;
        let stop = self.stop.clone();
        let mut said: Option<Instant> = None;
        loop {
            let found = self.originals.find(source, *partition, record.position.offset, &|| stop.is_over());
            if stop.is_over() {
                return Err(SinkError::Cancelled.into());
            }
            match found {
                Ok(found) => return Ok(found.filter(|original| is_of(original, record))),
                Err(error) if said.is_none_or(|said| SAY_EVERY <= said.elapsed()) => {
                    tracing::error!(%error, "a dead letter is looked for again until it is found, and nothing is lost");
                    said = Some(Instant::now());
                }
                Err(_) => {}
            }
            thread::sleep(PAUSE);
        }
    }
}

impl Content for DeadLetters {
    const EPOCHS_BEFORE: u64 = 0;

    fn add(&mut self, reader: &Reader, epoch: u64, batch: &mut Batch) -> Result<(), FollowError> {
        let streams = reader.streams();
        let records = reader.quarantined(epoch..epoch + 1);
        records.iter().try_for_each(|record| self.push(record, &streams, batch))
    }

    /// Records set aside are part of every checkpoint, and what is not published is not let go of: those of epochs after the restored
    /// one are the follower's, those before it are held until all of them are out, so every checkpoint meanwhile has them.
    fn catch_up(&mut self, link: &mut Link, restored: u64) -> Result<(), FollowError> {
        let streams = link.reader.streams();
        let before = link.reader.quarantined(link.next()..restored + 1);
        for of_epoch in before.chunk_by(|a, b| a.epoch == b.epoch) {
            of_epoch.iter().try_for_each(|record| self.push(record, &streams, &mut link.batch))?;
            if link.is_full() {
                link.publish(of_epoch[0].epoch)?;
            }
        }
        link.publish(restored)?;
        self.before = None;
        Ok(())
    }
}

/// Whether what lies where a record was read is that record: its topic may have been made anew since.
fn is_of(original: &Original, record: &SetAside) -> bool {
    let value = original.value.as_deref().unwrap_or_default();
    original.value.is_some() && value.len() as u64 == record.payload_length && value.starts_with(&record.payload)
}

/// A record as it came, or what was kept of it, in at most `bytes_max`, with where it was read and why it could not be counted.
fn letter(stream: &StreamName, record: &SetAside, original: Option<Original>, bytes_max: usize) -> Letter {
    let origin = Origin {
        topic: stream.source.clone(),
        partition: stream.partition,
        offset: record.position.offset as i64,
        reason: record.reason.as_str().to_owned(),
        detail: record.detail.clone(),
    };
    let mut missing = Missing::default();
    let mut original = original.unwrap_or_else(|| {
        missing.key_and_headers = true;
        Original { value: Some(record.payload.to_vec()), ..Original::default() }
    });
    let ours = origin.headers();
    let of_headers = |headers: &[(String, Option<Vec<u8>>)]| -> usize {
        let bytes = headers.iter().map(|(name, value)| HEADER_BYTES + name.len() + value.as_ref().map_or(0, Vec::len));
        bytes.sum()
    };
    let taken = RECORD_BYTES + of_headers(&ours);
    let beside =
        |original: &Original| taken + of_headers(&original.headers) + original.key.as_ref().map_or(0, Vec::len);
    if bytes_max < beside(&original) {
        missing.key_and_headers = true;
        (original.key, original.headers) = (None, Vec::new());
    }
    let room = bytes_max.saturating_sub(beside(&original));
    if let Some(value) = &mut original.value {
        value.truncate(room);
        missing.value_bytes = Some(record.payload_length).filter(|bytes| (value.len() as u64) < *bytes);
    }
    let own = std::mem::take(&mut original.headers).into_iter();
    let headers = own.chain(ours).chain(missing.headers()).map(|(name, value)| (name.into(), value)).collect();
    Letter { original, headers }
}

#[cfg(test)]
mod tests {
    use recount_dataflow::domain::fact::Position;
    use recount_dataflow::domain::validate::Reason;

    use super::*;

    fn record(payload: &[u8], payload_length: u64) -> SetAside {
        SetAside {
            reason: Reason::Unreadable,
            detail: "expected something else".into(),
            position: Position { stream: 0, offset: 7 },
            payload: payload.into(),
            payload_length,
            epoch: 3,
            set_aside_at_ms: 0,
        }
    }

    fn original(key: &[u8], value: &[u8]) -> Original {
        let headers = vec![("own".to_owned(), None)];
        Original { key: Some(key.to_vec()), value: Some(value.to_vec()), headers, timestamp_ms: Some(5) }
    }

    fn header(letter: &Letter, name: &str) -> Option<String> {
        let (_, value) = letter.headers.iter().find(|(header, _)| header == name)?;
        Some(String::from_utf8(value.clone().unwrap_or_default()).expect("text"))
    }

    #[test]
    fn what_does_not_fit_is_left_out_and_said() {
        let stream = StreamName { source: "clicks".into(), partition: 2 };
        let value = vec![b'v'; 5_000];
        let of = |original, bytes_max| letter(&stream, &record(&value[..100], 5_000), original, bytes_max);
        let whole = of(Some(original(b"k", &value)), 100_000);
        assert_eq!(whole.original, Original { headers: Vec::new(), ..original(b"k", &value) });
        assert_eq!((header(&whole, "own").as_deref(), header(&whole, "__connect.errors.missing")), (Some(""), None));
        assert_eq!(header(&whole, "__connect.errors.offset").as_deref(), Some("7"));

        let cut = of(Some(original(b"k", &value)), 3_000);
        let kept = cut.original.value.as_ref().map_or(0, Vec::len);
        assert!(kept > 1_000 && kept < 3_000 && cut.original.key.is_some(), "{kept}");
        assert_eq!(header(&cut, "__connect.errors.value.bytes").as_deref(), Some("5000"));
        let cut = of(Some(original(&value, &value)), 3_000);
        assert_eq!((cut.original.key, cut.headers[0].0.as_ref()), (None, "__connect.errors.topic"));

        let gone = of(None, 100_000);
        assert_eq!(gone.original.value.as_deref(), Some(&value[..100]));
        assert_eq!(header(&gone, "__connect.errors.missing").as_deref(), Some("key, headers"));
        assert_eq!(header(&gone, "__connect.errors.value.bytes").as_deref(), Some("5000"));
    }

    #[test]
    fn another_record_in_its_place_is_not_taken_for_it() {
        let ours = record(b"abc", 3);
        assert!(is_of(&original(b"k", b"abc"), &ours));
        assert!(!is_of(&original(b"k", b"abd"), &ours) && !is_of(&original(b"k", b"abcd"), &ours));
        assert!(!is_of(&Original::default(), &record(b"", 0)), "a tombstone is no record");
        assert!(is_of(&original(b"k", b"abcd"), &record(b"ab", 4)), "of a long one the beginning is kept");
    }
}
