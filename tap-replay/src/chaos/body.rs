//! A body that is slow, cut short, or not what it was.

use std::{
    collections::BTreeMap,
    fmt, mem,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame, SizeHint};
use rand::RngExt as _;
use tokio::time::{self, Instant, Sleep};

use super::{BodyFaults, Corruption, CutAt, link};

/// A slow body comes in this many pieces a second: often enough to be a trickle, seldom enough to cost nothing.
const PIECES_PER_SECOND: u64 = 20;
/// Between the last bytes before a cut and the cut: what was written must be on its way, or the peer sees less.
const FLUSH: Duration = Duration::from_millis(5);
/// Where the length is not known, changed bytes are among this many first ones.
const CORRUPTED_WITHIN: u64 = 1_024;

/// `B` with faults. Its length is still announced as it was: a cut body ends before it.
pub struct FaultyBody<B> {
    inner: B,
    faults: BodyFaults,
    cut_at: Option<u64>,
    /// The length, and with it a share of it, is not known.
    cuts_first_chunk: bool,
    on_cut: Option<Box<dyn FnOnce() + Send + Sync>>,
    /// The offsets of bytes to change, and by what.
    flips: BTreeMap<u64, u8>,
    /// Bytes taken from `inner`.
    taken: u64,
    /// Bytes given on.
    given: u64,
    /// Taken, changed, not yet given on.
    pending: Bytes,
    /// The piece that goes out when the wait is over.
    next: Option<Bytes>,
    wait: Option<Pin<Box<Sleep>>>,
    flushed: bool,
}

/// Why a body ended early: on purpose, or as the body within.
#[derive(Debug, thiserror::Error)]
pub enum Cut<E> {
    #[error("the body is cut on purpose")]
    OnPurpose,
    #[error(transparent)]
    Inner(E),
}

impl<B: Body<Data = Bytes>> FaultyBody<B> {
    /// `on_cut` is called when the body is cut, before the error is given.
    pub fn new(inner: B, mut faults: BodyFaults, on_cut: Option<Box<dyn FnOnce() + Send + Sync>>) -> Self {
        let length = inner.size_hint().exact();
        let mut body = Self {
            cut_at: None,
            cuts_first_chunk: false,
            on_cut,
            flips: BTreeMap::new(),
            taken: 0,
            given: 0,
            pending: Bytes::new(),
            next: None,
            wait: None,
            flushed: false,
            inner,
            faults: BodyFaults::default(),
        };
        // Nothing happens to what is not there.
        if length == Some(0) {
            return body;
        }
        let place = if faults.breaks_halfway { Some(CutAt::Share(0.5)) } else { faults.cut_place() };
        match (place, length) {
            (Some(CutAt::Byte(byte)), Some(length)) if byte >= length => faults.cut = None,
            (Some(CutAt::Byte(byte)), _) => body.cut_at = Some(byte),
            (Some(CutAt::Share(share)), Some(length)) => {
                body.cut_at = Some(((length as f64 * share) as u64).min(length - 1));
            }
            (Some(CutAt::Share(_)), None) => body.cuts_first_chunk = true,
            (None, _) => {}
        }
        if let Some(corruption) = faults.corruption.take() {
            let Corruption { bytes, mut random } = corruption.take_effect();
            let within = length.unwrap_or(CORRUPTED_WITHIN);
            for _ in 0..bytes {
                // Never 0: each is another byte than it was.
                body.flips.insert(random.random_range(0..within), random.random_range(1..=u8::MAX));
            }
        }
        body.faults = faults;
        body
    }

    /// The longest piece that may be given on at once.
    fn piece(&self) -> usize {
        let rate = self.faults.rate.as_ref().map(|rate| rate.fault);
        let link = self.faults.link.as_ref().map(|link| link.fault.bytes_per_second());
        let slowest = rate.into_iter().chain(link).min();
        slowest.map_or(usize::MAX, |rate| (rate / PIECES_PER_SECOND).max(1) as usize)
    }

    fn accept(&mut self, chunk: Bytes) {
        let start = self.taken;
        self.taken += chunk.len() as u64;
        if mem::take(&mut self.cuts_first_chunk) {
            self.cut_at = Some(self.taken);
        }
        let mut flips = self.flips.range(start..self.taken).peekable();
        self.pending = if flips.peek().is_some() {
            let mut changed = BytesMut::from(&chunk[..]);
            for (offset, flip) in flips {
                changed[(offset - start) as usize] ^= flip;
            }
            changed.freeze()
        } else {
            chunk
        };
    }

    /// When `piece` may go out; `None` at once. The first time, the faults that slow it have taken effect.
    fn due(&mut self, piece: usize) -> Option<Instant> {
        let now = Instant::now();
        let alone = self.faults.rate.as_ref().map(|rate| now + link::taking(piece, rate.fault));
        let shared = self.faults.link.as_ref().map(|link| link.fault.accept(piece, now));
        if self.given == 0 {
            if let Some(rate) = &self.faults.rate {
                rate.count();
            }
            if let Some(link) = &self.faults.link {
                link.count();
            }
        }
        alone.max(shared)
    }
}

impl BodyFaults {
    fn cut_place(&self) -> Option<CutAt> {
        self.cut.as_ref().map(|cut| cut.fault)
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for FaultyBody<B> {
    type Data = Bytes;
    type Error = Cut<B::Error>;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let body = self.get_mut();
        loop {
            if let Some(wait) = &mut body.wait {
                ready!(wait.as_mut().poll(context));
                body.wait = None;
            }
            if let Some(piece) = body.next.take() {
                body.given += piece.len() as u64;
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            if body.cut_at.is_some_and(|cut_at| body.given >= cut_at) {
                if !body.flushed {
                    body.flushed = true;
                    body.wait = Some(Box::pin(time::sleep(FLUSH)));
                    continue;
                }
                if let Some(cut) = body.faults.cut.take() {
                    cut.take_effect();
                }
                if let Some(on_cut) = body.on_cut.take() {
                    on_cut();
                }
                return Poll::Ready(Some(Err(Cut::OnPurpose)));
            }
            if body.pending.is_empty() {
                match ready!(Pin::new(&mut body.inner).poll_frame(context)) {
                    None => return Poll::Ready(None),
                    Some(Err(error)) => return Poll::Ready(Some(Err(Cut::Inner(error)))),
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(chunk) => body.accept(chunk),
                        Err(frame) => return Poll::Ready(Some(Ok(frame))),
                    },
                }
                continue;
            }
            let before_cut = body.cut_at.map_or(usize::MAX, |cut_at| {
                usize::try_from(cut_at.saturating_sub(body.given)).unwrap_or(usize::MAX)
            });
            let piece = body.pending.len().min(body.piece()).min(before_cut);
            body.wait = body.due(piece).map(|due| Box::pin(time::sleep_until(due)));
            body.next = Some(body.pending.split_to(piece));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.cut_at.is_none() && self.next.is_none() && self.pending.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // Asked once, before the first piece: for Content-Length.
        match self.inner.size_hint().exact() {
            Some(rest) => {
                let held = self.pending.len() + self.next.as_ref().map_or(0, Bytes::len);
                SizeHint::with_exact(rest + held as u64)
            }
            None => SizeHint::default(),
        }
    }
}

impl<B> fmt::Debug for FaultyBody<B> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cut_at, given, faults, .. } = self;
        let mut debug = formatter.debug_struct("FaultyBody");
        debug.field("given", given).field("cut_at", cut_at).field("faults", faults).finish_non_exhaustive()
    }
}
