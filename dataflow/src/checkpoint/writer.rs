//! From a state to files.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::sync::Arc;

use crate::domain::fact::Position;
use crate::operators::context::State;
use crate::published::{Held, Named, Outline};
use crate::read::Reader;
use crate::store::Store;

use super::arrangements::{ChunkWriter, EachArrangement as _, Live};
use super::keeper::{others, read, up_to};
use super::manifest::{self, Manifest, StateRecord};
use super::pack::{self, PackName, PackWriter, Packs};
use super::pieces::{Piece, Rewriter};
use super::{CheckpointError, names, set_aside};

/// Bytes of records set aside that need not be kept, below which it is not worth it to write the others anew.
const SIFT_BYTES_MIN: u64 = 64 << 10;

/// Writes checkpoints of one engine, one at a time, beside everything else: no worker and no reader waits for it.
pub struct Checkpointer {
    store: Arc<dyn Store>,
    writer: u64,
    keep: usize,
    /// Whether workers are to hold what files hold, and not memory.
    release: bool,
    reader: Reader,
    /// Of the checkpoints up to this epoch the newest is kept as well: somebody may have to go on from it.
    needed: Box<dyn Fn() -> u64 + Send>,
    /// Fails where another process writes in this one's place.
    fence: Box<dyn Fn() -> io::Result<()> + Send>,
    /// The checkpoints that are kept, oldest first.
    kept: Vec<KeptCheckpoint>,
    next_number: u64,
    next_pack: u64,
    /// Every pack that a piece may be in.
    packs: BTreeMap<u64, PackName>,
    names: Vec<Piece>,
    /// What was named and no piece holds yet.
    new_names: Vec<Named>,
    set_aside: Vec<Piece>,
    /// What the list of records set aside came to when they were written last.
    outline: Outline,
}

/// A checkpoint that is kept.
struct KeptCheckpoint {
    number: u64,
    crc: u32,
    epoch: u64,
    positions: Vec<Position>,
    packs: BTreeSet<u64>,
}

impl KeptCheckpoint {
    fn new(manifest: &Manifest, crc: u32) -> Self {
        KeptCheckpoint {
            number: manifest.number,
            crc,
            epoch: manifest.epoch,
            positions: manifest.next_positions(),
            packs: manifest.packs.iter().map(|pack| pack.number).collect(),
        }
    }
}

/// What came of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Its number.
    pub number: u64,
    /// The epoch that it holds the state of.
    pub epoch: u64,
    /// Bytes of the pack written for it.
    pub bytes: u64,
    /// How many of the checkpoints that were kept somebody else has deleted.
    pub gone: usize,
}

/// The fence of a store that no other process can take over.
///
/// # Errors
/// None.
pub fn no_fence() -> io::Result<()> {
    Ok(())
}

impl Checkpointer {
    /// A checkpointer of the engine behind `reader`, which goes on from what the store holds. `writer` is this process's epoch as a
    /// writer, `keep` how many checkpoints stay, at least 2. `fence` is asked before a manifest is made, and before anything is deleted.
    /// It fails where another process has taken this one's place: that one goes on from what is there, so nothing of it may go.
    ///
    /// # Errors
    /// Where the store fails.
    pub fn open(
        store: Arc<dyn Store>,
        reader: Reader,
        writer: u64,
        keep: usize,
        fence: impl Fn() -> io::Result<()> + Send + 'static,
    ) -> Result<Self, CheckpointError> {
        let files = store.list().map_err(CheckpointError::store("the directory of checkpoints", "listing"))?;
        let mut open = Checkpointer {
            next_number: files.iter().filter_map(|name| manifest::number_of(name)).max().unwrap_or(0) + 1,
            next_pack: files.iter().filter_map(|name| pack::number_of(name)).map(|(pack, _)| pack).max().unwrap_or(0)
                + 1,
            store,
            writer,
            keep: keep.max(2),
            release: false,
            needed: Box::new(|| u64::MAX),
            fence: Box::new(fence),
            kept: Vec::new(),
            packs: BTreeMap::new(),
            names: Vec::new(),
            new_names: Vec::new(),
            set_aside: Vec::new(),
            outline: Outline::default(),
            reader,
        };
        // What is newer than the one that was restored could not be used.
        let Some(restored) = open.reader.restored_from() else { return Ok(open) };
        for (manifest, crc) in up_to(&*open.store, restored)? {
            open.packs.extend(manifest.packs.iter().map(|pack| (pack.number, *pack)));
            open.kept.push(KeptCheckpoint::new(&manifest, crc));
            (open.names, open.set_aside) = (manifest.names, manifest.set_aside);
        }
        Ok(open)
    }

