//! Exchanges on their way into the spool, encoded once.
//!
//! A batch holds the protobuf fields of its exchanges, in the encoding of `tap.v1.Batch`. Fields of one message
//! may be joined in any order, so the uplink puts sequence and ledger in front without encoding exchanges again,
//! and what a batch costs in memory is its length.

use bytes::Bytes;
use prost::Message;
use tap_proto::v1;

use crate::{amount::Amount, registry::TargetKey};

/// A batch is closed before it is longer than this, in bytes. gRPC servers refuse messages above 4 MiB by default.
pub const MAX_BATCH_BYTES: usize = 1 << 20;

/// An exchange that encodes to more than this, in bytes, can't be sent.
pub const MAX_EXCHANGE_BYTES: usize = 3 << 20;

/// A batch is closed at this many exchanges.
const MAX_EXCHANGES: u64 = 2000;

/// A batch is closed at this age, in nanoseconds: how long an exchange waits for others.
const MAX_AGE: u64 = 200_000_000;

/// A batch that still grows.
#[derive(Debug, Default)]
pub struct OpenBatch {
    encoded: Vec<u8>,
    amounts: Vec<(TargetKey, Amount)>,
    exchanges: u64,
    /// When its first exchange came.
    opened: u64,
}

/// A closed batch: not empty.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedBatch {
    /// The `exchanges` fields of a `tap.v1.Batch`.
    pub encoded: Bytes,
    /// What it accounts for, by target.
    pub amounts: Vec<(TargetKey, Amount)>,
}

/// The exchange encodes to more than [`MAX_EXCHANGE_BYTES`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("an exchange of {bytes} bytes is longer than a message may be")]
pub struct Oversized {
    pub bytes: usize,
}

impl OpenBatch {
    /// Adds an exchange at time `now`; returns the batch that this closed, if any.
    pub fn push(
        &mut self,
        target: TargetKey,
        exchange: v1::Exchange,
        now: u64,
    ) -> Result<Option<SealedBatch>, Oversized> {
        let amount = Amount { exchanges: 1, bytes: exchange.wire_bytes, segments: 0 };
        let message = v1::Batch { exchanges: vec![exchange], ..v1::Batch::default() };
        let length = message.encoded_len();
        if length > MAX_EXCHANGE_BYTES {
            return Err(Oversized { bytes: length });
        }
        let closed = (self.encoded.len() + length > MAX_BATCH_BYTES || self.exchanges >= MAX_EXCHANGES)
            .then(|| self.seal())
            .flatten();
        if self.exchanges == 0 {
            self.opened = now;
        }
        self.encoded.reserve(length);
        message.encode_raw(&mut self.encoded);
        self.exchanges += 1;
        match self.amounts.iter_mut().find(|(key, _)| *key == target) {
            Some((_, total)) => *total += amount,
            None => self.amounts.push((target, amount)),
        }
        Ok(closed)
    }

    /// Whether it has waited long enough.
    pub fn is_due(&self, now: u64) -> bool {
        self.exchanges > 0 && now.saturating_sub(self.opened) >= MAX_AGE
    }

    /// Closes the batch and opens the next; `None` where it is empty.
    pub fn seal(&mut self) -> Option<SealedBatch> {
        if self.exchanges == 0 {
            return None;
        }
        self.exchanges = 0;
        // A batch's buffer has grown by doubling: give back what it doesn't use, as the spool counts lengths.
        let encoded = std::mem::take(&mut self.encoded).into_boxed_slice();
        Some(SealedBatch { encoded: encoded.into(), amounts: std::mem::take(&mut self.amounts) })
    }

    /// Memory that it holds, in bytes.
    pub fn memory(&self) -> usize {
        self.encoded.capacity()
    }

    /// What it holds, by target.
    pub fn amounts(&self) -> &[(TargetKey, Amount)] {
        &self.amounts
    }
}

impl std::fmt::Debug for SealedBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { encoded, amounts } = self;
        f.debug_struct("SealedBatch").field("bytes", &encoded.len()).field("amounts", amounts).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEB: TargetKey = TargetKey(0);
    const API: TargetKey = TargetKey(1);

    fn exchange(id: &str, wire_bytes: u64) -> v1::Exchange {
        v1::Exchange { id: id.to_owned(), wire_bytes, ..v1::Exchange::default() }
    }

    #[test]
    fn a_sealed_batch_decodes_to_what_was_pushed() {
        let mut batch = OpenBatch::default();
        for (id, target) in [("a", WEB), ("b", API), ("c", WEB)] {
            assert_eq!(batch.push(target, exchange(id, 10), 0), Ok(None));
        }
        let sealed = batch.seal().unwrap();
        let decoded = v1::Batch::decode(sealed.encoded).unwrap();
        assert_eq!(decoded.exchanges, [exchange("a", 10), exchange("b", 10), exchange("c", 10)]);
        assert_eq!(
            sealed.amounts,
            [
                (WEB, Amount { exchanges: 2, bytes: 20, segments: 0 }),
                (API, Amount { exchanges: 1, bytes: 10, segments: 0 })
            ]
        );
        assert_eq!(batch.seal(), None);
        assert!(batch.amounts().is_empty());
    }

    #[test]
    fn a_batch_closes_by_age() {
        let mut batch = OpenBatch::default();
        assert!(!batch.is_due(u64::MAX));
        batch.push(WEB, exchange("a", 1), 1000).unwrap();
        assert!(!batch.is_due(1000 + MAX_AGE - 1));
        assert!(batch.is_due(1000 + MAX_AGE));
    }

    #[test]
    fn a_batch_closes_before_it_is_too_long() {
        let mut batch = OpenBatch::default();
        let long = "x".repeat(MAX_BATCH_BYTES / 3);
        let mut closed = Vec::new();
        for _ in 0..7 {
            closed.extend(batch.push(WEB, exchange(&long, 1), 0).unwrap());
        }
        closed.extend(batch.seal());
        let sizes: Vec<_> = closed.iter().map(|sealed| sealed.amounts[0].1.exchanges).collect();
        assert_eq!(sizes, [2, 2, 2, 1]);
        assert!(closed.iter().all(|sealed| sealed.encoded.len() <= MAX_BATCH_BYTES));
    }

    #[test]
    fn what_no_message_can_hold_is_refused() {
        let mut batch = OpenBatch::default();
        let error = batch.push(WEB, exchange(&"x".repeat(MAX_EXCHANGE_BYTES), 1), 0).unwrap_err();
        assert!(error.bytes > MAX_EXCHANGE_BYTES);
        assert_eq!(batch.seal(), None);
    }
}
