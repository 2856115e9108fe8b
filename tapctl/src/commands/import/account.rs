//! What became of everything in a file: the ledger of its import.

use std::collections::BTreeMap;

use tap_formats::pcap::Summary;
use tap_proto::v1::{Amount, Ledger, Loss, TargetLedger};

/// Where what is not stored was lost: while the file was read, in redaction, or as it had no room in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    Import,
    Assembly,
    Redaction,
    Spool,
}

/// Counts of one file, up to a batch or of all of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Account {
    /// Read from the file, whatever became of them.
    pub(super) read: Count,
    /// In batches.
    pub(super) batched: Count,
    pub(super) losses: BTreeMap<(Stage, &'static str), Count>,
    /// Of a packet capture, once it is read.
    pub(super) packets: Option<Box<Summary>>,
}

/// Exchanges, and the bytes of TCP payload for which they account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) exchanges: u64,
    pub(super) bytes: u64,
}

impl Stage {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Import => "import",
            Self::Assembly => "assembly",
            Self::Redaction => "redaction",
            Self::Spool => "spool",
        }
    }
}

impl Count {
    pub(super) fn add(&mut self, exchanges: u64, bytes: u64) {
        self.exchanges += exchanges;
        self.bytes += bytes;
    }
}

impl Account {
    pub(super) fn lose(&mut self, stage: Stage, reason: &'static str, exchanges: u64, bytes: u64) {
        self.losses.entry((stage, reason)).or_default().add(exchanges, bytes);
    }

    /// The capture is read: its payload that is in no exchange is counted.
    pub(super) fn end(&mut self, summary: Summary) {
        for (reason, bytes) in summary.lost_bytes().filter(|(_, bytes)| *bytes > 0) {
            self.lose(Stage::Assembly, reason, 0, bytes);
        }
        self.packets = Some(Box::new(summary));
    }

    /// Whether everything of the file is in batches. What was seen before is nothing lost.
    pub(super) fn is_whole(&self) -> bool {
        let nothing = |reason: &str| matches!(reason, "duplicate" | "blank_line");
        let packets = self.packets.as_ref().is_none_or(|it| {
            it.flow.gaps == 0
                && it.cut_bytes == 0
                && !it.ends_early
                && it.fragments + it.cut_headers + it.malformed == 0
        });
        packets && self.losses.keys().all(|(_, reason)| nothing(reason))
    }

    /// As agents send it, `stored` being durable.
    pub(super) fn ledger(
        &self,
        agent: &str,
        epoch: u64,
        target: &str,
        stored: Count,
        is_final: bool,
    ) -> Ledger {
        let lost: u64 = self.losses.values().map(|count| count.bytes).sum();
        let (batched, segments) = (self.batched, self.packets.as_ref().map_or(0, |packets| packets.segments));
        let amount =
            |count: Count| Some(Amount { exchanges: count.exchanges, bytes: count.bytes, segments: 0 });
        let pending = Count {
            exchanges: batched.exchanges.saturating_sub(stored.exchanges),
            bytes: batched.bytes.saturating_sub(stored.bytes),
        };
        let loss = |((stage, reason), count): (&(Stage, &'static str), &Count)| Loss {
            stage: stage.as_str().to_owned(),
            reason: (*reason).to_owned(),
            amount: amount(*count),
        };
        Ledger {
            agent: agent.to_owned(),
            epoch,
            time: Some(std::time::SystemTime::now().into()),
            r#final: is_final,
            targets: vec![TargetLedger {
                target: target.to_owned(),
                // The parts are counted where they end, and the capture says of itself that it balances.
                seen: Some(Amount { exchanges: 0, bytes: batched.bytes + lost, segments }),
                assembled: amount(self.read),
                stored: amount(stored),
                pending: amount(pending),
                losses: self.losses.iter().map(loss).collect(),
                ..TargetLedger::default()
            }],
            policies: Vec::new(),
        }
    }
}
