//! What is not yet durable at the collector: a bounded queue of encoded batches, in memory.
//!
//! - Batches are numbered from 1 in the order in which they came; the number never changes.
//! - A batch leaves the spool when it is acknowledged, or when it is dropped for want of room, and is counted
//!   either way. So at any instant, for each target: pushed = pending + stored + dropped.
//! - For want of room the oldest batch goes that was never sent. One that was sent may be durable though its
//!   acknowledgement was lost; it is kept until a collector says so, or it would be counted as dropped and be
//!   in the table. The uplink bounds how many bytes these are.
//! - What is in the spool when the agent's process ends is lost: it lives as long as the process.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard},
};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::{amount::Amount, batch::SealedBatch, registry::TargetKey};

/// What an entry costs beside its bytes, roughly: many small batches must not escape the bound.
const ENTRY_OVERHEAD: usize = 256;

/// The queue; shared by the rings' threads, which push, and the uplink, which sends.
#[derive(Debug)]
pub struct Spool {
    state: Mutex<State>,
    pushed: Notify,
}

/// What became of a target's exchanges since they entered the spool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub pending: Amount,
    /// Acknowledged.
    pub stored: Amount,
    /// Dropped for want of room.
    pub dropped: Amount,
}

/// What the whole spool holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub batches: usize,
    /// As counted against the limit.
    pub bytes: usize,
    pub exchanges: u64,
}

/// A collector acknowledged what it was never sent: another agent has this name and epoch, or it is broken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the collector acknowledges batch {acknowledged}, but none after {sent} was sent")]
pub struct NeverSent {
    pub acknowledged: u64,
    pub sent: u64,
}

#[derive(Debug)]
struct State {
    limit: usize,
    bytes: usize,
    /// Ascending by sequence; those that were sent come first.
    entries: VecDeque<Entry>,
    /// How many of the first entries were sent at least once.
    sent: usize,
    /// The highest sequence that was ever sent.
    sent_through: u64,
    next_sequence: u64,
    totals: HashMap<TargetKey, Totals>,
}

#[derive(Debug)]
struct Entry {
    sequence: u64,
    batch: SealedBatch,
}

impl Spool {
    /// A spool that holds at most about `limit` bytes.
    pub fn new(limit: usize) -> Self {
        let state = State {
            limit,
            bytes: 0,
            entries: VecDeque::new(),
            sent: 0,
            sent_through: 0,
            next_sequence: 1,
            totals: HashMap::new(),
        };
        Self { state: Mutex::new(state), pushed: Notify::new() }
    }

    /// Takes a batch, never waits. Drops what no longer fits.
    pub fn push(&self, batch: SealedBatch) {
        self.lock().push(batch);
        self.pushed.notify_one();
    }

    /// Waits until a batch was pushed since the last wait.
    pub async fn pushed(&self) {
        self.pushed.notified().await;
    }

    /// The first batch after `sequence`, which from now on counts as sent.
    pub fn send_after(&self, sequence: u64) -> Option<(u64, Bytes)> {
        let mut state = self.lock();
        let index = state.entries.partition_point(|entry| entry.sequence <= sequence);
        let entry = state.entries.get(index)?;
        let (sequence, encoded) = (entry.sequence, entry.batch.encoded.clone());
        state.sent = state.sent.max(index + 1);
        state.sent_through = state.sent_through.max(sequence);
        Some((sequence, encoded))
    }

    /// Forgets every batch up to `sequence`: it is durable.
    pub fn acknowledge(&self, sequence: u64) -> Result<(), NeverSent> {
        self.lock().acknowledge(sequence)
    }

    /// What was counted for one target counts for another from now on, what is on the way too.
    pub fn rename(&self, from: TargetKey, into: TargetKey) {
        self.lock().rename(from, into);
    }

    pub fn totals(&self, target: TargetKey) -> Totals {
        self.lock().totals.get(&target).copied().unwrap_or_default()
    }

