//! One number a granularity for all rows, whatever their order, by which two ways to count are compared.

use std::ops::Add;

use recount_dataflow::domain::fingerprint::Fingerprint;
use recount_dataflow::domain::metrics::{Metric, Metrics};
use recount_dataflow::domain::window::Granularity;
use serde::{Deserialize, Serialize};

/// The checksums of the rows of every granularity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Checksums([u64; 4]);

impl Checksums {
    /// Takes in one row.
    pub(crate) fn add_row(&mut self, granularity: Granularity, ad: Fingerprint, window: u32, metrics: &Metrics) {
        let key = mix(ad.hash ^ mix((ad.low as u64) << 32 | window as u64));
        let row = Metric::ALL.iter().fold(key, |sum, metric| mix(sum ^ metrics.get(*metric) as u64));
        let sum = &mut self.0[granularity as usize];
        *sum = sum.wrapping_add(row);
    }
}

impl Add for Checksums {
    type Output = Checksums;

    fn add(self, other: Checksums) -> Checksums {
        Checksums(std::array::from_fn(|index| self.0[index].wrapping_add(other.0[index])))
    }
}

/// The finaliser of MurmurHash3: every bit of the word takes part in every bit of the result.
fn mix(mut word: u64) -> u64 {
    word = (word ^ word >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    word = (word ^ word >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    word ^ word >> 33
}
