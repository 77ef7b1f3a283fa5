//! Manifests: which pieces make up the state after an epoch.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::domain::cause::Cause;
use crate::domain::fact::Position;
use crate::domain::ledger::Totals;
use crate::domain::rules::Rules;
use crate::domain::validate::Reason;
use crate::published::{AfterEpoch, Outline};
use crate::store::Place;

use super::CheckpointError;
use super::pack::PackName;
use super::pieces::Piece;

/// The version of the format. In the first, rows and corrections were wider, and names had no day.
const FORMAT: u16 = 2;
/// The first words of a manifest; the format and the checksum of what follows the line come after them.
const MAGIC: &str = "recount manifest";
/// The ending of the names of manifests.
const ENDING: &str = ".manifest";

/// A checkpoint: the state after one epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// Its number.
    pub(crate) number: u64,
    /// The one before, by number and checksum; `None` for the first.
    pub(crate) parent: Option<(u64, u32)>,
    /// Who wrote it.
    pub(crate) writer: u64,
    /// The settings that decide results.
    pub(crate) rules: Rules,
    /// The epoch.
    pub(crate) epoch: u64,
    /// W before the epoch.
    pub(crate) watermark_before_ms: Option<i64>,
    /// W after it.
    pub(crate) watermark_ms: Option<i64>,
    /// The wall clock bound to it, ms since 1970.
    pub(crate) wall_ms: i64,
    /// The greatest time that any record has carried.
    pub(crate) event_ms_max: i64,
    /// The next offset of every stream that has been read from.
    pub(crate) positions: BTreeMap<u16, u64>,
    /// The conservation ledger.
    pub(crate) totals: TotalsRecord,
    /// All corrections up to the epoch, by the names of their causes; not in the first manifests.
    #[serde(default)]
    pub(crate) corrections: Option<BTreeMap<String, u64>>,
    /// The packs that the pieces are in.
    pub(crate) packs: Vec<PackName>,
    /// What the workers remembered.
    pub(crate) states: Vec<StateRecord>,
    /// The names of the ads.
    pub(crate) names: Vec<Piece>,
    /// The records in no window, oldest first.
    pub(crate) set_aside: Vec<Piece>,
    /// How many records in no window had to go.
    #[serde(default)]
    pub(crate) set_aside_dropped: u64,
    /// Which of the records in no window are kept, and which had to go; not in the first manifests.
    #[serde(default)]
    pub(crate) set_aside_outline: Option<OutlineRecord>,
}

/// Which of the records in no window are kept, and which had to go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct OutlineRecord {
    next_number: u64,
    /// The number of the oldest record that is kept, by reason.
    oldest: BTreeMap<String, u64>,
    /// How many had to go, by reason.
    dropped: BTreeMap<String, u64>,
}

impl From<&Outline> for OutlineRecord {
    fn from(outline: &Outline) -> Self {
        let named = |by_reason: &BTreeMap<Reason, u64>| {
            by_reason.iter().map(|(reason, number)| (reason.as_str().to_owned(), *number)).collect()
        };
        OutlineRecord {
            next_number: outline.next_number,
            oldest: named(&outline.oldest),
            dropped: named(&outline.dropped),
        }
    }
}

impl OutlineRecord {
    /// The outline; `None` where a reason is not known.
    pub(crate) fn outline(&self) -> Option<Outline> {
        let known = |by_name: &BTreeMap<String, u64>| {
            let known = by_name.iter().map(|(name, number)| Some((Reason::named(name)?, *number)));
            known.collect::<Option<BTreeMap<_, _>>>()
        };
        let (oldest, dropped) = (known(&self.oldest)?, known(&self.dropped)?);
        Some(Outline { oldest, dropped, next_number: self.next_number, ..Outline::default() })
    }
}

/// What one worker remembered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct StateRecord {
    /// The runs of every arrangement, in the order of [`EachArrangement`](super::arrangements::EachArrangement).
    pub(crate) arrangements: Vec<Vec<RunRecord>>,
}

/// A run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunRecord {
    /// Records of the first chunk that are not of the run.
    pub(crate) skip: usize,
    /// Its chunks, in order.
    pub(crate) chunks: Vec<Place>,
}

/// The conservation ledger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct TotalsRecord {
    records_in: u64,
    received: u64,
    /// Not in the first manifests.
    #[serde(default)]
    gross_clicks: Option<u64>,
    verdicts: u64,
    set_aside: BTreeMap<String, u64>,
    conflicting_copies: u64,
    unknown_fields: u64,
}

impl From<&Totals> for TotalsRecord {
    fn from(totals: &Totals) -> Self {
        let by_reason = totals.parked.iter().chain(&totals.quarantined);
        TotalsRecord {
            records_in: totals.records_in,
            received: totals.received,
            gross_clicks: Some(totals.gross_clicks),
            verdicts: totals.verdicts,
            set_aside: by_reason.map(|(reason, records)| (reason.as_str().to_owned(), *records)).collect(),
            conflicting_copies: totals.conflicting_copies,
            unknown_fields: totals.unknown_fields,
        }
    }
}