    pub fn usage(&self) -> Usage {
        let state = self.lock();
        Usage {
            batches: state.entries.len(),
            bytes: state.bytes,
            exchanges: state.totals.values().map(|totals| totals.pending.exchanges).sum(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.lock().entries.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl State {
    fn push(&mut self, batch: SealedBatch) {
        for (target, amount) in &batch.amounts {
            self.totals.entry(*target).or_default().pending += *amount;
        }
        self.bytes += cost(&batch);
        self.entries.push_back(Entry { sequence: self.next_sequence, batch });
        self.next_sequence += 1;
        while self.bytes > self.limit {
            let Some(entry) = self.entries.remove(self.sent) else { break };
            self.settle(&entry.batch, |totals| &mut totals.dropped);
        }
    }

    fn acknowledge(&mut self, sequence: u64) -> Result<(), NeverSent> {
        if sequence > self.sent_through {
            return Err(NeverSent { acknowledged: sequence, sent: self.sent_through });
        }
        while self.entries.front().is_some_and(|entry| entry.sequence <= sequence) {
            if let Some(entry) = self.entries.pop_front() {
                self.sent -= 1;
                self.settle(&entry.batch, |totals| &mut totals.stored);
            }
        }
        Ok(())
    }

    fn rename(&mut self, from: TargetKey, into: TargetKey) {
        let Some(Totals { pending, stored, dropped }) = self.totals.remove(&from) else { return };
        let totals = self.totals.entry(into).or_default();
        totals.pending += pending;
        totals.stored += stored;
        totals.dropped += dropped;
        if pending.is_zero() {
            return;
        }
        for entry in &mut self.entries {
            for (target, _) in entry.batch.amounts.iter_mut().filter(|(target, _)| *target == from) {
                *target = into;
            }
        }
    }

    /// Moves what a batch accounts for from pending to where it ended.
    fn settle(&mut self, batch: &SealedBatch, end: impl Fn(&mut Totals) -> &mut Amount) {
        self.bytes -= cost(batch);
        for (target, amount) in &batch.amounts {
            let totals = self.totals.entry(*target).or_default();
            totals.pending.exchanges -= amount.exchanges;
            totals.pending.bytes -= amount.bytes;
            *end(totals) += *amount;
        }
    }
}

fn cost(batch: &SealedBatch) -> usize {
    batch.encoded.len() + ENTRY_OVERHEAD
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn batch(target: usize, exchanges: u64, length: usize) -> SealedBatch {
        let amount = Amount { exchanges, bytes: exchanges * 100, segments: 0 };
        SealedBatch { encoded: vec![0; length].into(), amounts: vec![(TargetKey(target), amount)] }
    }

    #[test]
    fn batches_are_sent_in_order_and_forgotten_when_acknowledged() {
        let spool = Spool::new(1 << 20);
        for _ in 0..3 {
            spool.push(batch(0, 1, 10));
        }
        assert_eq!(spool.send_after(0).unwrap().0, 1);
        assert_eq!(spool.send_after(1).unwrap().0, 2);
        spool.acknowledge(1).unwrap();
        // A new stream begins with the oldest that is not acknowledged.
        assert_eq!(spool.send_after(0).unwrap().0, 2);
        assert_eq!(spool.totals(TargetKey(0)).stored.exchanges, 1);
        assert_eq!(spool.usage().exchanges, 2);
    }

    #[test]
    fn the_oldest_that_was_never_sent_is_dropped() {
        let spool = Spool::new(3 * (100 + ENTRY_OVERHEAD));
        spool.push(batch(0, 1, 100));
        spool.send_after(0).unwrap();
        for _ in 0..4 {
            spool.push(batch(0, 1, 100));
        }
        let mut sequences = Vec::new();
        while let Some((sequence, _)) = spool.send_after(sequences.last().copied().unwrap_or(0)) {
            sequences.push(sequence);
        }
        assert_eq!(sequences, [1, 4, 5]);
        assert_eq!(spool.totals(TargetKey(0)).dropped, Amount { exchanges: 2, bytes: 200, segments: 0 });
    }

    #[test]
    fn an_acknowledgement_of_what_was_never_sent_is_refused() {
        let spool = Spool::new(1 << 20);
        spool.push(batch(0, 1, 10));
        assert_eq!(spool.acknowledge(1), Err(NeverSent { acknowledged: 1, sent: 0 }));
        assert_eq!(spool.usage().batches, 1);
    }

    #[test]
    fn a_batch_longer_than_the_spool_is_counted_as_dropped() {
        let spool = Spool::new(1000);
        spool.push(batch(0, 7, 5000));
        assert!(spool.is_empty());
        assert_eq!(spool.totals(TargetKey(0)).dropped.exchanges, 7);
    }

    #[test]
    fn what_is_on_the_way_goes_on_under_another_key() {
        let spool = Spool::new(1 << 20);
        spool.push(batch(0, 2, 10));
        spool.push(batch(1, 3, 10));
        spool.send_after(0).unwrap();
        spool.rename(TargetKey(0), TargetKey(1));
        assert_eq!(spool.totals(TargetKey(0)), Totals::default());
        assert_eq!(spool.totals(TargetKey(1)).pending.exchanges, 5);
        spool.acknowledge(1).unwrap();
        assert_eq!(spool.totals(TargetKey(1)).pending.exchanges, 3);
        assert_eq!(spool.totals(TargetKey(1)).stored.exchanges, 2);
    }

    #[derive(Clone, Debug)]
    enum Operation {
        Push {
            target: usize,
            exchanges: u64,
            length: usize,
        },
        Send,
        /// Acknowledges this share of what was sent, in percent.
        Acknowledge(u64),
        Reconnect,
    }

    fn operation() -> impl Strategy<Value = Operation> {
        prop_oneof![
            5 => (0..3_usize, 1..50_u64, 0..2000_usize)
                .prop_map(|(target, exchanges, length)| Operation::Push { target, exchanges, length }),
            4 => Just(Operation::Send),
            2 => (0..=100_u64).prop_map(Operation::Acknowledge),
            1 => Just(Operation::Reconnect),
        ]
    }

    proptest! {
        #[test]
        fn everything_pushed_is_pending_stored_or_dropped(operations in prop::collection::vec(operation(), 1..200)) {
            const LIMIT: usize = 10_000;
            const WINDOW: u64 = 3;
            let spool = Spool::new(LIMIT);
            let mut pushed = [Amount::ZERO; 3];
            let (mut cursor, mut highest, mut durable) = (0, 0, 0);
            for operation in operations {
                match operation {
                    Operation::Push { target, exchanges, length } => {
                        let batch = batch(target, exchanges, length);
                        pushed[target] += batch.amounts[0].1;
                        spool.push(batch);
                    }
                    Operation::Send if cursor < durable + WINDOW => {
                        if let Some((sequence, _)) = spool.send_after(cursor) {
                            prop_assert!(sequence > cursor);
                            prop_assert!(sequence > durable, "an acknowledged batch was sent again");
                            cursor = sequence;
                            highest = highest.max(sequence);
                        }
                    }
                    Operation::Send => {}
                    Operation::Acknowledge(percent) => {
                        durable = durable.max(highest * percent / 100);
                        spool.acknowledge(durable).unwrap();
                    }
                    Operation::Reconnect => cursor = durable,
                }
                for (target, pushed) in pushed.iter().enumerate() {
                    let Totals { pending, stored, dropped } = spool.totals(TargetKey(target));
                    prop_assert_eq!(pending + stored + dropped, *pushed);
                }
                // What is in flight may not be dropped, and is less than the limit.
                prop_assert!(spool.usage().bytes <= LIMIT);
            }
            spool.acknowledge(highest).unwrap();
            while let Some((sequence, _)) = spool.send_after(highest) {
                highest = sequence;
            }
            spool.acknowledge(highest).unwrap();
            prop_assert_eq!(spool.usage(), Usage::default());
        }
    }
}
