//! A generated record as numbers, and the strings that they stand for.

use std::fmt::Write as _;

use recount_dataflow::domain::event::Decision;

/// One delivery of a click.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClickRecord {
    /// The click's number.
    pub click: u64,
    /// The ad's number.
    pub ad: u32,
    /// The user's number.
    pub user: u32,
    /// When it happened, ms since 1970 UTC.
    pub event_ms: i64,
    /// The price in millionths.
    pub price_micros: i64,
}

/// A verdict about a click.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VerdictRecord {
    /// The click's number.
    pub click: u64,
    /// What is decided.
    pub decision: Decision,
    /// When it was decided, ms since 1970 UTC.
    pub decided_ms: i64,
}

/// How a record is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Breakage {
    /// It ends in the middle.
    CutShort,
    /// It has no ad.
    AdMissing,
    /// Its price is below 0.
    PriceNegative,
    /// It happened in 1900.
    TooOld,
}

/// One record of a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Record {
    /// One delivery of a click.
    Click(ClickRecord),
    /// A verdict.
    Verdict(VerdictRecord),
    /// One delivery of a click that breaks a rule.
    Broken(ClickRecord, Breakage),
}

impl Breakage {
    /// The click with the fault in it. [`Breakage::CutShort`] has its fault in the bytes.
    pub(super) fn fault(self, click: ClickRecord) -> ClickRecord {
        match self {
            Breakage::PriceNegative => ClickRecord { price_micros: -1, ..click },
            Breakage::TooOld => ClickRecord { event_ms: -2_208_988_800_000, ..click },
            Breakage::CutShort | Breakage::AdMissing => click,
        }
    }
}

const COUNTRIES: [&str; 16] =
    ["US", "DE", "FR", "GB", "NL", "ES", "IT", "PL", "BR", "IN", "JP", "KR", "MX", "CA", "SE", "TR"];
const DEVICES: [&str; 4] = ["mobile", "desktop", "tablet", "tv"];
const REASONS: [&str; 4] = ["givt:datacenter", "sivt:click_farm", "sivt:ip_rate", "givt:crawler"];

/// The model that decides.
pub(super) const MODEL: &str = "v1";

/// A permutation of the 64-bit numbers: the finisher of SplitMix64. So ids look random and are distinct.
fn mix(number: u64) -> u64 {
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

/// Writes the names that numbers stand for. The seed is in the ids, so that two workloads have different clicks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names {
    seed: u64,
}

impl Names {
    pub(super) fn new(seed: u64) -> Self {
        Names { seed: mix(seed.wrapping_add(0x9e37_79b9_7f4a_7c15)) }
    }

    /// 18 characters.
    pub(super) fn push_click_id(self, out: &mut String, click: u64) {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let id = mix(click.wrapping_add(self.seed));
        out.push_str("c-");
        for digit in (0..16).rev() {
            out.push(char::from(HEX[(id >> (4 * digit) & 15) as usize]));
        }
    }
}

/// `ad-000123`.
pub(super) fn push_ad_id(out: &mut String, ad: u32) {
    push_padded(out, "ad-", ad, 6);
}

/// `u-0001234`.
pub(super) fn push_user_id(out: &mut String, user: u32) {
    push_padded(out, "u-", user, 7);
}

/// `cmp-00012`: sixteen ads share a campaign.
pub(super) fn push_campaign_id(out: &mut String, ad: u32) {
    push_padded(out, "cmp-", ad / 16, 5);
}

/// `pub-012`.
pub(super) fn push_publisher_id(out: &mut String, click: u64) {
    push_padded(out, "pub-", (mix(click ^ 1) % 1_000) as u32, 3);
}

/// Where the click came from.
pub(super) fn country(click: u64) -> &'static str {
    COUNTRIES[(mix(click ^ 2) % 16) as usize]
}

/// What it was made on.
pub(super) fn device(click: u64) -> &'static str {
    DEVICES[(mix(click ^ 2) >> 32 & 3) as usize]
}

/// Why a click was judged so.
pub(super) fn reason(verdict: &VerdictRecord) -> &'static str {
    match verdict.decision {
        Decision::Invalid => REASONS[(mix(verdict.click ^ 3) & 3) as usize],
        Decision::Valid => "review:cleared",
    }
}

/// How sure the model is, in thousandths.
pub(super) fn score_thousandths(verdict: &VerdictRecord) -> u64 {
    let spread = mix(verdict.click ^ 4) % 300;
    match verdict.decision {
        Decision::Invalid => 700 + spread,
        Decision::Valid => spread,
    }
}

/// What a click of an ad costs, in millionths.
pub(super) fn price_micros(ad: u32) -> i64 {
    10_000 + (mix(u64::from(ad) ^ 5) % 190_000) as i64
}

fn push_padded(out: &mut String, prefix: &str, number: u32, width: usize) {
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(number);
    out.push_str(prefix);
    out.push_str(&"0000000"[..width.saturating_sub(digits.len())]);
    out.push_str(digits);
}

/// A score in thousandths as a decimal: `0.875`.
pub(super) fn push_score(out: &mut String, thousandths: u64) {
    write!(out, "0.{thousandths:03}").expect("a string takes all that is written to it");
}

#[cfg(test)]
mod tests {
    use hashbrown::HashSet;

    use super::*;

    #[test]
    fn names_are_distinct_and_of_one_width() {
        let names = Names::new(3);
        let mut seen = HashSet::new();
        for click in 0..10_000 {
            let mut id = String::new();
            names.push_click_id(&mut id, click);
            assert_eq!(id.len(), 18);
            assert!(seen.insert(id), "click {click}");
        }
        let mut text = String::new();
        push_ad_id(&mut text, 123);
        push_user_id(&mut text, 12_345_678);
        push_score(&mut text, 7);
        assert_eq!(text, "ad-000123u-123456780.007");
    }
}
