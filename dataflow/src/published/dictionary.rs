//! The names of ads. Strings live here, once; everything else knows ads by their fingerprints.
//!
//! A name is kept with the last *day* it was named for, which no click of its ad lies behind (see
//! [`AdName`](crate::intake::AdName)). Once nobody asks about that day any more, the name goes: ads that come and go without end
//! leave nothing behind.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::domain::fingerprint::Fingerprint;
use crate::domain::retention::Retention;
use crate::intake::AdName;

use super::size::ArrangementSize;

/// Parts of the dictionary, so that a reader waits for a part at most.
const SHARDS: usize = 64;

/// An ad with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    hash: u64,
    low: u32,
    /// The number of the last day, UTC, that it was named for.
    pub(crate) day: u32,
    /// The name.
    pub(crate) name: Arc<str>,
}

impl Named {
    /// An ad as it was named.
    pub(crate) fn new(ad: Fingerprint, day: u32, name: Arc<str>) -> Self {
        Named { hash: ad.hash, low: ad.low, day, name }
    }

    /// The ad.
    pub(crate) fn ad(&self) -> Fingerprint {
        Fingerprint { hash: self.hash, low: self.low }
    }
}

/// The ads by fingerprint.
pub(crate) struct Dictionary {
    /// What was named since it was last taken; `None` where nobody takes it.
    new: Mutex<Option<Vec<Named>>>,
    holds: Arc<Mutex<Holds>>,
    shards: Vec<RwLock<HashTable<Named>>>,
}

/// Which days readers count on.
#[derive(Default)]
struct Holds {
    /// Names of days before this one are gone.
    first_day: u32,
    /// How many readers began when the first day was which.
    readers: BTreeMap<u32, usize>,
}

/// While it lives, no name is forgotten that was there when it began.
pub(crate) struct NamesHeld {
    first_day: u32,
    holds: Arc<Mutex<Holds>>,
}

impl Drop for NamesHeld {
    fn drop(&mut self) {
        let mut holds = lock(&self.holds);
        let readers = holds.readers.get_mut(&self.first_day).expect("a reader is counted while it reads");
        *readers -= 1;
        if *readers == 0 {
            holds.readers.remove(&self.first_day);
        }
    }
}

fn lock(holds: &Mutex<Holds>) -> MutexGuard<'_, Holds> {
    holds.lock().expect("nothing panics while it counts readers")
}

impl Dictionary {
    /// An empty dictionary.
    pub(crate) fn new() -> Self {
        let shards = (0..SHARDS).map(|_| RwLock::default()).collect();
        Dictionary { new: Mutex::new(None), holds: Arc::default(), shards }
    }

    /// Keeps what is named from now on for [`take_new`](Dictionary::take_new).
    pub(crate) fn keep_new(&self) {
        *self.lock_new() = Some(Vec::new());
    }

    /// The ads that were named, new or again, since the last call.
    pub(crate) fn take_new(&self) -> Vec<Named> {
        self.lock_new().as_mut().map(std::mem::take).unwrap_or_default()
    }