impl TotalsRecord {
    /// The totals; `None` where a reason is not known. `gross_clicks` counts the clicks where they were not noted.
    pub(crate) fn totals(&self, gross_clicks: impl FnOnce() -> u64) -> Option<Totals> {
        let mut totals = Totals {
            records_in: self.records_in,
            received: self.received,
            gross_clicks: self.gross_clicks.unwrap_or_else(gross_clicks),
            verdicts: self.verdicts,
            conflicting_copies: self.conflicting_copies,
            unknown_fields: self.unknown_fields,
            ..Totals::default()
        };
        for (name, records) in &self.set_aside {
            totals.set_aside(Reason::named(name)?, *records);
        }
        Some(totals)
    }
}

fn by_name(corrections: &BTreeMap<Cause, u64>) -> BTreeMap<String, u64> {
    corrections.iter().map(|(cause, corrections)| (cause.as_str().to_owned(), *corrections)).collect()
}

/// The name of a manifest's file.
pub(crate) fn file_name(number: u64) -> String {
    format!("{number:010}{ENDING}")
}

/// The number of a manifest, from the name of its file; `None` where it is no manifest's.
pub(crate) fn number_of(name: &str) -> Option<u64> {
    name.strip_suffix(ENDING)?.parse().ok()
}

impl Manifest {
    /// The manifest of a complete epoch, but for its number and packs.
    pub(crate) fn new(
        after: &AfterEpoch,
        rules: Rules,
        writer: u64,
        parent: Option<(u64, u32)>,
        states: Vec<StateRecord>,
        names: Vec<Piece>,
        set_aside: Vec<Piece>,
    ) -> Self {
        Manifest {
            number: 0,
            parent,
            writer,
            rules,
            epoch: after.epoch,
            watermark_before_ms: after.bound.watermark_before.watermark_ms(),
            watermark_ms: after.bound.watermark_after.watermark_ms(),
            wall_ms: after.bound.wall_ms,
            event_ms_max: after.event_ms_max,
            positions: after.positions.clone(),
            totals: TotalsRecord::from(&after.totals),
            corrections: Some(by_name(&after.corrections)),
            packs: Vec::new(),
            states,
            names,
            set_aside,
            set_aside_dropped: 0,
            set_aside_outline: None,
        }
    }

    /// Every place that it names.
    pub(crate) fn places(&self) -> impl Iterator<Item = Place> {
        let runs = self.states.iter().flat_map(|state| &state.arrangements).flatten();
        let pieces = self.names.iter().chain(&self.set_aside).map(|piece| piece.place);
        runs.flat_map(|run| run.chunks.iter().copied()).chain(pieces)
    }

    /// The packs that its places are in.
    pub(crate) fn pack_numbers(&self) -> BTreeSet<u64> {
        self.places().map(|place| place.pack).collect()
    }

    /// The next offset of every stream that has been read from.
    pub(crate) fn next_positions(&self) -> Vec<Position> {
        self.positions.iter().map(|(stream, offset)| Position { stream: *stream, offset: *offset }).collect()
    }

    /// The bytes of its file, and their checksum.
    pub(crate) fn encode(&self) -> (Vec<u8>, u32) {
        let body = serde_json::to_vec(self).expect("a manifest has nothing that JSON can not say");
        let crc = crc32fast::hash(&body);
        ([format!("{MAGIC} {FORMAT} {crc:08x}\n").as_bytes(), &body].concat(), crc)
    }

    /// Reads the bytes of a file, and says what their checksum is.
    pub(crate) fn decode(name: &str, bytes: &[u8]) -> Result<(Manifest, u32), CheckpointError> {
        let damaged = |what: &str| CheckpointError::damaged(name, what);
        let end = bytes.iter().position(|byte| *byte == b'\n').ok_or_else(|| damaged("it has no first line"))?;
        let line = std::str::from_utf8(&bytes[..end]).map_err(|_| damaged("its first line is no text"))?;
        let mut words =
            line.strip_prefix(MAGIC).ok_or_else(|| damaged("it does not begin as a manifest"))?.split_whitespace();
        let format: u16 =
            words.next().and_then(|word| word.parse().ok()).ok_or_else(|| damaged("it names no format"))?;
        if format > FORMAT {
            return Err(CheckpointError::Format { name: name.to_owned(), format, known: FORMAT });
        }
        let crc = words.next().and_then(|word| u32::from_str_radix(word, 16).ok());
        let crc = crc.ok_or_else(|| damaged("it has no checksum"))?;
        let body = &bytes[end + 1..];
        if crc32fast::hash(body) != crc {
            return Err(damaged("it does not match its checksum"));
        }
        let manifest =
            serde_json::from_slice(body).map_err(|cause| damaged(&format!("it can not be read: {cause}")))?;
        Ok((manifest, crc))
    }
}
