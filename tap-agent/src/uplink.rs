//! The stream to the collector: sends what is in the spool, forgets what is durable, comes back whenever it breaks.
//!
//! One stream at a time. On each, the collector first tells what of this epoch is durable, then the oldest batch
//! that is not is sent first, and at most a window of bytes is sent ahead of its acknowledgements. A batch may be
//! sent on several streams; its sequence number is the same each time, and the collector stores it once.

mod codec;

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use http::uri::PathAndQuery;
use tap_proto::v1::{self, ingest_response::Message as Response};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Status, Streaming,
    client::Grpc,
    codec::CompressionEncoding,
    transport::{Channel, Endpoint},
};
use tracing::{debug, info, warn};

use crate::{
    ledger::Ledger,
    registry::RouteId,
    spool::{NeverSent, Spool},
    uplink::codec::{IngestCodec, Outgoing},
};

const INGEST: &str = "/tap.v1.IngestService/Ingest";

/// At most this many bytes are sent ahead of their acknowledgement, which comes after the collector's next commit: two
/// seconds of 20,000 small exchanges each.
const WINDOW_BYTES: usize = 32 << 20;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const WELCOME_TIMEOUT: Duration = Duration::from_secs(10);

/// A collector that vanished without closing its connection is noticed after the sum of these two.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// The n-th attempt to connect waits a random time up to the first of these, doubled n times, and the second at most.
const BACKOFF_FIRST: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(15);
/// And no less than this, so that a collector that refuses is not flooded.
const BACKOFF_MIN: Duration = Duration::from_millis(20);

/// While draining there is no time to be polite.
const BACKOFF_MAX_DRAINING: Duration = Duration::from_millis(500);

/// How often the ledger goes out alone, while there is nothing to send.
const LEDGER_INTERVAL: Duration = Duration::from_secs(1);

/// Batches carry the ledger no more often than this: to take it reads the kernel's counters.
const LEDGER_IN_BATCH: Duration = Duration::from_millis(250);

/// For each target of it a ledger goes out this much more seldom: on a node with many pods it is tens of kilobytes.
const LEDGER_PER_TARGET: Duration = Duration::from_millis(10);

/// How long to wait for the collector to have read the last ledger.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// What the metrics show of the uplink.
#[derive(Debug, Default)]
pub struct UplinkStatus {
    connected: AtomicBool,
    streams: AtomicU64,
    sent_batches: AtomicU64,
    sent_bytes: AtomicU64,
}