    /// From now on workers hold what is written from its file, mapped, and keep of it in memory only what says which keys it has not:
    /// the state may be larger than memory.
    pub fn release_memory(&mut self) {
        self.release = true;
    }

    /// From now on the newest checkpoint of an epoch up to `needed()` stays, beside those that are kept anyway.
    pub fn keep_up_to(&mut self, needed: impl Fn() -> u64 + Send + 'static) {
        self.needed = Box::new(needed);
    }

    /// The bytes of the newest state that are in memory, and not in files.
    pub fn resident_bytes(&self) -> u64 {
        let newest = self.reader.snapshot(None).expect("the newest complete epoch can be read");
        newest.state_bytes().iter().map(|arrangement| arrangement.resident_bytes).sum()
    }

    /// What reads the engine whose checkpoints these are.
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// The newest checkpoint's epoch; `None` before the first.
    pub fn newest_epoch(&self) -> Option<u64> {
        self.kept.last().map(|kept| kept.epoch)
    }

    /// The epoch and the positions of the oldest state that is kept: the log and the bindings from there on are needed. A later
    /// number may hold an earlier epoch, where a start went back for a sink.
    pub fn oldest(&self) -> Option<(u64, &[Position])> {
        let oldest = self.kept.iter().min_by_key(|kept| kept.epoch);
        oldest.map(|kept| (kept.epoch, kept.positions.as_slice()))
    }

    /// Writes the state after the newest complete epoch; `None` where a checkpoint holds it already.
    ///
    /// # Errors
    /// Where the store fails: what was written counts for nothing then, and where [`CheckpointError::is_retryable`] a later call may
    /// succeed; else whoever holds the directory is to stop. [`CheckpointError::Replaced`] and [`CheckpointError::Fenced`] where another
    /// process has taken it over.
    pub fn write(&mut self) -> Result<Option<Written>, CheckpointError> {
        // Who takes this one's place clears away what is unfinished: that it is gone is not the reason then.
        self.try_write().map_err(|error| self.check_fence().err().unwrap_or(error))
    }

    fn try_write(&mut self) -> Result<Option<Written>, CheckpointError> {
        let held = self.reader.hold_newest();
        let epoch = held.complete.after.epoch;
        if epoch <= self.newest_epoch().unwrap_or(0) {
            return Ok(None);
        }
        self.check_fence()?;
        self.new_names.append(&mut self.reader.take_new_names());
        let stale = self.stale_packs(&held.workers)?;
        let store = Arc::clone(&self.store);
        let mut pack = PackWriter::new(&*store, self.next_pack, self.writer);
        self.next_pack += 1;
        let (states, homes) = ChunkWriter::new(&mut pack, &stale, self.release).write(&held.workers)?;
        let names = self.write_names(&mut pack, &stale, held.retention(&self.reader.rules()).first_named_day())?;
        let (set_aside, outline) = self.write_set_aside(&mut pack, &stale, &held)?;
        let pack = pack.finish()?;
        // The pack is durable: whatever happens to the manifest, these pieces need not be written again.
        if let Some(pack) = pack {
            self.packs.insert(pack.number, pack);
            let file = Packs::open(&*store, &[pack])?.only();
            homes.into_iter().for_each(|home| home(&file));
            self.reader.settle();
        }
        self.new_names.clear();
        (self.names, self.set_aside, self.outline) = (names, set_aside, outline);
        let number = self.commit(&held, states)?;
        let gone = self.collect()?;
        Ok(Some(Written { number, epoch, bytes: pack.map_or(0, |pack| pack.bytes), gone }))
    }

