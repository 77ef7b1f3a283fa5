//! Messages: their keys, values and headers.

use prost::Message as _;
use recount_dataflow::read::{Correction, Row};

use crate::convert::to_wire;
use crate::output::lines::{push_correction, push_row};

/// How values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// One JSON object, as `recount replay` writes it.
    Json,
    /// The contract's message.
    Protobuf,
}

/// Writes the messages of one sink.
#[derive(Clone)]
pub(super) struct Encoder {
    pub(super) format: Format,
    /// The history of epochs, as ids of corrections name it.
    pub(super) lineage: String,
    /// The store, as headers name it.
    pub(super) store: String,
    pub(super) writer: u32,
}

impl Encoder {
    /// The headers of an epoch's messages.
    pub(super) fn headers(&self, epoch: u64) -> Vec<(&'static str, String)> {
        let content_type = match self.format {
            Format::Json => "application/json",
            Format::Protobuf => "application/x-protobuf",
        };
        vec![
            ("content-type", content_type.to_owned()),
            ("epoch", epoch.to_string()),
            ("store", self.store.clone()),
            ("writer", self.writer.to_string()),
        ]
    }

    /// Writes a row in place of what `out` holds.
    pub(super) fn row(&self, row: &Row, out: &mut Vec<u8>) {
        out.clear();
        match self.format {
            Format::Json => push_row(out, row),
            Format::Protobuf => to_wire::row(row).encode_raw(out),
        }
    }

    /// Writes a correction in place of what `out` holds.
    pub(super) fn correction(&self, correction: &Correction, out: &mut Vec<u8>) {
        out.clear();
        match self.format {
            Format::Json => {
                push_correction(out, correction, &self.lineage);
                // It is written as a line.
                out.pop();
            }
            Format::Protobuf => to_wire::correction(correction, &self.lineage).encode_raw(out),
        }
    }
}

/// The key of a row, in place of what `out` holds: `granularity/window_start_ms/ad_id`. The ad comes last because it alone may hold any
/// character.
pub(super) fn row_key(row: &Row, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(row.granularity.as_str().as_bytes());
    out.push(b'/');
    out.extend_from_slice(itoa::Buffer::new().format(row.window_start_ms).as_bytes());
    out.push(b'/');
    out.extend_from_slice(row.ad_id.as_bytes());
}
