//! What a power cut leaves.

use std::collections::BTreeMap;

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::state::{Inode, Node, State, dir_of};

/// Bytes that a device writes wholly or not at all.
const SECTOR_BYTES: usize = 512;

/// What is lost between one process and the next.
#[derive(Clone, Copy, Debug)]
pub enum Loss {
    /// Nothing: the process was killed, the system lives.
    Nothing,
    /// Everything that was not synced.
    Unsynced,
    /// Any part of what was not synced, as the seed says.
    Some(u64),
}

impl State {
    /// Loses what was not synced.
    pub(super) fn cut(&mut self, loss: Loss) {
        let mut rng = match loss {
            Loss::Nothing => return,
            Loss::Unsynced => None,
            Loss::Some(seed) => Some(ChaCha8Rng::seed_from_u64(seed)),
        };
        for inode in &mut self.inodes {
            inode.durable = match &mut rng {
                None => std::mem::take(&mut inode.durable),
                Some(rng) => remains(rng, inode),
            };
            inode.bytes = inode.durable.clone();
            inode.forsaken = None;
        }
        let keeps_all = rng.as_mut().is_some_and(|rng| rng.random_bool(0.3));
        for change in std::mem::take(&mut self.unsynced) {
            if keeps_all || rng.as_mut().is_some_and(|rng| rng.random_bool(0.5)) {
                change.apply(&mut self.durable_names);
            }
        }
        drop_orphans(&mut self.durable_names);
        self.names = self.durable_names.clone();
        self.locks.clear();
    }
}

/// What lies in a directory that is not there is not there either.
fn drop_orphans(names: &mut BTreeMap<String, Node>) {
    loop {
        let is_orphan = |path: &String| !dir_of(path).is_empty() && !names.contains_key(dir_of(path));
        let orphans: Vec<String> = names.keys().filter(|path| is_orphan(path)).cloned().collect();
        if orphans.is_empty() {
            return;
        }
        orphans.iter().for_each(|path| {
            names.remove(path);
        });
    }
}

/// A file's bytes after a power cut: each sector is as it was synced, or as it was written last.
fn remains(rng: &mut ChaCha8Rng, inode: &Inode) -> Vec<u8> {
    let (old, new) = (&inode.durable, &inode.bytes);
    match rng.random_range(0..4) {
        0 => old.clone(),
        1 => new.clone(),
        torn => {
            let (shorter, longer) = (old.len().min(new.len()), old.len().max(new.len()));
            // The length may be any between, and what was never written reads as zeros.
            let length = if torn == 2 { new.len() } else { rng.random_range(shorter..=longer) };
            let mut bytes = vec![0; length];
            for (number, sector) in bytes.chunks_mut(SECTOR_BYTES).enumerate() {
                let from = if rng.random_bool(0.5) { old } else { new };
                let written = from.get(number * SECTOR_BYTES..).unwrap_or_default();
                let length = sector.len().min(written.len());
                sector[..length].copy_from_slice(&written[..length]);
            }
            bytes
        }
    }
}
