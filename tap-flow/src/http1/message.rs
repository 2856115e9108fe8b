//! The messages of one direction, one after another, from bytes in any split.
//!
//! [`Parser::feed`] takes a run of bytes and stops at every point where its caller has to decide: after a
//! head (the framing of a response depends on its request), at the end of a message, at a failure.

mod parsed;

use super::{
    body::{Chunked, ChunkedStep, Framing},
    detect::{Start, detect_start},
    head::{Head, HeadStatus, Kind, parse_head, parse_trailers, unfold},
};
use crate::{
    content::Content,
    exchange::Span,
    headers::Headers,
    limits::Limits,
    reassembly::Arrival,
    stats::{Failure, Reason},
};

pub(crate) use parsed::{End, Message};

/// Parses one direction.
#[derive(Debug)]
pub(crate) struct Parser {
    state: State,
    /// An incomplete head or trailer section.
    buffer: Vec<u8>,
    /// The start line in `buffer` was found plausible.
    start_line_checked: bool,
    head: Option<Head>,
    content: Content,
    trailers: Headers,
    interim: Vec<u16>,
    /// Payload bytes of the open message, with its interim responses.
    wire_bytes: u64,
    span: Span,
    started: Arrival,
    doubt: Option<Doubt>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Looking for the start of a message. `adjacent`: nothing was seen since the loss.
    Sync {
        doubt: Doubt,
        adjacent: bool,
    },
    /// Between messages.
    Start,
    Head,
    /// The head is complete; [`Parser::begin_body`] is due.
    Body,
    Length {
        remaining: u64,
    },
    Chunked(Chunked),
    Trailers,
    UntilClose,
}

/// Why it is not certain that a message starts where it seems to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// The connection is older than the tap.
    Joined,
    /// So many bytes before it were never seen.
    Gap { bytes: u64 },
    /// What came before did not parse.
    Broken,
}

/// How far [`Parser::feed`] came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) consumed: usize,
    pub(crate) event: Event,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// Everything was consumed.
    NeedMore,
    /// The consumed bytes belong to no message.
    Skipped(Reason),
    /// A head is complete: look at [`Parser::head`], then call [`Parser::begin_body`].
    Head,
    /// The message is complete: call [`Parser::take`].
    Complete,
    /// The message can't be parsed further: call [`Parser::take`] if it has a head, then
    /// [`Parser::lose_sync`].
    Failed(Failure),
}

/// Statuses of interim responses kept for one response.
const MAX_INTERIM: usize = 16;

impl Parser {
    /// A parser that knows that a message starts with the first byte.
    pub(crate) fn at_start() -> Self {
        Self::new(State::Start)
    }

    /// A parser for a connection that is older than the tap.
    pub(crate) fn joined() -> Self {
        Self::new(State::Sync { doubt: Doubt::Joined, adjacent: true })
    }

    fn new(state: State) -> Self {
        Self {
            state,
            buffer: Vec::new(),
            start_line_checked: false,
            head: None,
            content: Content::default(),
            trailers: Headers::default(),
            interim: Vec::new(),
            wire_bytes: 0,
            span: Span::default(),
            started: Arrival { time: 0, segment_start: false, turn: false },
            doubt: None,
        }
    }

