//! Exchanges to batches, by their place in the file alone.

use tap_proto::v1::Exchange;
use tokio::sync::mpsc;

use super::account::Account;

/// Of what was read; together with what its bodies hold, a message is far below what collectors take.
const EXCHANGES: usize = 500;
/// Of bodies as they were read, before redaction: rules do not change where a batch ends.
const BODY_BYTES: usize = 4 * 1024 * 1024;

/// A batch with what was counted up to it.
#[derive(Debug)]
pub(super) struct Ready {
    /// From 1.
    pub(super) sequence: u64,
    pub(super) exchanges: Vec<Exchange>,
    pub(super) account: Account,
}

/// The batch that is being filled.
#[derive(Debug)]
pub(super) struct Batches<'t> {
    batch_tx: &'t mpsc::Sender<Ready>,
    sequence: u64,
    exchanges: Vec<Exchange>,
    read: usize,
    body_bytes: usize,
}

/// Nobody takes batches any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Closed;

impl<'t> Batches<'t> {
    pub(super) fn new(batch_tx: &'t mpsc::Sender<Ready>) -> Self {
        Self { batch_tx, sequence: 0, exchanges: Vec::new(), read: 0, body_bytes: 0 }
    }

    /// One more was read, with this much in its bodies. `exchange` is absent where it was lost on the way.
    pub(super) fn push(
        &mut self,
        exchange: Option<Exchange>,
        body_bytes: usize,
        account: &Account,
    ) -> Result<(), Closed> {
        self.exchanges.extend(exchange);
        self.read += 1;
        self.body_bytes += body_bytes;
        if self.read < EXCHANGES && self.body_bytes < BODY_BYTES { Ok(()) } else { self.close(account) }
    }

    /// Hands over what is there.
    pub(super) fn close(&mut self, account: &Account) -> Result<(), Closed> {
        (self.read, self.body_bytes) = (0, 0);
        // The sequence counts also a batch of which nothing is left, which is never sent: agents leave gaps, too.
        self.sequence += 1;
        let exchanges = std::mem::take(&mut self.exchanges);
        let ready = Ready { sequence: self.sequence, exchanges, account: account.clone() };
        self.batch_tx.blocking_send(ready).map_err(|_| Closed)
    }
}