    fn lock_new(&self) -> MutexGuard<'_, Option<Vec<Named>>> {
        self.new.lock().expect("nothing panics while it holds the new names")
    }

    /// Takes in names.
    ///
    /// # Panics
    /// Where two names have one fingerprint: their counts could not be told apart.
    pub(crate) fn extend(&self, mut names: Vec<AdName>) {
        // A shard is locked once, and one look-up does not wait for another.
        names.sort_unstable_by_key(|named| shard_of(named.ad));
        for of_shard in names.chunk_by(|a, b| shard_of(a.ad) == shard_of(b.ad)) {
            let mut shard = self.write(of_shard[0].ad);
            let news =
                of_shard.iter().filter_map(|named| add(&mut shard, named.ad, named.day, &*named.name).transpose());
            let news = news.collect();
            drop(shard);
            self.tell(news);
        }
    }

    /// Takes in names as they were.
    ///
    /// # Panics
    /// As [`extend`](Dictionary::extend).
    pub(crate) fn restore(&self, names: impl IntoIterator<Item = Named>) {
        let add = |named: Named| add(&mut self.write(named.ad()), named.ad(), named.day, named.name).transpose();
        self.tell(names.into_iter().filter_map(add).collect());
    }

    /// Keeps what is news for [`take_new`](Dictionary::take_new).
    fn tell(&self, news: Result<Vec<Named>, TwoNames>) {
        let news = news.unwrap_or_else(|two| panic!("{two}"));
        if let Some(new) = &mut *self.lock_new() {
            new.extend(news);
        }
    }

    /// The name of an ad.
    ///
    /// # Panics
    /// Where it has none: an ad is named before its first fact is released, and kept while its rows can be read.
    pub(crate) fn name(&self, ad: Fingerprint) -> Arc<str> {
        let shard = self.read(&self.shards[shard_of(ad)]);
        let named = shard.find(ad.hash, |known| known.ad() == ad);
        Arc::clone(&named.expect("an ad has a name while it has a row").name)
    }

    /// Keeps every name that is there now, for a reader. To be called before the reader takes hold of an epoch.
    pub(crate) fn hold(&self) -> NamesHeld {
        let mut holds = lock(&self.holds);
        let first_day = holds.first_day;
        *holds.readers.entry(first_day).or_default() += 1;
        NamesHeld { first_day, holds: Arc::clone(&self.holds) }
    }

    /// Forgets the names that nobody asks about any more, but for what readers hold.
    pub(crate) fn forget(&self, retention: &Retention) {
        let mut holds = lock(&self.holds);
        let held_from = holds.readers.keys().next().copied().unwrap_or(u32::MAX);
        let first_day = retention.first_named_day().min(held_from);
        if first_day <= holds.first_day {
            return;
        }
        holds.first_day = first_day;
        drop(holds);
        for shard in &self.shards {
            let mut shard = shard.write().expect("nothing panics while it holds a shard");
            shard.retain(|named| first_day <= named.day);
            if shard.len() < shard.capacity() / 4 {
                shard.shrink_to_fit(|named| named.hash);
            }
        }
    }

    /// Every ad, by the bytes of its name.
    pub(crate) fn sorted(&self) -> Vec<(Arc<str>, Fingerprint)> {
        let mut names = Vec::new();
        for shard in &self.shards {
            names.extend(self.read(shard).iter().map(|named| (Arc::clone(&named.name), named.ad())));
        }
        // Names lie all over memory: their first bytes, kept with each, decide nearly always.
        let mut keyed: Vec<(u128, usize)> = names.iter().map(|(name, _)| first_bytes(name)).zip(0..).collect();
        keyed.sort_unstable_by(|(key_a, a), (key_b, b)| {
            key_a.cmp(key_b).then_with(|| names[*a].0.as_bytes().cmp(names[*b].0.as_bytes()))
        });
        keyed.into_iter().map(|(_, place)| names[place].clone()).collect()
    }

    /// How many names there are, and what they take.
    pub(crate) fn size(&self) -> ArrangementSize {
        let (mut records, mut bytes) = (0, 0);
        for shard in &self.shards {
            let shard = self.read(shard);
            let names: usize = shard.iter().map(|named| named.name.len()).sum();
            records += shard.len() as u64;
            bytes += (shard.capacity() * size_of::<Named>() + names) as u64;
        }
        ArrangementSize { name: "names", records, bytes, resident_bytes: bytes, loose_bytes: 0, runs: 0 }
    }

    fn read<'a>(&self, shard: &'a RwLock<HashTable<Named>>) -> RwLockReadGuard<'a, HashTable<Named>> {
        shard.read().expect("nothing panics while it holds a shard")
    }

    fn write(&self, ad: Fingerprint) -> RwLockWriteGuard<'_, HashTable<Named>> {
        self.shards[shard_of(ad)].write().expect("nothing panics while it holds a shard")
    }
}