    /// No message is open.
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.state, State::Start | State::Sync { .. })
    }

    /// A message is open and its head is complete.
    pub(crate) fn head(&self) -> Option<&Head> {
        self.head.as_ref()
    }

    /// A head has announced a body after `100 Continue`, of which nothing came yet.
    pub(crate) fn awaits_expected_body(&self) -> bool {
        let unbegun = matches!(self.state, State::Length { .. } | State::Chunked(Chunked::START));
        unbegun && self.content.is_empty() && self.head().is_some_and(|head| head.fields.expects_continue)
    }

    /// How the first byte of the open message came.
    pub(crate) fn started(&self) -> Arrival {
        self.started
    }

    pub(crate) fn doubt(&self) -> Option<Doubt> {
        self.doubt
    }

    /// Payload bytes of the open message.
    pub(crate) fn wire_bytes(&self) -> u64 {
        self.wire_bytes
    }

    /// The incomplete head or trailer section of the open message.
    pub(crate) fn buffer(&self) -> &[u8] {
        &self.buffer
    }

    /// How many of the next bytes nobody needs, as they are past what is kept of the open body. Its last byte is
    /// needed: it tells when the message ended.
    pub(crate) fn unneeded(&self) -> u64 {
        if !self.content.is_full() {
            return 0;
        }
        match self.state {
            State::Length { remaining } | State::Chunked(Chunked::Content { remaining }) => {
                remaining.saturating_sub(1)
            }
            State::UntilClose => u64::MAX,
            _ => 0,
        }
    }

    /// Notes that the open message went on until this time.
    pub(crate) fn reach(&mut self, time: u64) {
        self.span.end = time;
    }

    /// Memory that the open message holds.
    pub(crate) fn held_bytes(&self) -> usize {
        self.buffer.len() + self.content.kept_bytes() + self.head.as_ref().map_or(0, |head| head.length)
    }

    /// Takes bytes that follow those of the last call; they are not empty.
    pub(crate) fn feed(&mut self, kind: Kind, bytes: &[u8], arrival: Arrival, limits: &Limits) -> Step {
        match self.state {
            State::Sync { doubt, adjacent } => {
                if !arrival.segment_start || detect_start(kind, bytes) != Start::Plausible {
                    self.state = State::Sync { doubt, adjacent: false };
                    return Step { consumed: bytes.len(), event: Event::Skipped(doubt.reason()) };
                }
                self.begin(arrival);
                // The first bytes of a joined direction: a server's are taken for the start of its answer, as
                // hooks of old kernels do not see its SYN; a client's may be the rest of anything.
                let answers = kind == Kind::Response && doubt == Doubt::Joined;
                let certain = arrival.turn && (!adjacent || answers);
                self.doubt = (!certain).then_some(doubt);
            }
            State::Start => {
                let blank = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
                if blank > 0 {
                    return Step { consumed: blank, event: Event::Skipped(Reason::BlankLine) };
                }
                self.begin(arrival);
            }
            _ => {}
        }
        self.span.end = arrival.time;
        let step = match self.state {
            State::Head => self.feed_head(kind, bytes, limits),
            State::Length { remaining } => self.feed_length(remaining, bytes),
            State::Chunked(chunked) => self.feed_chunked(chunked, bytes),
            State::Trailers => self.feed_trailers(bytes, limits),
            State::UntilClose => {
                self.content.write(bytes);
                Step { consumed: bytes.len(), event: Event::NeedMore }
            }
            State::Sync { .. } | State::Start | State::Body => Step { consumed: 0, event: Event::NeedMore },
        };
        self.wire_bytes += step.consumed as u64;
        step
    }

    /// Goes on after the head. True if the message is complete with it.
    pub(crate) fn begin_body(&mut self, framing: Framing, limits: &Limits) -> bool {
        let coded = self.head().is_some_and(|head| head.fields.has_content_encoding);
        let cap = if coded { limits.encoded_body_bytes } else { limits.body_bytes };
        self.state = match framing {
            Framing::Length(remaining) => State::Length { remaining },
            Framing::Chunked => State::Chunked(Chunked::START),
            Framing::UntilClose => State::UntilClose,
            Framing::NoBody | Framing::Ambiguous | Framing::Tunnel => return true,
        };
        self.content = Content::new(cap);
        false
    }

    /// Notes the head as that of an interim response, and goes on to the next.
    pub(crate) fn continue_after_interim(&mut self, status: u16) {
        if self.interim.len() < MAX_INTERIM {
            self.interim.push(status);
        }
        self.head = None;
        self.state = State::Start;
    }

    /// Notes that the next `lost` bytes were never seen. Complete if they reach to the very end of the message,
    /// failed (with nothing counted) if the framing did not survive.
    pub(crate) fn skip_gap(&mut self, lost: u64) -> GapOutcome {
        match &mut self.state {
            State::Length { remaining } => {
                let within = lost.min(*remaining);
                *remaining -= within;
                let done = *remaining == 0;
                self.content.skip(within);
                match (lost > within, done) {
                    (true, _) => GapOutcome::SyncLost,
                    (false, true) => GapOutcome::Complete,
                    (false, false) => GapOutcome::Survived,
                }
            }
            State::Chunked(chunked) => {
                let survived = chunked.skip(lost);
                self.content.skip(lost);
                if survived { GapOutcome::Survived } else { GapOutcome::SyncLost }
            }
            State::UntilClose => {
                self.content.skip(lost);
                GapOutcome::Survived
            }
            State::Sync { .. } | State::Start | State::Head | State::Body | State::Trailers => {
                GapOutcome::SyncLost
            }
        }
    }

    /// Forgets what is open: how many payload bytes that was. The next message has to be searched for.
    pub(crate) fn lose_sync(&mut self, doubt: Doubt) -> u64 {
        let doubt = match (self.state, doubt) {
            (State::Sync { doubt: Doubt::Gap { bytes: earlier }, .. }, Doubt::Gap { bytes }) => {
                Doubt::Gap { bytes: earlier.saturating_add(bytes) }
            }
            _ => doubt,
        };
        let abandoned = self.wire_bytes;
        let adjacent = matches!(doubt, Doubt::Gap { .. });
        *self = Self::new(State::Sync { doubt, adjacent });
        abandoned
    }

    /// Whether the end of the connection is the end of the open message.
    pub(crate) fn is_until_close(&self) -> bool {
        self.state == State::UntilClose
    }

    fn begin(&mut self, arrival: Arrival) {
        self.state = State::Head;
        self.start_line_checked = false;
        self.started = arrival;
        self.span = Span { start: arrival.time, end: arrival.time };
    }

    fn feed_head(&mut self, kind: Kind, bytes: &[u8], limits: &Limits) -> Step {
        if self.buffer.is_empty() {
            match parse_head(kind, bytes, limits, &mut self.head) {
                HeadStatus::Complete(length) if length <= limits.head_bytes => {
                    return self.head_complete(length);
                }
                HeadStatus::TooManyFields => return failed(bytes.len(), Failure::HeadTooLarge),
                // Folded fields are not valid until they are unfolded, which takes the whole head.
                HeadStatus::Complete(_) | HeadStatus::Partial | HeadStatus::Invalid => self.head = None,
            }
        }
        let earlier = self.buffer.len();
        let room = limits.head_bytes.saturating_sub(earlier);
        self.buffer.extend_from_slice(&bytes[..bytes.len().min(room)]);
        if !self.start_line_checked {
            match detect_start(kind, &self.buffer) {
                Start::Plausible => self.start_line_checked = true,
                Start::Implausible => return failed(bytes.len(), Failure::InvalidHead),
                Start::Undecided => {}
            }
        }
        let Some(end) = end_of_head(&self.buffer, earlier.saturating_sub(2)) else {
            if self.buffer.len() >= limits.head_bytes {
                return failed(bytes.len(), Failure::HeadTooLarge);
            }
            return Step { consumed: bytes.len(), event: Event::NeedMore };
        };
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.truncate(end);
        let mut status = parse_head(kind, &buffer, limits, &mut self.head);
        if status == HeadStatus::Invalid && unfold(&mut buffer) {
            status = parse_head(kind, &buffer, limits, &mut self.head);
        }
        if status == HeadStatus::Complete(end) {
            return self.head_complete(end - earlier);
        }
        self.head = None;
        match status {
            HeadStatus::TooManyFields => failed(bytes.len(), Failure::HeadTooLarge),
            _ => failed(bytes.len(), Failure::InvalidHead),
        }
    }

    fn head_complete(&mut self, consumed: usize) -> Step {
        self.state = State::Body;
        Step { consumed, event: Event::Head }
    }

    fn feed_length(&mut self, remaining: u64, bytes: &[u8]) -> Step {
        let consumed = usize::try_from(remaining).map_or(bytes.len(), |n| n.min(bytes.len()));
        self.content.write(&bytes[..consumed]);
        let remaining = remaining - consumed as u64;
        self.state = State::Length { remaining };
        Step { consumed, event: if remaining == 0 { Event::Complete } else { Event::NeedMore } }
    }

    fn feed_chunked(&mut self, mut chunked: Chunked, bytes: &[u8]) -> Step {
        let mut consumed = 0;
        let event = loop {
            if consumed == bytes.len() {
                break Event::NeedMore;
            }
            match chunked.step(&bytes[consumed..]) {
                ChunkedStep::Framing { length } => consumed += length,
                ChunkedStep::Content { length } => {
                    self.content.write(&bytes[consumed..consumed + length]);
                    consumed += length;
                }
                // The caller feeds what is left.
                ChunkedStep::Trailers => {
                    self.state = State::Trailers;
                    return Step { consumed, event: Event::NeedMore };
                }
                ChunkedStep::Invalid => break Event::Failed(Failure::InvalidChunk),
            }
        };
        self.state = State::Chunked(chunked);
        Step { consumed, event }
    }

    fn feed_trailers(&mut self, bytes: &[u8], limits: &Limits) -> Step {
        let earlier = self.buffer.len();
        let room = limits.head_bytes.saturating_sub(earlier);
        self.buffer.extend_from_slice(&bytes[..bytes.len().min(room)]);
        let end = match self.buffer.as_slice() {
            [b'\r', b'\n', ..] => Some(2),
            buffer => end_of_head(buffer, earlier.saturating_sub(2)),
        };
        let Some(end) = end else {
            if self.buffer.len() >= limits.head_bytes {
                return failed(bytes.len(), Failure::HeadTooLarge);
            }
            return Step { consumed: bytes.len(), event: Event::NeedMore };
        };
        self.buffer.truncate(end);
        match parse_trailers(&self.buffer, limits) {
            Some(trailers) => {
                self.trailers = trailers;
                Step { consumed: end - earlier, event: Event::Complete }
            }
            None => failed(bytes.len(), Failure::InvalidChunk),
        }
    }
}

/// What a gap did to the open message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GapOutcome {
    /// It goes on after the gap.
    Survived,
    /// It ended exactly with the gap.
    Complete,
    /// Its end is not known.
    SyncLost,
}

impl Doubt {
    /// Why bytes are skipped while the doubt lasts.
    fn reason(self) -> Reason {
        match self {
            Self::Joined => Reason::JoinedMidstream,
            Self::Gap { .. } | Self::Broken => Reason::OutOfSync,
        }
    }
}

/// Everything that was offered is consumed by a failure: the caller discards it.
fn failed(consumed: usize, failure: Failure) -> Step {
    Step { consumed, event: Event::Failed(failure) }
}

/// Where the empty line ends that ends a head, looking from `from` on.
fn end_of_head(bytes: &[u8], from: usize) -> Option<usize> {
    memchr::memchr_iter(b'\n', &bytes[from..]).map(|at| from + at + 1).find_map(|line| match bytes[line..] {
        [b'\n', ..] => Some(line + 1),
        [b'\r', b'\n', ..] => Some(line + 2),
        _ => None,
    })
}