    /// The packs of which less than half is still needed: what is, moves.
    fn stale_packs(&self, states: &[Arc<State>]) -> Result<BTreeSet<u64>, CheckpointError> {
        let mut live = Live::default();
        states.iter().try_for_each(|state| live.look_at(state))?;
        self.names.iter().chain(&self.set_aside).for_each(|piece| live.add(piece.place));
        let is_stale = |pack: &&PackName| live.bytes.get(&pack.number).is_some_and(|bytes| bytes * 2 < pack.bytes);
        Ok(self.packs.values().filter(is_stale).map(|pack| pack.number).collect())
    }

    /// Adds the new names to those that are written. A piece without a day that names are still asked about for goes.
    fn write_names(
        &self,
        pack: &mut PackWriter<'_>,
        stale: &BTreeSet<u64>,
        first_day: u32,
    ) -> Result<Vec<Piece>, CheckpointError> {
        let new = names::encode(&self.new_names);
        let last = self.new_names.iter().map(|named| u64::from(named.day)).max().unwrap_or(0);
        let needed: Vec<Piece> =
            self.names.iter().filter(|piece| u64::from(first_day) <= piece.last).copied().collect();
        let sift = |bytes: Vec<u8>| names::sift(&bytes, first_day);
        Rewriter { store: &*self.store, packs: &self.packs, stale, pack }.extend(&needed, new, last, sift)
    }

    /// Adds the records that were set aside since. Epochs may follow the one that is held meanwhile: what they make go is gone from
    /// this checkpoint too, and is counted in it.
    fn write_set_aside(
        &self,
        pack: &mut PackWriter<'_>,
        stale: &BTreeSet<u64>,
        held: &Held,
    ) -> Result<(Vec<Piece>, Outline), CheckpointError> {
        let written = self.set_aside.last().map_or(0, |piece| piece.last);
        let (mut outline, records) = self.reader.set_aside_after(written, held.complete.after.epoch);
        outline.next_number = held.complete.next_set_aside;
        let last = records.last().map_or(written, |(number, _)| *number);
        let new = set_aside::encode(records.iter().map(|(number, record)| (*number, &**record)));
        let oldest = outline.oldest.values().min().copied().unwrap_or(u64::MAX);
        let needed: Vec<Piece> = self.set_aside.iter().filter(|piece| oldest <= piece.last).copied().collect();
        let mut stale = stale.clone();
        // A record of a rare reason is kept for long, and must not keep all that was written with it.
        let bytes: u64 = needed.iter().map(|piece| piece.place.bytes).sum();
        if 2 * (outline.bytes + SIFT_BYTES_MIN) < bytes {
            stale.extend(needed.first().map(|piece| piece.place.pack));
        }
        let sift = |bytes: Vec<u8>| set_aside::sift(&bytes, &outline);
        let rewriter = Rewriter { store: &*self.store, packs: &self.packs, stale: &stale, pack };
        let pieces = rewriter.extend(&needed, new, last, sift)?;
        Ok((pieces, outline))
    }