/// Two names with one fingerprint.
#[derive(Debug, thiserror::Error)]
#[error("two ads have the fingerprint {ad:?}; one is {name:?}")]
struct TwoNames {
    ad: Fingerprint,
    name: Arc<str>,
}

/// Adds a name to its shard, and returns it where that is news: a new ad, or one that is still alive on a later day.
fn add(
    shard: &mut HashTable<Named>,
    ad: Fingerprint,
    day: u32,
    name: impl AsRef<str> + Into<Arc<str>>,
) -> Result<Option<Named>, TwoNames> {
    match shard.entry(ad.hash, |known| known.ad() == ad, |known| known.hash) {
        Entry::Vacant(place) => Ok(Some(place.insert(Named::new(ad, day, name.into())).get().clone())),
        Entry::Occupied(known) if *known.get().name != *name.as_ref() => Err(TwoNames { ad, name: name.into() }),
        Entry::Occupied(known) => {
            let known = known.into_mut();
            let is_later = known.day < day;
            known.day = known.day.max(day);
            Ok(is_later.then(|| known.clone()))
        }
    }
}

fn shard_of(ad: Fingerprint) -> usize {
    ad.low as usize % SHARDS
}

/// The first bytes of a name as one word, in an order that no two names contradict.
pub(crate) fn first_bytes(name: &str) -> u128 {
    let mut bytes = [0; 16];
    let len = name.len().min(16);
    bytes[..len].copy_from_slice(&name.as_bytes()[..len]);
    u128::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::rules::DAY_MS;

    fn ad(number: u64) -> Fingerprint {
        Fingerprint { hash: number.wrapping_mul(0x9e37_79b9_7f4a_7c15), low: number as u32 }
    }

    fn named(number: u64, day: u32) -> AdName {
        AdName { ad: ad(number), day, name: format!("ad-{number}").into() }
    }

    fn from_day(day: i64) -> Retention {
        let from_ms = day * DAY_MS;
        Retention { copies_from_ms: from_ms, rows_after_ms: from_ms, ..Retention::ALL }
    }

    fn len(dictionary: &Dictionary) -> usize {
        dictionary.sorted().len()
    }

    #[test]
    fn what_is_named_again_stays() {
        let dictionary = Dictionary::new();
        dictionary.keep_new();
        dictionary.extend((0..1_000).map(|number| named(number, 10)).collect());
        dictionary.extend((0..10).map(|number| named(number, 12)).collect());
        dictionary.extend((0..10).map(|number| named(number, 11)).collect());
        assert_eq!(dictionary.take_new().len(), 1_010, "what is no news is not told");
        dictionary.forget(&from_day(10));
        assert_eq!(len(&dictionary), 1_000);
        dictionary.forget(&from_day(12));
        assert_eq!(len(&dictionary), 10);
        assert_eq!(&*dictionary.name(ad(7)), "ad-7");
        dictionary.forget(&Retention::ALL);
        assert_eq!(len(&dictionary), 10);
    }

    #[test]
    fn what_a_reader_holds_stays_as_long_as_it_reads() {
        let dictionary = Dictionary::new();
        dictionary.extend(vec![named(1, 10), named(2, 20), named(3, 30)]);
        let early = dictionary.hold();
        dictionary.forget(&from_day(15));
        assert_eq!(len(&dictionary), 3);
        drop(early);
        dictionary.forget(&from_day(15));
        assert_eq!(len(&dictionary), 2);
        let (one, other) = (dictionary.hold(), dictionary.hold());
        drop(one);
        dictionary.forget(&from_day(25));
        assert_eq!(len(&dictionary), 2);
        drop(other);
        dictionary.forget(&from_day(25));
        assert_eq!(len(&dictionary), 1);
    }

    #[test]
    #[should_panic(expected = "two ads have the fingerprint")]
    fn two_names_of_one_fingerprint_are_a_bug() {
        let dictionary = Dictionary::new();
        dictionary.extend(vec![named(1, 10), AdName { ad: ad(1), day: 10, name: "other".into() }]);
    }
}
