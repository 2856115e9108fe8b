//! Runs a plan over a stream of exchanges.

use futures::Stream;
use tap_proto::v1::{Exchange, ReplayReport};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::Plan;

/// What a replay came to.
#[derive(Debug)]
pub struct Outcome<E> {
    /// Final: nothing is in flight any more.
    pub report: ReplayReport,
    pub end: End<E>,
}

/// Why a replay ended.
#[derive(Debug)]
pub enum End<E> {
    /// Everything selected was sent or counted as not sent.
    Finished,
    /// By the caller.
    Stopped,
    /// The selection could not be read to its end.
    Failed(E),
}

/// Sends `exchanges`, which come in order of time, as `plan` says. Once `stop` is cancelled nothing more is
/// sent; what is in flight is awaited. `progress` gets the report as it grows, at most ten times a second,
/// and at the end.
pub async fn replay<E: Send + 'static>(
    plan: Plan,
    exchanges: impl Stream<Item = Result<Exchange, E>> + Send + 'static,
    progress: watch::Sender<ReplayReport>,
    stop: CancellationToken,
) -> Outcome<E> {
    let _ = (plan, exchanges, progress, stop);
    Outcome { report: ReplayReport::default(), end: End::Finished }
}
