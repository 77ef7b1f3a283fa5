//! Layouts that earlier versions wrote, and what they are now.

use bytemuck::{Pod, Zeroable, allocation::pod_collect_to_vec};

use crate::domain::fingerprint::Fingerprint;
use crate::domain::metrics::Metrics;

use super::{CorrectionRecord, CountRecord, PackedMetrics, WindowCode};

/// A row's change, in 56 bytes.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct WideCount {
    ad_hash: u64,
    ad_low: u32,
    window: u32,
    epoch: u64,
    metrics: PackedMetrics,
}

/// Rows of schema 5; `None` of any other.
pub(super) fn counts(schema: u16, records: &[u8]) -> Option<Vec<CountRecord>> {
    let narrow = |wide: WideCount| {
        let ad = Fingerprint { hash: wide.ad_hash, low: wide.ad_low };
        CountRecord::split(ad, wide.window, wide.epoch, wide.metrics)
    };
    read::<WideCount>(schema == 5, records).map(|wide| wide.into_iter().flat_map(narrow).collect())
}

/// A correction with its second row whole.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct WideCorrection {
    ad_hash: u64,
    ad_low: u32,
    window: WindowCode,
    epoch: u64,
    revision: u32,
    causes: u16,
    is_final: u16,
    wall_ms: i64,
    before: [i64; 6],
    after: [i64; 6],
}

/// Corrections of schema 8; `None` of any other.
pub(super) fn corrections(schema: u16, records: &[u8]) -> Option<Vec<CorrectionRecord>> {
    let narrow = |wide: WideCorrection| {
        let ad = Fingerprint { hash: wide.ad_hash, low: wide.ad_low };
        let (before, after) = (Metrics::from_words(wide.before), Metrics::from_words(wide.after));
        let correction = CorrectionRecord::new(ad, wide.window, wide.epoch, before, after - before);
        correction.as_it_was(wide.revision, wide.causes, wide.is_final, wide.wall_ms)
    };
    read::<WideCorrection>(schema == 8, records).map(|wide| wide.into_iter().map(narrow).collect())
}

fn read<R: Pod>(is_it: bool, records: &[u8]) -> Option<Vec<R>> {
    (is_it && records.len().is_multiple_of(size_of::<R>())).then(|| pod_collect_to_vec(records))
}
