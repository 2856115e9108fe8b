//! What the ledger counts.

use std::ops::{Add, AddAssign};

use tap_proto::v1;

/// How much: exchanges, TCP payload bytes, and copies of segments where the stage is the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    pub exchanges: u64,
    pub bytes: u64,
    pub segments: u64,
}

impl Amount {
    pub const ZERO: Self = Self { exchanges: 0, bytes: 0, segments: 0 };

    /// Payload bytes that belong to no exchange.
    pub fn of_bytes(bytes: u64) -> Self {
        Self { bytes, ..Self::ZERO }
    }

    pub fn is_zero(self) -> bool {
        self == Self::ZERO
    }
}

impl Add for Amount {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let Self { exchanges, bytes, segments } = other;
        Self {
            exchanges: self.exchanges + exchanges,
            bytes: self.bytes + bytes,
            segments: self.segments + segments,
        }
    }
}

impl AddAssign for Amount {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl std::iter::Sum for Amount {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

impl From<Amount> for v1::Amount {
    fn from(amount: Amount) -> Self {
        let Amount { exchanges, bytes, segments } = amount;
        Self { exchanges, bytes, segments }
    }
}
