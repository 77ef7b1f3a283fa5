//! A record as a source delivered it, read but not yet judged.

use std::borrow::Cow;

/// One record, borrowed from the source's bytes wherever it holds no escapes.
#[derive(Clone, Debug, PartialEq)]
pub enum Event<'a> {
    /// One delivery of a click.
    Click(Click<'a>),
    /// A decision about one click.
    Verdict(Verdict<'a>),
}

/// A delivered click. Absent strings are empty, absent times are 0, as in the proto3 wire format.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Click<'a> {
    /// The client's own id, the same on every retry.
    pub click_id: Cow<'a, str>,
    /// The ad that was clicked.
    pub ad_id: Cow<'a, str>,
    /// When it happened, ms since 1970 UTC; 0 where absent.
    pub event_ms: i64,
    /// Who clicked; empty where unknown.
    pub user_id: Cow<'a, str>,
    /// Price in millionths of the store's currency.
    pub price_micros: i64,
    /// When the edge took it, ms since 1970 UTC; 0 where unknown.
    pub received_at_ms: i64,
    /// The longest of the remaining strings, which only have to be short.
    pub longest_other: LongestOther,
}

/// A delivered verdict. Absent strings are empty, an absent time is 0.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict<'a> {
    /// The click that is judged.
    pub click_id: Cow<'a, str>,
    /// What was decided; `None` where absent or unspecified.
    pub decision: Option<Decision>,
    /// When it was decided, ms since 1970 UTC; 0 where absent.
    pub decided_ms: i64,
    /// Why, in the model's words.
    pub reason: Cow<'a, str>,
    /// Which model.
    pub model_version: Cow<'a, str>,
    /// The model's score.
    pub score: f64,
    /// The longer of `reason` and `model_version`.
    pub longest_other: LongestOther,
}

/// What a verdict says of its click.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Decision {
    /// The click is not billed.
    Invalid,
    /// The click is billed.
    Valid,
}

impl Decision {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Decision::Invalid => "INVALID",
            Decision::Valid => "VALID",
        }
    }
}

/// The name and the length in bytes of the longest of some strings. A decoder keeps just this, and no string that nothing counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LongestOther {
    /// The field's name; empty before the first.
    pub field: &'static str,
    /// Its length in bytes.
    pub bytes: usize,
}

impl LongestOther {
    /// Takes one more field into account. Of equally long ones the first by name is kept: fields come in any order.
    pub fn observe(&mut self, field: &'static str, bytes: usize) {
        if bytes > self.bytes || (0 < bytes && bytes == self.bytes && field < self.field) {
            *self = LongestOther { field, bytes };
        }
    }
}