    /// Creates the manifest: from here on the checkpoint is one.
    fn commit(&mut self, held: &Held, states: Vec<StateRecord>) -> Result<u64, CheckpointError> {
        let parent = self.kept.last().map(|kept| (kept.number, kept.crc));
        let (names, set_aside) = (self.names.clone(), self.set_aside.clone());
        let rules = self.reader.rules();
        let mut manifest = Manifest::new(&held.complete.after, rules, self.writer, parent, states, names, set_aside);
        manifest.set_aside_dropped = self.outline.dropped_total;
        manifest.set_aside_outline = Some((&self.outline).into());
        manifest.packs = manifest.pack_numbers().iter().map(|number| self.packs[number]).collect();
        loop {
            manifest.number = self.next_number;
            self.next_number += 1;
            let name = manifest::file_name(manifest.number);
            let (bytes, crc) = manifest.encode();
            let mut file = self.store.create(&name).map_err(CheckpointError::store(&name, "creating"))?;
            file.write_all(&bytes).map_err(CheckpointError::store(&name, "writing"))?;
            self.check_fence()?;
            match file.finish() {
                Ok(()) => {
                    self.kept.push(KeptCheckpoint::new(&manifest, crc));
                    return Ok(manifest.number);
                }
                // One who was stopped before us may have come first; one who came after us is right.
                Err(cause) if cause.kind() == ErrorKind::AlreadyExists => {
                    let (other, _) = read(&*self.store, manifest.number)?;
                    if self.writer <= other.writer {
                        return Err(CheckpointError::Fenced { number: manifest.number });
                    }
                }
                Err(cause) => return Err(CheckpointError::store(&name, "syncing")(cause)),
            }
        }
    }

    /// Removes the checkpoints beyond those that are kept, also those that could not be used, and every pack that no checkpoint needs.
    /// Packs of a later writer are not ours to judge. Returns how many that were kept are not there.
    fn collect(&mut self) -> Result<usize, CheckpointError> {
        let listing = CheckpointError::store("the directory of checkpoints", "listing");
        let files = self.store.list().map_err(listing)?;
        let before = self.kept.len();
        let made = self.kept.last().map(|kept| kept.number);
        let is_there =
            |kept: &KeptCheckpoint| Some(kept.number) == made || files.contains(&manifest::file_name(kept.number));
        self.kept.retain(is_there);
        let gone = before - self.kept.len();
        self.let_go();
        let kept: Vec<u64> = self.kept.iter().map(|kept| kept.number).collect();
        let newest = kept.last().copied().unwrap_or(0);
        let is_old =
            |name: &&String| manifest::number_of(name).is_some_and(|number| number < newest && !kept.contains(&number));
        files.iter().filter(is_old).try_for_each(|name| self.delete(name))?;
        let needed: BTreeSet<u64> = others(&*self.store, &kept)?
            .into_iter()
            .flat_map(|(manifest, _)| manifest.packs)
            .map(|pack| pack.number)
            .chain(self.kept.iter().flat_map(|kept| kept.packs.iter().copied()))
            .collect();
        self.packs.retain(|number, _| needed.contains(number));
        let is_unneeded = |name: &&String| {
            let pack = pack::number_of(name);
            pack.is_some_and(|(number, writer)| writer <= self.writer && !needed.contains(&number))
        };
        files.iter().filter(is_unneeded).try_for_each(|name| self.delete(name))?;
        Ok(gone)
    }

    /// Leaves the newest checkpoints, and of the older ones the one that somebody may have to go on from.
    fn let_go(&mut self) {
        let surplus = self.kept.len().saturating_sub(self.keep);
        let needed_epoch = (self.needed)();
        let usable = self.kept.iter().enumerate().filter(|(_, kept)| kept.epoch <= needed_epoch);
        let needed = usable.max_by_key(|(_, kept)| kept.epoch).map(|(place, _)| place);
        match needed.filter(|needed| *needed < surplus) {
            None => drop(self.kept.drain(..surplus)),
            Some(needed) => {
                self.kept.swap(0, needed);
                self.kept.drain(1..surplus);
            }
        }
    }

    fn check_fence(&self) -> Result<(), CheckpointError> {
        (self.fence)().map_err(|cause| CheckpointError::Replaced { cause })
    }

    fn delete(&self, name: &str) -> Result<(), CheckpointError> {
        self.check_fence()?;
        self.store.delete(name).map_err(CheckpointError::store(name, "deleting"))
    }
}
