//! Why a row of a CLOSED window changed.

use std::ops::{BitOr, BitOrAssign};

/// The set of things that touched a row in one epoch. Joining two sets is commutative and idempotent, so it does not matter in
/// how many pieces, or in which order, an epoch's deltas meet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Causes(u8);

/// The cause of one correction, in the words of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// A click was added.
    Late,
    /// A copy arrived that is no click, or a click moved.
    Duplicate,
    /// A valid click became invalid.
    Verdict,
    /// An invalid click became valid.
    Reversal,
    /// More than one of these.
    Mixed,
}

impl Causes {
    /// Nothing touched the row.
    pub const NONE: Causes = Causes(0);
    /// A click was added.
    pub const LATE: Causes = Causes(1);
    /// A copy arrived that is no click, or a click moved.
    pub const DUPLICATE: Causes = Causes(2);
    /// A valid click became invalid.
    pub const VERDICT: Causes = Causes(4);
    /// An invalid click became valid.
    pub const REVERSAL: Causes = Causes(8);

    /// The set as bits, for a record.
    pub fn bits(self) -> u8 {
        self.0
    }

    /// The set from a record's bits.
    pub fn from_bits(bits: u8) -> Self {
        assert!(bits < 16, "{bits:#x} is no set of causes");
        Causes(bits)
    }

    /// The one cause to report.
    ///
    /// # Panics
    /// Where nothing touched the row: metrics never change without a cause.
    pub fn cause(self) -> Cause {
        match self {
            Causes::NONE => panic!("a row changed and nothing touched it"),
            Causes::LATE => Cause::Late,
            Causes::DUPLICATE => Cause::Duplicate,
            Causes::VERDICT => Cause::Verdict,
            Causes::REVERSAL => Cause::Reversal,
            _ => Cause::Mixed,
        }
    }
}

impl BitOr for Causes {
    type Output = Causes;

    fn bitor(self, other: Causes) -> Causes {
        Causes(self.0 | other.0)
    }
}

impl BitOrAssign for Causes {
    fn bitor_assign(&mut self, other: Causes) {
        self.0 |= other.0;
    }
}

impl Cause {
    /// Every cause.
    pub const ALL: [Cause; 5] = [Cause::Late, Cause::Duplicate, Cause::Verdict, Cause::Reversal, Cause::Mixed];

    /// The cause of a name on the wire.
    pub fn named(name: &str) -> Option<Cause> {
        Cause::ALL.into_iter().find(|cause| cause.as_str() == name)
    }

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Cause::Late => "LATE",
            Cause::Duplicate => "DUPLICATE",
            Cause::Verdict => "VERDICT",
            Cause::Reversal => "REVERSAL",
            Cause::Mixed => "MIXED",
        }
    }
}
