//! Ids as fixed-width keyed fingerprints.
//!
//! The engine keeps 96 bits of a keyed SipHash-1-3 in place of an id. Two different ids of one kind are taken for one with
//! probability 2^-96 a pair. In a billing day of 10^8 clicks, each is compared with the ids remembered: 1.5 * 10^9 over two
//! weeks. That makes 1.5 * 10^17 pairs, and 1.5 * 10^17 / 2^96 = 2 * 10^-12; ads and (ad, user) pairs are fewer or as many.
//! All kinds together stay below 10^-11, two orders under the contract's 10^-9. The key is secret and belongs to the store,
//! so nobody outside can choose ids that collide; kinds are hashed under keys of their own, so that no id of one kind can
//! ever equal one of another. No answer depends on the key.

use std::hash::Hasher as _;

use siphasher::sip::SipHasher13;
use siphasher::sip128::{Hasher128, SipHasher13 as SipHasher13Wide};

/// The 96-bit fingerprint of an id. `hash` is uniform: runs are sorted by it and workers own ranges of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint {
    /// The high 64 bits, by which runs are sorted.
    pub hash: u64,
    /// The low 32 bits, which tell apart ids whose `hash` is equal.
    pub low: u32,
}

/// The key of a store: what turns ids into fingerprints.
#[derive(Clone, Copy)]
pub struct HashKey {
    key: [u64; 2],
}

/// What an id names. Each kind has a hash key of its own.
#[derive(Clone, Copy)]
enum Kind {
    Click = 1,
    Ad = 2,
    Visit = 3,
    Fallback = 4,
}

impl HashKey {
    /// The key from 16 secret bytes.
    pub fn new(secret: [u8; 16]) -> Self {
        let (low, high) = secret.split_at(8);
        let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("half of 16 bytes is 8"));
        HashKey { key: [word(low), word(high)] }
    }

    /// The fingerprint of a `click_id`.
    pub fn click(&self, click_id: &str) -> Fingerprint {
        self.hash(Kind::Click, |hasher| hasher.write(click_id.as_bytes()))
    }

    /// The fingerprint of an `ad_id`.
    pub fn ad(&self, ad_id: &str) -> Fingerprint {
        self.hash(Kind::Ad, |hasher| hasher.write(ad_id.as_bytes()))
    }

    /// The fingerprint of a user of an ad, under which distinct users are counted. Of the ad its fingerprint is hashed,
    /// which adds its own chance of a collision and nothing else.
    pub fn visit(&self, ad: Fingerprint, user_id: &str) -> Fingerprint {
        self.hash(Kind::Visit, |hasher| {
            hasher.write_u64(ad.hash);
            hasher.write_u32(ad.low);
            hasher.write(user_id.as_bytes());
        })
    }

    /// The identity of a click that has no id: its ad, its user, and its minute (counted from 1970).
    pub fn fallback(&self, visit: Fingerprint, minute: u32) -> Fingerprint {
        self.hash(Kind::Fallback, |hasher| {
            hasher.write_u64(visit.hash);
            hasher.write_u32(visit.low);
            hasher.write_u32(minute);
        })
    }

    fn hash(&self, kind: Kind, write: impl FnOnce(&mut SipHasher13Wide)) -> Fingerprint {
        let mut hasher = SipHasher13Wide::new_with_keys(self.key[0] ^ kind as u64, self.key[1]);
        write(&mut hasher);
        let wide = hasher.finish128();
        Fingerprint { hash: wide.h1, low: wide.h2 as u32 }
    }
}

/// The place of a copy's contents in the total order that decides between copies of one id and one time: a SipHash-1-3 under a
/// fixed public key, of the ad, the user and the price. It is the same in every store, whatever the store's own key.
pub fn content_order(ad_id: &str, user_id: &str, price_micros: i64) -> u64 {
    fixed_order(&[ad_id.as_bytes(), user_id.as_bytes()], price_micros as u64)
}

/// The same for verdicts of one time and one decision, of the reason, the model and the score.
pub fn verdict_order(reason: &str, model_version: &str, score: f64) -> u64 {
    fixed_order(&[reason.as_bytes(), model_version.as_bytes()], score.to_bits())
}

fn fixed_order(strings: &[&[u8]], number: u64) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(0x7265_636f_756e_7431, 0);
    for bytes in strings {
        hasher.write_u32(bytes.len() as u32);
        hasher.write(bytes);
    }
    hasher.write_u64(number);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_and_keys_give_different_fingerprints() {
        let one = HashKey::new([7; 16]);
        let other = HashKey::new([8; 16]);
        assert_ne!(one.click("x"), one.ad("x"));
        assert_ne!(one.click("x"), other.click("x"));
        assert_eq!(one.click("x"), HashKey::new([7; 16]).click("x"));
        assert_ne!(one.visit(one.ad("a"), "u"), one.visit(one.ad("b"), "u"));
    }

    #[test]
    fn the_content_order_keeps_fields_apart_and_needs_no_key() {
        assert_ne!(content_order("ab", "c", 0), content_order("a", "bc", 0));
        assert_eq!(content_order("ab", "c", 7), content_order("ab", "c", 7));
    }
}