/// Sends a spool to one collector.
#[derive(Debug)]
pub struct Uplink {
    endpoint: Endpoint,
    window: usize,
    route: RouteId,
    epoch: u64,
    ledger: Arc<Ledger>,
    spool: Arc<Spool>,
    status: Arc<UplinkStatus>,
    drain: CancellationToken,
}

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
enum StreamError {
    #[error("can't connect: {0}")]
    Connect(#[source] tonic::transport::Error),
    #[error("refused: {0}")]
    Refused(#[source] Box<Status>),
    #[error("no welcome within {WELCOME_TIMEOUT:?}")]
    NoWelcome,
    #[error("expected a welcome, got another message")]
    Unwelcome,
    #[error("broke: {0}")]
    Broken(#[source] Box<Status>),
    #[error("ended by the collector")]
    Ended,
    #[error(transparent)]
    NeverSent(#[from] NeverSent),
}

/// What is sent on a stream and not acknowledged.
#[derive(Debug, Default)]
struct Flight {
    batches: VecDeque<(u64, usize)>,
    bytes: usize,
}

impl UplinkStatus {
    /// Whether there is a stream on which the collector has said welcome.
    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// Streams that the collector has welcomed.
    pub fn streams(&self) -> u64 {
        self.streams.load(Ordering::Relaxed)
    }

    /// Batches sent, each as often as it was.
    pub fn sent_batches(&self) -> u64 {
        self.sent_batches.load(Ordering::Relaxed)
    }

    /// Bytes of batches before compression.
    pub fn sent_bytes(&self) -> u64 {
        self.sent_bytes.load(Ordering::Relaxed)
    }
}

impl Uplink {
    /// `drain` tells that nothing more will be pushed: send what is left and end.
    pub fn new(
        endpoint: Endpoint,
        spool_limit: usize,
        (route, epoch): (RouteId, u64),
        ledger: Arc<Ledger>,
        spool: Arc<Spool>,
        drain: CancellationToken,
    ) -> Self {
        let endpoint = endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .tcp_nodelay(true);
        // What is in flight is not dropped, so it must be less than the spool may hold.
        let window = WINDOW_BYTES.min(spool_limit / 2);
        Self { endpoint, window, route, epoch, ledger, spool, status: Arc::default(), drain }
    }

    pub fn status(&self) -> Arc<UplinkStatus> {
        Arc::clone(&self.status)
    }

    /// Runs until drained: everything acknowledged and the last ledger sent, or nothing to send and no collector.
    /// The caller bounds the time.
    pub async fn run(self) {
        let collector = self.endpoint.uri().to_string();
        let mut attempt = 0;
        let mut was_connected = true;
        loop {
            let streams = self.status.streams();
            let result = self.stream(&collector).await;
            let connected = self.status.connected.swap(false, Ordering::Relaxed);
            let Err(error) = result else { return };
            if self.status.streams() > streams {
                attempt = 0;
            }
            // Said once per outage: the retries are counted, not logged.
            if connected || was_connected {
                warn!(
                    collector,
                    "no stream to the collector: {}; keeping exchanges and trying again",
                    chain(&error)
                );
            } else {
                debug!(collector, "no stream to the collector: {}", chain(&error));
            }
            was_connected = false;
            if self.drain.is_cancelled() && self.spool.is_empty() {
                return;
            }
            tokio::select! {
                () = sleep(backoff(attempt, self.drain.is_cancelled())) => {}
                () = self.drain.cancelled(), if !self.drain.is_cancelled() => {}
            }
            attempt += 1;
        }
    }

    /// One stream; `Ok` when all is drained.
    async fn stream(&self, collector: &str) -> Result<(), StreamError> {
        let channel = self.endpoint.connect().await.map_err(StreamError::Connect)?;
        let (outgoing_tx, outgoing_rx) = mpsc::channel(1);
        let hello = v1::Hello {
            agent: self.ledger.agent().to_owned(),
            epoch: self.epoch,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        // The channel is empty and has room for one.
        let _ = outgoing_tx.try_send(Outgoing::Hello(hello));
        let (mut incoming, durable) = timeout(WELCOME_TIMEOUT, open(channel, outgoing_rx))
            .await
            .map_err(|_elapsed| StreamError::NoWelcome)??;
        self.spool.acknowledge(durable)?;
        self.status.connected.store(true, Ordering::Relaxed);
        self.status.streams.fetch_add(1, Ordering::Relaxed);
        info!(collector, "streaming to the collector");
        self.send_all(&outgoing_tx, &mut incoming, durable).await?;

        let _ = outgoing_tx.send(Outgoing::Ledger(self.ledger_message(true))).await;
        drop(outgoing_tx);
        // The collector ends the stream when it has read ours to its end.
        let _ = timeout(CLOSE_TIMEOUT, async { while let Ok(Some(_)) = incoming.message().await {} }).await;
        Ok(())
    }

    /// How long to wait at least between two ledgers.
    fn ledger_pause(&self) -> Duration {
        let targets = u32::try_from(self.ledger.targets()).unwrap_or(u32::MAX);
        LEDGER_PER_TARGET.saturating_mul(targets)
    }

    fn ledger_message(&self, is_final: bool) -> v1::Ledger {
        self.ledger.message(self.route, self.epoch, is_final)
    }

    /// Sends and takes acknowledgements until drained.
    async fn send_all(
        &self,
        outgoing_tx: &mpsc::Sender<Outgoing>,
        incoming: &mut Streaming<v1::IngestResponse>,
        durable: u64,
    ) -> Result<(), StreamError> {
        let mut sent = durable;
        let mut flight = Flight::default();
        let mut has_more = true;
        let mut ledger_sent: Option<Instant> = None;
        let mut ledger_timer = interval(LEDGER_INTERVAL);
        ledger_timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut reports_rx = self.ledger.reports();
        loop {
            if self.drain.is_cancelled() && self.spool.is_empty() {
                return Ok(());
            }
            tokio::select! {
                message = incoming.message() => match message.map_err(broken)?.and_then(|message| message.message) {
                    Some(Response::Acknowledgement(acknowledgement)) => {
                        self.spool.acknowledge(acknowledgement.durable_sequence)?;
                        flight.land(acknowledgement.durable_sequence);
                    }
                    Some(Response::Welcome(_)) => {}
                    None => return Err(StreamError::Ended),
                },
                permit = outgoing_tx.reserve(), if has_more && flight.bytes < self.window => {
                    let permit = permit.map_err(|_closed| StreamError::Ended)?;
                    let Some((sequence, exchanges)) = self.spool.send_after(sent) else {
                        has_more = false;
                        continue;
                    };
                    sent = sequence;
                    flight.take_off(sequence, exchanges.len());
                    self.status.sent_batches.fetch_add(1, Ordering::Relaxed);
                    self.status.sent_bytes.fetch_add(exchanges.len() as u64, Ordering::Relaxed);
                    let pause = LEDGER_IN_BATCH.max(self.ledger_pause());
                    let is_due = ledger_sent.is_none_or(|sent| sent.elapsed() >= pause);
                    let ledger = is_due.then(|| self.ledger_message(false));
                    if is_due {
                        ledger_sent = Some(Instant::now());
                    }
                    permit.send(Outgoing::Batch { sequence, ledger, exchanges });
                }
                () = self.spool.pushed(), if !has_more => has_more = true,
                // Whoever has just applied a policy waits for its status.
                Ok(()) = reports_rx.changed() => {
                    ledger_sent = None;
                    ledger_timer.reset_immediately();
                }
                _ = ledger_timer.tick() => {
                    let is_due = ledger_sent.is_none_or(|sent| sent.elapsed() >= self.ledger_pause());
                    // Where the channel is full the collector reads slowly, and a batch will bring the ledger.
                    if is_due && let Ok(permit) = outgoing_tx.try_reserve() {
                        permit.send(Outgoing::Ledger(self.ledger_message(false)));
                        ledger_sent = Some(Instant::now());
                    }
                }
                () = self.drain.cancelled(), if !self.drain.is_cancelled() => {}
            }
        }
    }
}

impl Flight {
    fn take_off(&mut self, sequence: u64, bytes: usize) {
        self.batches.push_back((sequence, bytes));
        self.bytes += bytes;
    }

    fn land(&mut self, durable: u64) {
        while let Some((_, bytes)) = self.batches.pop_front_if(|(sequence, _)| *sequence <= durable) {
            self.bytes -= bytes;
        }
    }
}

/// Opens the stream; returns it with the highest sequence that is durable.
async fn open(
    channel: Channel,
    outgoing_rx: mpsc::Receiver<Outgoing>,
) -> Result<(Streaming<v1::IngestResponse>, u64), StreamError> {
    let mut client = Grpc::new(channel)
        .send_compressed(CompressionEncoding::Zstd)
        .accept_compressed(CompressionEncoding::Zstd);
    client.ready().await.map_err(StreamError::Connect)?;
    let path = PathAndQuery::from_static(INGEST);
    let mut incoming = client
        .streaming(Request::new(ReceiverStream::new(outgoing_rx)), path, IngestCodec)
        .await
        .map_err(|status| StreamError::Refused(Box::new(status)))?
        .into_inner();
    let first = incoming.message().await.map_err(|status| StreamError::Refused(Box::new(status)))?;
    match first.and_then(|response| response.message) {
        Some(Response::Welcome(welcome)) => Ok((incoming, welcome.durable_sequence)),
        Some(Response::Acknowledgement(_)) => Err(StreamError::Unwelcome),
        None => Err(StreamError::Ended),
    }
}

fn broken(status: Status) -> StreamError {
    StreamError::Broken(Box::new(status))
}

/// A random time up to a bound that doubles: agents that lost the same collector don't come back together.
fn backoff(attempt: u32, draining: bool) -> Duration {
    let max = if draining { BACKOFF_MAX_DRAINING } else { BACKOFF_MAX };
    let bound = BACKOFF_FIRST.saturating_mul(2_u32.saturating_pow(attempt)).min(max);
    rand::random_range(BACKOFF_MIN..=bound)
}

/// An error with its sources: transport errors say what happened only there.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_grows_to_its_bound() {
        for attempt in 0..100 {
            assert!(backoff(attempt, false) <= BACKOFF_MAX);
            assert!(backoff(attempt, true) <= BACKOFF_MAX_DRAINING);
            assert!(backoff(attempt, false) >= BACKOFF_MIN);
        }
        assert!(backoff(0, false) <= BACKOFF_FIRST);
    }

    #[test]
    fn what_landed_makes_room() {
        let mut flight = Flight::default();
        flight.take_off(1, 10);
        flight.take_off(4, 20);
        flight.land(3);
        assert_eq!(flight.bytes, 20);
        flight.land(4);
        assert_eq!(flight.bytes, 0);
    }
}
