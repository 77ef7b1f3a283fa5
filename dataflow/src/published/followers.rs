//! Followers: readers that see every epoch, in order, and hold the history back until they have.

use std::collections::BTreeMap;

/// Who follows, and from which epoch on each has not done with yet.
#[derive(Default)]
pub(crate) struct Followers {
    last: u64,
    next: BTreeMap<u64, u64>,
}

impl Followers {
    /// A new follower of the epochs from `next` on; returns its number.
    pub(crate) fn add(&mut self, next: u64) -> u64 {
        self.last += 1;
        self.next.insert(self.last, next);
        self.last
    }

    /// A follower has done with every epoch below `next`.
    pub(crate) fn advance(&mut self, follower: u64, next: u64) {
        let before = self.next.insert(follower, next).expect("it was added, and not removed");
        assert!(before <= next, "follower {follower} went back from epoch {before} to {next}");
    }

    /// A follower ends.
    pub(crate) fn remove(&mut self, follower: u64) {
        self.next.remove(&follower);
    }

    /// The first epoch that some follower has not done with; `None` where there is no follower.
    pub(crate) fn slowest(&self) -> Option<u64> {
        self.next.values().min().copied()
    }

    /// Whether some follower has not done with an epoch.
    pub(crate) fn need(&self, epoch: u64) -> bool {
        self.slowest().is_some_and(|next| next <= epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_decides() {
        let mut followers = Followers::default();
        assert!(!followers.need(7));
        let (fast, slow) = (followers.add(5), followers.add(3));
        followers.advance(fast, 9);
        assert_eq!((followers.slowest(), followers.need(3), followers.need(2)), (Some(3), true, false));
        followers.remove(slow);
        assert_eq!((followers.need(8), followers.need(9)), (false, true));
    }

    #[test]
    #[should_panic(expected = "went back from epoch 4 to 3")]
    fn a_follower_never_goes_back() {
        let mut followers = Followers::default();
        let follower = followers.add(4);
        followers.advance(follower, 3);
    }
}
