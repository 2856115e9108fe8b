//! What is passed through, as it becomes an exchange again: the body is copied on its way, up to a cap.

use std::{
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tap_proto::v1::{self, Exchange, body::Content, completeness::State};
use tokio::sync::mpsc;

use super::{request, stats::Counters};

/// Kept of the body of an answer that is passed through; more counts as not captured.
const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;
/// The clock of a recording's timing: since the request came.
const CLOCK: &str = "mock";

/// Where exchanges that were passed through go.
#[derive(Clone, Debug)]
pub(super) struct Recorder {
    pub(super) exchange_tx: mpsc::Sender<Exchange>,
    pub(super) counters: Arc<Counters>,
}

/// An exchange whose answer's body is on its way.
#[derive(Debug)]
pub(super) struct Recording {
    recorder: Recorder,
    exchange: Box<Exchange>,
    asked: Instant,
    body: BytesMut,
    size: u64,
}

/// The body of an answer that is passed through.
#[derive(Debug)]
pub(super) struct Tee {
    inner: Incoming,
    recording: Option<Recording>,
}

impl Recorder {
    /// Begins the record of an answer to `exchange`'s request, which was `asked` then.
    pub(super) fn begin(
        &self,
        mut exchange: Exchange,
        asked: Instant,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Recording {
        let timing = exchange.timing.get_or_insert_default();
        timing.clock = CLOCK.to_owned();
        // 0 stands for "not seen".
        timing.request_start_ns = 1;
        timing.request_end_ns = 1;
        timing.response_start_ns = nanoseconds(asked.elapsed());
        exchange.response = Some(v1::Response {
            status: status.as_u16().into(),
            version: "HTTP/1.1".to_owned(),
            headers: headers
                .iter()
                .map(|(name, value)| request::to_proto(name.as_str(), value.as_bytes()))
                .collect(),
            ..v1::Response::default()
        });
        let exchange = Box::new(exchange);
        Recording { recorder: self.clone(), exchange, asked, body: BytesMut::new(), size: 0 }
    }
}

impl Recording {
    fn chunk(&mut self, chunk: &[u8]) {
        self.size += chunk.len() as u64;
        let room = MAX_BODY_BYTES - self.body.len();
        self.body.extend_from_slice(&chunk[..chunk.len().min(room)]);
    }

    /// The answer came whole.
    fn finish(self) {
        let Self { recorder: Recorder { exchange_tx, counters }, mut exchange, asked, body, size } = self;
        let elapsed = asked.elapsed();
        exchange.duration = prost_types::Duration::try_from(elapsed).ok();
        exchange.timing.get_or_insert_default().response_end_ns = nanoseconds(elapsed);
        let missing = size - body.len() as u64;
        let response = exchange.response.get_or_insert_default();
        response.completeness = Some(if missing == 0 {
            request::complete()
        } else {
            v1::Completeness {
                state: State::Truncated.into(),
                bytes: missing,
                cause: "body_cap".to_owned(),
                ..v1::Completeness::default()
            }
        });
        let body = body.freeze();
        response.body = (size > 0).then(|| v1::Body {
            content: Some(match String::from_utf8(body.to_vec()) {
                Ok(text) => Content::Text(text),
                Err(_) => Content::Binary(body),
            }),
            size,
            ..v1::Body::default()
        });
        match exchange_tx.try_send(*exchange) {
            Ok(()) => {
                counters.recorded.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) => counters.not_recorded("queue"),
        }
    }

    /// The answer ended early, or its client went away.
    fn abandon(self) {
        self.recorder.counters.not_recorded("incomplete");
    }
}

impl Tee {
    pub(super) fn new(inner: Incoming, recording: Option<Recording>) -> Self {
        let mut tee = Self { inner, recording };
        // Nobody polls a body that is known to be empty.
        if tee.inner.is_end_stream() {
            tee.finish();
        }
        tee
    }

    fn finish(&mut self) {
        if let Some(recording) = self.recording.take() {
            recording.finish();
        }
    }
}

impl Drop for Tee {
    fn drop(&mut self) {
        if let Some(recording) = self.recording.take() {
            // A client that has read Content-Length bytes does not ask for the end.
            if self.inner.is_end_stream() { recording.finish() } else { recording.abandon() }
        }
    }
}

impl Body for Tee {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let tee = self.get_mut();
        let frame = ready!(Pin::new(&mut tee.inner).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                if let (Some(chunk), Some(recording)) = (frame.data_ref(), &mut tee.recording) {
                    recording.chunk(chunk);
                }
            }
            None => tee.finish(),
            Some(Err(_)) => {
                if let Some(recording) = tee.recording.take() {
                    recording.abandon();
                }
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX).max(1)
}
