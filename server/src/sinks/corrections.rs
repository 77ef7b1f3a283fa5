//! The sink `corrections`: every correction of a CLOSED window, an ad's in their order.

use recount_connectors::kafka::sink::Batch;
use recount_dataflow::read::{Correction, Reader};

use super::encode::Encoder;
use super::follow::{Content, FollowError, Link};

/// Epochs that are looked at together where the history has them no more, at first; it doubles while there are no corrections.
const STEP_MIN: u64 = 16;
const STEP_MAX: u64 = 4_096;

/// What the sink makes messages of.
pub(super) struct Corrections {
    encoder: Encoder,
    value: Vec<u8>,
}

impl Corrections {
    pub(super) fn new(encoder: Encoder) -> Self {
        Corrections { encoder, value: Vec::new() }
    }

    /// Adds the corrections of one epoch.
    fn push(&mut self, of_epoch: &[Correction], batch: &mut Batch) {
        let Some(first) = of_epoch.first() else { return };
        batch.begin(first.corrected_at_ms, self.encoder.headers(first.epoch));
        for correction in of_epoch {
            self.encoder.correction(correction, &mut self.value);
            batch.push(correction.after.ad_id.as_bytes(), Some(&self.value));
        }
    }
}

impl Content for Corrections {
    const EPOCHS_BEFORE: u64 = 0;

    fn add(&mut self, reader: &Reader, epoch: u64, batch: &mut Batch) -> Result<(), FollowError> {
        self.push(&reader.snapshot(Some(epoch))?.corrections(), batch);
        Ok(())
    }

    /// Corrections are kept as long as their rows, so those of older epochs are read as they are.
    fn catch_up(&mut self, link: &mut Link, restored: u64) -> Result<(), FollowError> {
        let mut step = STEP_MIN;
        while link.next() <= restored {
            let to = (restored + 1).min(link.next() + step);
            let corrections = link.reader.corrections(link.next(), to);
            step = match corrections.is_empty() {
                true => STEP_MAX.min(step * 2),
                false => STEP_MIN,
            };
            for of_epoch in corrections.chunk_by(|a, b| a.epoch == b.epoch) {
                self.push(of_epoch, &mut link.batch);
                if link.is_full() {
                    link.publish(of_epoch[0].epoch)?;
                }
            }
            match link.batch.is_empty() {
                true => link.pass(to - 1),
                false => link.publish(to - 1)?,
            }
        }
        Ok(())
    }
}
