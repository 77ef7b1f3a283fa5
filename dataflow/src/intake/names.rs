//! Which ads a thread's batches name: those that it has not named already in its newest day.

use crate::domain::event::Click;
use crate::domain::fingerprint::Fingerprint;
use crate::domain::window::Granularity;
use crate::prefetch::prefetch;

use super::AdName;

/// How many clicks ahead of the one whose ad is looked up the place of one is fetched.
const AHEAD_CLICKS: usize = 16;

/// The ads that were named. Those of a batch are looked up at its end, when it is known which places will be looked at: nearly
/// each lies where no cache holds it.
#[derive(Default)]
pub(super) struct Names {
    /// The latest day of any click so far.
    day: u32,
    known: KnownAds,
    /// The clicks of the batch.
    clicks: Vec<Seen>,
    /// The names of their ads, one behind the other.
    text: String,
}

/// A click, as far as the name of its ad is concerned.
#[derive(Clone, Copy)]
struct Seen {
    ad: Fingerprint,
    day: u32,
    name_bytes: u32,
}

impl Names {
    /// Begins a batch.
    pub(super) fn begin(&mut self) {
        self.clicks.clear();
        self.text.clear();
    }

    /// Takes note of a click.
    #[inline]
    pub(super) fn see(&mut self, ad: Fingerprint, click: &Click<'_>) {
        let day = Granularity::Day.window_of(click.event_ms);
        self.clicks.push(Seen { ad, day, name_bytes: click.ad_id.len() as u32 });
        self.text.push_str(&click.ad_id);
    }

    /// Ends the batch: the names that are new.
    pub(super) fn finish(&mut self) -> Vec<AdName> {
        let mut new = Vec::new();
        let mut rest = self.text.as_str();
        for (number, click) in self.clicks.iter().enumerate() {
            if let Some(later) = self.clicks.get(number + AHEAD_CLICKS) {
                self.known.expect(later.ad);
            }
            let (name, after) = rest.split_at(click.name_bytes as usize);
            rest = after;
            if self.day < click.day {
                self.day = click.day;
                self.known.clear();
            }
            if self.known.insert(click.ad) {
                new.push(AdName { ad: click.ad, day: self.day, name: name.into() });
            }
        }
        new
    }
}

/// A set of ads.
#[derive(Default)]
struct KnownAds {
    /// Open addressing by the high bits of the hash: none, or a power of two of them, at most half of them taken. An ad whose
    /// fingerprint is all zeros would never be known, and is named with each of its clicks.
    slots: Vec<Fingerprint>,
    len: usize,
}

impl KnownAds {
    const SLOTS_MIN: usize = 1_024;

    #[inline]
    fn slot(&self, ad: Fingerprint) -> usize {
        (ad.hash >> (u64::BITS - self.slots.len().trailing_zeros())) as usize
    }

    /// Starts to load what [`insert`](KnownAds::insert) will look at.
    #[inline]
    fn expect(&self, ad: Fingerprint) {
        if !self.slots.is_empty() {
            prefetch(&self.slots[self.slot(ad)]);
        }
    }

    /// Adds an ad, and says whether it was new.
    #[inline]
    fn insert(&mut self, ad: Fingerprint) -> bool {
        if 2 * self.len >= self.slots.len() {
            self.grow();
        }
        let mut slot = self.slot(ad);
        while self.slots[slot] != Fingerprint::default() {
            if self.slots[slot] == ad {
                return false;
            }
            slot = (slot + 1) % self.slots.len();
        }
        self.slots[slot] = ad;
        self.len += usize::from(ad != Fingerprint::default());
        true
    }

    /// Forgets all of them, and keeps the room.
    fn clear(&mut self) {
        self.slots.fill(Fingerprint::default());
        self.len = 0;
    }

    #[cold]
    fn grow(&mut self) {
        let slots = vec![Fingerprint::default(); (2 * self.slots.len()).max(KnownAds::SLOTS_MIN)];
        let old = std::mem::replace(self, KnownAds { slots, len: 0 });
        old.slots.into_iter().filter(|ad| *ad != Fingerprint::default()).for_each(|ad| {
            self.insert(ad);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::rules::DAY_MS;

    #[test]
    fn an_ad_is_new_once() {
        let mut known = KnownAds::default();
        let ads: Vec<Fingerprint> = (0..5_000_u64)
            .map(|number| Fingerprint { hash: number.wrapping_mul(0x9e37_79b9_7f4a_7c15) << 1, low: number as u32 + 1 })
            .chain((1..=50).map(|low| Fingerprint { hash: u64::MAX, low }))
            .collect();
        for turn in 0..2 {
            for ad in &ads {
                known.expect(*ad);
                assert_eq!(known.insert(*ad), turn == 0, "{ad:?}");
            }
        }
    }

    #[test]
    fn an_ad_is_named_again_on_a_new_day() {
        let mut names = Names::default();
        let mut batch = |clicks: &[(&str, i64)]| {
            names.begin();
            for (ad, day) in clicks {
                let hash = ad.bytes().fold(7, |hash: u64, byte| hash.rotate_left(9) ^ u64::from(byte));
                let click = Click { ad_id: (*ad).into(), event_ms: day * DAY_MS, ..Click::default() };
                names.see(Fingerprint { hash, low: 1 }, &click);
            }
            names.finish().iter().map(|new| format!("{} on {}", new.name, new.day)).collect::<Vec<_>>()
        };
        assert_eq!(batch(&[("a", 3), ("long", 3), ("a", 3), ("", 3)]), ["a on 3", "long on 3", " on 3"]);
        assert_eq!(batch(&[("a", 3), ("a", 4), ("long", 3), ("new", 4)]), ["a on 4", "long on 4", "new on 4"]);
        assert_eq!(batch(&[("a", 2), ("new", 4)]), [""; 0]);
    }
}
