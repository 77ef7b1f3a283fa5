//! Packs: many pieces of bytes in one file, each found by its place and held to its checksum.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::store::{Mapped, NewFile, Place, Store};
use crate::trace::ALIGNMENT;

use super::CheckpointError;

/// The first bytes of a pack; the rest of the first line is zero.
const MAGIC: &[u8] = b"recount pack 1\n";

/// A pack, as manifests name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PackName {
    /// Its number.
    pub(crate) number: u64,
    /// Who wrote it.
    pub(crate) writer: u64,
    /// Its length in bytes.
    pub(crate) bytes: u64,
}

/// The name of a pack's file.
pub(crate) fn file_name(number: u64, writer: u64) -> String {
    format!("{number:010}-{writer:06}.pack")
}

/// The number and the writer of a pack, from the name of its file; `None` where it is no pack's.
pub(crate) fn number_of(name: &str) -> Option<(u64, u64)> {
    let (number, writer) = name.strip_suffix(".pack")?.split_once('-')?;
    Some((number.parse().ok()?, writer.parse().ok()?))
}

/// Writes a pack, which comes into being with the first piece.
pub(crate) struct PackWriter<'a> {
    store: &'a dyn Store,
    number: u64,
    writer: u64,
    open: Option<(Box<dyn NewFile>, u64)>,
}

impl<'a> PackWriter<'a> {
    /// A pack to be.
    pub(crate) fn new(store: &'a dyn Store, number: u64, writer: u64) -> Self {
        PackWriter { store, number, writer, open: None }
    }

    /// Appends a piece.
    pub(crate) fn append(&mut self, piece: &[u8]) -> Result<Place, CheckpointError> {
        let (store, name) = (self.store, file_name(self.number, self.writer));
        let failed = |cause| CheckpointError::store(&name, "writing")(cause);
        if self.open.is_none() {
            let mut file = store.create(&name).map_err(failed)?;
            let mut line = [0; ALIGNMENT];
            line[..MAGIC.len()].copy_from_slice(MAGIC);
            file.write_all(&line).map_err(failed)?;
            self.open = Some((file, ALIGNMENT as u64));
        }
        let (file, end) = self.open.as_mut().expect("it was just opened");
        let place = Place { pack: self.number, at: *end, bytes: piece.len() as u64, crc: crc32fast::hash(piece) };
        file.write_all(piece).map_err(failed)?;
        let fill = piece.len().next_multiple_of(ALIGNMENT) - piece.len();
        file.write_all(&[0; ALIGNMENT][..fill]).map_err(failed)?;
        *end += (piece.len() + fill) as u64;
        Ok(place)
    }

    /// Makes the pack durable; `None` where nothing was appended.
    pub(crate) fn finish(self) -> Result<Option<PackName>, CheckpointError> {
        let Some((file, bytes)) = self.open else { return Ok(None) };
        let name = file_name(self.number, self.writer);
        file.finish().map_err(CheckpointError::store(&name, "syncing"))?;
        Ok(Some(PackName { number: self.number, writer: self.writer, bytes }))
    }
}

/// The packs of one checkpoint, mapped.
pub(crate) struct Packs {
    files: BTreeMap<u64, (String, Arc<dyn Mapped>)>,
}

impl Packs {
    /// Maps packs.
    pub(crate) fn open(store: &dyn Store, packs: &[PackName]) -> Result<Self, CheckpointError> {
        let mut files = BTreeMap::new();
        for pack in packs {
            let name = file_name(pack.number, pack.writer);
            let file = store.map(&name).map_err(CheckpointError::store(&name, "reading"))?;
            let found = file.bytes().len() as u64;
            if found != pack.bytes {
                return Err(CheckpointError::damaged(&name, format!("has {found} bytes instead of {}", pack.bytes)));
            }
            files.insert(pack.number, (name, file));
        }
        Ok(Packs { files })
    }

    /// The file of the one pack that there is.
    ///
    /// # Panics
    /// Where there is none.
    pub(crate) fn only(self) -> Arc<dyn Mapped> {
        let (_, file) = self.files.into_values().next().expect("one pack was opened");
        file
    }

    /// Holds the bytes of a place to their checksum. They are read, through `buffer`, rather than looked at: what the device can not
    /// read is damage then, and not the end of the process.
    pub(crate) fn check(&self, place: Place, buffer: &mut Vec<u8>) -> Result<(), CheckpointError> {
        let missing = || CheckpointError::damaged("manifest", format!("it names no pack {}", place.pack));
        let (name, file) = self.files.get(&place.pack).ok_or_else(missing)?;
        let end = place.at.checked_add(place.bytes).filter(|end| *end <= file.bytes().len() as u64);
        let short = || CheckpointError::damaged(name, format!("is shorter than the piece at byte {}", place.at));
        end.ok_or_else(short)?;
        buffer.resize(place.bytes as usize, 0);
        let unread =
            |cause| CheckpointError::damaged(name, format!("the piece at byte {} can not be read: {cause}", place.at));
        file.read_exact_at(buffer, place.at).map_err(unread)?;
        let is_whole = place.at.is_multiple_of(ALIGNMENT as u64) && crc32fast::hash(buffer) == place.crc;
        let broken =
            || CheckpointError::damaged(name, format!("the piece at byte {} is not what was written", place.at));
        is_whole.then_some(()).ok_or_else(broken)
    }

    /// The bytes of a place that was checked.
    pub(crate) fn piece(&self, place: Place) -> &[u8] {
        &self.file(place).bytes()[place.at as usize..(place.at + place.bytes) as usize]
    }

    /// The file of a place that was checked.
    pub(crate) fn file(&self, place: Place) -> &Arc<dyn Mapped> {
        &self.files[&place.pack].1
    }

    /// The name of the file of a place that was checked.
    pub(crate) fn name(&self, place: Place) -> &str {
        &self.files[&place.pack].0
    }
}
