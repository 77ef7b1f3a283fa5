//! The names of ads. Strings live here, once; everything else knows ads by their fingerprints.

use std::sync::{Arc, Mutex, MutexGuard, RwLock};

use hashbrown::HashMap;

use crate::domain::fingerprint::Fingerprint;

/// Parts of the dictionary, so that a reader waits for a part at most.
const SHARDS: usize = 64;

/// Ads with their names.
pub(crate) type Names = Vec<(Fingerprint, Arc<str>)>;

/// The ads by fingerprint. Names are only ever added.
pub(crate) struct Dictionary {
    /// Names added since they were last taken; `None` where nobody takes them.
    new: Mutex<Option<Names>>,
    shards: Vec<RwLock<HashMap<Fingerprint, Arc<str>>>>,
}

impl Dictionary {
    /// An empty dictionary.
    pub(crate) fn new() -> Self {
        Dictionary { new: Mutex::new(None), shards: (0..SHARDS).map(|_| RwLock::default()).collect() }
    }

    /// Keeps the names that are added from now on for [`take_new`](Dictionary::take_new).
    pub(crate) fn keep_new(&self) {
        *self.lock_new() = Some(Vec::new());
    }

    /// The names that were added since the last call.
    pub(crate) fn take_new(&self) -> Names {
        self.lock_new().as_mut().map(std::mem::take).unwrap_or_default()
    }

    fn lock_new(&self) -> MutexGuard<'_, Option<Names>> {
        self.new.lock().expect("nothing panics while it holds the new names")
    }

    /// Adds names.
    ///
    /// # Panics
    /// Where two names have one fingerprint: their counts could not be told apart.
    pub(crate) fn extend(&self, names: Vec<(Fingerprint, Box<str>)>) {
        for (ad, name) in names {
            let mut shard = self.shard(ad).write().expect("nothing panics while it holds a shard");
            let known = shard.entry(ad).or_insert_with(|| {
                let name: Arc<str> = name.as_ref().into();
                if let Some(new) = &mut *self.lock_new() {
                    new.push((ad, Arc::clone(&name)));
                }
                name
            });
            let same = **known == *name;
            drop(shard);
            assert!(same, "two ads have the fingerprint {ad:?}; one is {name:?}");
        }
    }

    /// The name of an ad.
    ///
    /// # Panics
    /// Where it has none: an ad is named before its first fact is released.
    pub(crate) fn name(&self, ad: Fingerprint) -> Arc<str> {
        let shard = self.shard(ad).read().expect("nothing panics while it holds a shard");
        Arc::clone(shard.get(&ad).expect("an ad is named before its first fact is released"))
    }

    /// Every ad, by the bytes of its name.
    pub(crate) fn sorted(&self) -> Vec<(Arc<str>, Fingerprint)> {
        let mut names = Vec::new();
        for shard in &self.shards {
            let shard = shard.read().expect("nothing panics while it holds a shard");
            names.extend(shard.iter().map(|(ad, name)| (Arc::clone(name), *ad)));
        }
        // Names lie all over memory: their first bytes, kept with each, decide nearly always.
        let mut keyed: Vec<(u128, usize)> = names.iter().map(|(name, _)| first_bytes(name)).zip(0..).collect();
        keyed.sort_unstable_by(|(key_a, a), (key_b, b)| {
            key_a.cmp(key_b).then_with(|| names[*a].0.as_bytes().cmp(names[*b].0.as_bytes()))
        });
        keyed.into_iter().map(|(_, place)| names[place].clone()).collect()
    }

    fn shard(&self, ad: Fingerprint) -> &RwLock<HashMap<Fingerprint, Arc<str>>> {
        &self.shards[ad.low as usize % SHARDS]
    }
}

/// The first bytes of a name as one word, in an order that no two names contradict.
fn first_bytes(name: &str) -> u128 {
    let mut bytes = [0; 16];
    let len = name.len().min(16);
    bytes[..len].copy_from_slice(&name.as_bytes()[..len]);
    u128::from_be_bytes(bytes)
}
