//! Sequences that only grow at their end, kept in few pieces.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::store::{Place, Store};

use super::CheckpointError;
use super::pack::{PackName, PackWriter, Packs};

/// Some of a sequence, as one piece. Pieces are concatenated by concatenating their bytes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Piece {
    /// Where it is.
    pub(crate) place: Place,
    /// The number of its last element, where they have numbers.
    pub(crate) last: u64,
}

/// Writes sequences into a new pack, as far as they are not in others that stay.
pub(crate) struct Rewriter<'a, 'pack> {
    /// Where the packs are.
    pub(crate) store: &'a dyn Store,
    /// Every pack that a piece may be in.
    pub(crate) packs: &'a BTreeMap<u64, PackName>,
    /// The packs that no piece may stay in.
    pub(crate) stale: &'a BTreeSet<u64>,
    /// The new pack.
    pub(crate) pack: &'a mut PackWriter<'pack>,
}

impl Rewriter<'_, '_> {
    /// Writes what is new of a sequence. Each piece that it leaves is at least twice as long as the one after it, so they stay few, and
    /// an element is rewritten a logarithmic number of times; none is in a stale pack. `sift` takes out of merged pieces what need not
    /// be written again; `None` from it says that they are damaged.
    pub(crate) fn extend(
        self,
        pieces: &[Piece],
        new: Vec<u8>,
        last: u64,
        sift: impl Fn(Vec<u8>) -> Option<Vec<u8>>,
    ) -> Result<Vec<Piece>, CheckpointError> {
        let mut kept = pieces.to_vec();
        let mut bytes = new;
        // What is merged is a suffix, or the order would be lost.
        let first_stale = kept.iter().position(|piece| self.stale.contains(&piece.place.pack)).unwrap_or(kept.len());
        let mut merged = Vec::new();
        while let Some(piece) = kept.last()
            && (first_stale < kept.len() || !bytes.is_empty() && piece.place.bytes < 2 * bytes.len() as u64)
        {
            let pack = Packs::open(self.store, &[self.packs[&piece.place.pack]])?;
            pack.check(piece.place, &mut Vec::new())?;
            bytes = [pack.piece(piece.place), &bytes].concat();
            merged.extend(kept.pop());
        }
        if !merged.is_empty() {
            bytes = sift(bytes).ok_or_else(|| CheckpointError::damaged("a pack", "a piece of it can not be read"))?;
        }
        if !bytes.is_empty() {
            let last = merged.iter().map(|piece| piece.last).fold(last, u64::max);
            kept.push(Piece { place: self.pack.append(&bytes)?, last });
        }
        Ok(kept)
    }
}
