//! The decode threads: blocks in, batches out.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};
use recount_dataflow::intake::{Batch, BatchBuilder, Broken, Intake};

use super::block::{Block, Record, Shape};
use super::reader::{Job, Piece};
use crate::format::push_decoded;
use crate::{json, protobuf};

/// Records of one batch, at most: a block of tiny broken records would otherwise become a batch many times its size.
const BATCH_RECORDS_MAX: usize = 16_384;

/// One decode thread.
pub(super) struct Decoder {
    pub(super) intake: Intake,
    /// The files' names for messages, by stream.
    pub(super) names: Arc<[Arc<str>]>,
}

impl Decoder {
    /// Decodes blocks until there are none.
    pub(super) fn run(mut self, jobs: Receiver<Job>) {
        for Job { block, pieces } in jobs {
            self.decode(block, &pieces);
        }
    }

    /// Sends the block's batches, in order. Where the caller is gone, the rest is left.
    fn decode(&mut self, block: Block, pieces: &Sender<Piece>) {
        let block = Arc::new(block);
        let text = match block.shape {
            Shape::Lines => std::str::from_utf8(&block.bytes).ok(),
            _ => None,
        };
        let mut at = 0;
        loop {
            let capacity = (block.count as usize).min(BATCH_RECORDS_MAX);
            let mut builder = self.intake.batch(block.stream, capacity, block.clone());
            let mut records = 0;
            while records < BATCH_RECORDS_MAX
                && let Some(record) = block.record_at(at)
            {
                at += (record.end - record.offset) as usize;
                records += usize::from(push(&mut builder, &block, text, &record));
            }
            let is_last = at >= block.bytes.len();
            let mut batch = builder.finish();
            self.locate(&block, &mut batch);
            if pieces.send(Piece { batch, is_last }).is_err() || is_last {
                return;
            }
        }
    }

    /// Says in every broken record's detail where it was read.
    fn locate(&self, block: &Block, batch: &mut Batch) {
        let name = &self.names[usize::from(block.stream)];
        let (mut number, mut from) = (block.first, block.offset);
        for Broken { position, violation, .. } in &mut batch.broken {
            number += block.records_between(from, position.offset);
            from = position.offset;
            violation.detail = format!("{name}:{number}: {}", violation.detail);
        }
    }
}

/// Takes in one record; `false` where it is none. `text` is the block's bytes where they are known to be UTF-8.
#[inline]
fn push(builder: &mut BatchBuilder<'_>, block: &Block, text: Option<&str>, record: &Record<'_>) -> bool {
    let &Record { offset, payload, .. } = record;
    let decoded = match &block.shape {
        Shape::Lines => {
            let start = (offset - block.offset) as usize;
            let decoded = match text.and_then(|text| text.get(start..start + payload.len())) {
                Some(line) => json::decode_text(line),
                None => json::decode(payload),
            };
            // Blank lines are rare, so they are looked for among the lines that can not be read.
            if decoded.is_err() && json::is_blank(payload) {
                return false;
            }
            decoded
        }
        Shape::Messages => protobuf::decode(payload),
        Shape::Broken { violation, length, .. } => {
            builder.push_broken(violation.clone(), offset, payload, *length);
            return true;
        }
    };
    push_decoded(builder, decoded, offset, payload, None);
    true
}
