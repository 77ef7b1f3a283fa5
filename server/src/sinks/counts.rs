//! The sink `counts`: every change of a row, as the row after it. Under compaction the topic is the table.

use recount_connectors::kafka::sink::Batch;
use recount_dataflow::domain::window::Granularity;
use recount_dataflow::read::{Reader, Snapshot};

use super::encode::{Encoder, row_key};
use super::follow::{Content, FollowError, Link};

/// What the sink makes messages of.
pub(super) struct Counts {
    encoder: Encoder,
    granularities: Vec<Granularity>,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Counts {
    pub(super) fn new(encoder: Encoder, granularities: Vec<Granularity>) -> Self {
        Counts { encoder, granularities, key: Vec::new(), value: Vec::new() }
    }

    fn begin(&self, snapshot: &Snapshot, batch: &mut Batch) {
        let mut headers = self.encoder.headers(snapshot.as_of());
        if let Some(watermark_ms) = snapshot.watermark_ms() {
            headers.push(("watermark_ms", watermark_ms.to_string()));
        }
        batch.begin(snapshot.wall_ms(), headers);
    }
}

impl Content for Counts {
    /// The rows that an epoch lets go of are read at the epoch before it.
    const EPOCHS_BEFORE: u64 = 1;

    /// The rows that leave. They are those of a whole day, which may be more than a transaction can hold.
    fn publish_ahead(&mut self, link: &mut Link, epoch: u64) -> Result<(), FollowError> {
        let (before, after) = (link.reader.snapshot(Some(epoch - 1))?, link.reader.snapshot(Some(epoch))?);
        if !before.has_rows_leaving(&after) {
            return Ok(());
        }
        link.publish_read()?;
        let mut failed = None;
        for granularity in self.granularities.clone() {
            self.begin(&after, &mut link.batch);
            before.for_each_row_leaving(&after, granularity, |row| {
                if failed.is_some() {
                    return;
                }
                row_key(row, &mut self.key);
                link.batch.push(&self.key, None);
                if link.is_full() {
                    failed = link.publish_part().err();
                    self.begin(&after, &mut link.batch);
                }
            })?;
            if let Some(error) = failed.take() {
                return Err(error.into());
            }
        }
        Ok(())
    }

    fn add(&mut self, reader: &Reader, epoch: u64, batch: &mut Batch) -> Result<(), FollowError> {
        let after = reader.snapshot(Some(epoch))?;
        self.begin(&after, batch);
        let Counts { encoder, granularities, key, value } = self;
        for granularity in granularities.iter().copied() {
            for change in after.changes(granularity, None)? {
                let row = change.after.as_ref().or(change.before.as_ref()).expect("a change has a row before or after");
                row_key(row, key);
                let is_kept = change.after.is_some();
                encoder.row(row, value);
                batch.push(key, is_kept.then_some(value));
            }
        }
        Ok(())
    }

    /// What the epochs up to the one that the engine went on from have changed is not known any more: every row is published as it
    /// stands, and under compaction that comes to the same. Rows that have gone meanwhile keep their last value.
    fn catch_up(&mut self, link: &mut Link, restored: u64) -> Result<(), FollowError> {
        let snapshot = link.reader.snapshot(Some(restored))?;
        let published = link.next() - 1;
        let sink = link.name();
        match published {
            0 => tracing::info!(sink, restored, "the sink is new, and begins with every row as it stands"),
            _ => tracing::warn!(
                sink,
                published,
                restored,
                "no checkpoint is as old as what was published last, so every row is published again as it stands; readers of the \
                 compacted topic come to the same table, but rows that left it by retention meanwhile get no tombstone"
            ),
        }
        let mut failed = None;
        for granularity in self.granularities.clone() {
            self.begin(&snapshot, &mut link.batch);
            snapshot.for_each_row(granularity, |row| {
                if failed.is_some() {
                    return;
                }
                row_key(row, &mut self.key);
                self.encoder.row(row, &mut self.value);
                link.batch.push(&self.key, Some(&self.value));
                if link.is_full() {
                    failed = link.publish_part().err();
                    self.begin(&snapshot, &mut link.batch);
                }
            })?;
            if let Some(error) = failed.take() {
                return Err(error.into());
            }
        }
        Ok(link.publish(restored)?)
    }
}
