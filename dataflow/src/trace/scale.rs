//! A monotone map from hashes to a small number of slots.

/// Maps the hashes `[low, high]` onto the slots `[0, slots)`, in order and evenly: `slot = (hash - low) * slots / width`, with
/// the division done once. With `x = (hash - low) << shift` scaled to use all 64 bits and
/// `factor = floor(slots * 2^64 / (x of high + 1))`, a slot is the high word of `x * factor`, and never reaches `slots`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    low: u64,
    shift: u32,
    factor: u64,
}

impl Scale {
    /// The map of `[low, high]` onto `[0, slots)`.
    pub(crate) fn new(low: u64, high: u64, slots: usize) -> Self {
        assert!(low <= high && 0 < slots, "[{low}, {high}] does not map onto {slots} slots");
        let width = high - low;
        // A shift of 64 is not defined; where all hashes are equal every slot is 0 whatever the shift.
        let shift = width.leading_zeros().min(63);
        let end = u128::from(width << shift) + 1;
        let factor = ((slots as u128) << 64) / end;
        // Only a map of a single hash has so large a factor, and its `x` is always 0.
        Scale { low, shift, factor: u64::try_from(factor).unwrap_or(0) }
    }

    /// The slot of a hash in `[low, high]`.
    #[inline(always)]
    pub(crate) fn slot(&self, hash: u64) -> usize {
        let x = hash.wrapping_sub(self.low) << self.shift;
        ((u128::from(x) * u128::from(self.factor)) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn slots_are_in_range_and_in_order(a: u64, b: u64, c: u64, slots in 1_usize..20_000) {
            let mut hashes = [a, b, c];
            hashes.sort_unstable();
            let [low, middle, high] = hashes;
            let scale = Scale::new(low, high, slots);
            prop_assert_eq!(scale.slot(low), 0);
            prop_assert!(scale.slot(low) <= scale.slot(middle));
            prop_assert!(scale.slot(middle) <= scale.slot(high));
            prop_assert!(scale.slot(high) < slots);
        }
    }

    #[test]
    fn all_slots_are_used() {
        let scale = Scale::new(0, u64::MAX, 4);
        let slots: Vec<usize> = (0..4).map(|quarter| scale.slot(quarter << 62)).collect();
        assert_eq!(slots, [0, 1, 2, 3]);
        assert_eq!(Scale::new(7, 7, 16).slot(7), 0);
    }
}
