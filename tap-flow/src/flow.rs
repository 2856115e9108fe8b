//! One connection: two directions, their roles, and what holes and ends mean for the messages in them.

mod messages;
mod stream;

use crate::{
    exchange::{Cause, Exchange},
    http1::{Doubt, End, Event, GapOutcome, Kind, Parser, Start, detect_protocol, detect_start},
    limits::Limits,
    pairing::{PairPool, Pairing},
    reassembly::{Arrival, Offer},
    segment::{CgroupId, Direction, FlowKey, Segment, TcpFlags},
    stats::{Failure, FlowStats, Protocol, Reason},
};

use self::stream::Stream;

/// One connection that may carry HTTP/1.
#[derive(Debug)]
pub(crate) struct Flow {
    key: FlowKey,
    cgroup: CgroupId,
    serial: u64,
    /// The direction of the requests, once it is known.
    client: Option<Direction>,
    /// The direction that was the last to carry new payload.
    spoke: Option<Direction>,
    ingress: Stream,
    egress: Stream,
    pairing: Pairing,
    /// What it speaks, where that is not HTTP/1.
    protocol: Option<Protocol>,
    /// Since when a hole has been open in either direction.
    hole_since: Option<u64>,
    reset: bool,
}

/// What a flow works with but does not own.
pub(crate) struct Context<'a> {
    /// The hooks see what a tapped server sends while a connection opens: Linux 6.6 and later.
    pub(crate) sees_server_syn: bool,
    pub(crate) limits: &'a Limits,
    pub(crate) pairs: &'a mut PairPool,
    pub(crate) stats: &'a mut FlowStats,
    pub(crate) emit: &'a mut dyn FnMut(Exchange),
}

/// What a segment claims beyond this to have been cut is not believed.
const MAX_CUT: u32 = 1 << 24;

impl Flow {
    pub(crate) fn new(key: FlowKey, serial: u64) -> Self {
        Self {
            key,
            cgroup: CgroupId::default(),
            serial,
            client: None,
            spoke: None,
            ingress: Stream::new(),
            egress: Stream::new(),
            pairing: Pairing::default(),
            protocol: None,
            hole_since: None,
            reset: false,
        }
    }

    /// Whether a SYN begins another connection with the same addresses.
    pub(crate) fn is_reused_by(&self, segment: &Segment<'_>) -> bool {
        let (same, other) = match segment.direction {
            Direction::Ingress => (&self.ingress.reassembler, &self.egress.reassembler),
            Direction::Egress => (&self.egress.reassembler, &self.ingress.reassembler),
        };
        if same.has_begun() {
            return !same.began_with(segment.sequence);
        }
        // What was joined midstream cannot begin after that.
        other.has_begun() && !other.saw_syn()
    }

    /// Payload bytes that are in no exchange yet and not discarded.
    pub(crate) fn buffered_bytes(&self) -> u64 {
        let Self { ingress, egress, pairing, .. } = self;
        ingress.buffered_bytes() + egress.buffered_bytes() + pairing.wire_bytes()
    }

    /// Memory held for messages and out of order.
    pub(crate) fn held_bytes(&self) -> usize {
        self.ingress.held_bytes() + self.egress.held_bytes() + self.pairing.held_bytes()
    }

    pub(crate) fn hole_since(&self) -> Option<u64> {
        self.hole_since
    }

    /// Why nothing of this flow is parsed any more, in either direction.
    pub(crate) fn stopped(&self) -> Option<Reason> {
        self.egress.stopped.and(self.ingress.stopped)
    }

    /// What it speaks, where that was found not to be HTTP/1.
    pub(crate) fn protocol(&self) -> Option<Protocol> {
        self.protocol
    }

    /// Up to which sequence number nobody needs what follows in a direction, if that is new.
    pub(crate) fn unneeded_until(&mut self, direction: Direction) -> Option<u32> {
        let Stream { reassembler, parser, stopped: None, .. } = self.stream(direction) else { return None };
        match parser.unneeded() {
            0 => None,
            bytes => reassembler.spare(bytes),
        }
    }

    /// Both directions have ended.
    pub(crate) fn is_closed(&self) -> bool {
        self.reset || self.ingress.ended && self.egress.ended
    }

    /// Which directions have ended, as [`TcpFlags`] would say it: ingress, egress.
    pub(crate) fn ended(&self) -> (bool, bool) {
        (self.ingress.ended, self.egress.ended)
    }

    pub(crate) fn push(&mut self, segment: &Segment<'_>, context: &mut Context<'_>) {
        let Segment { key: _, cgroup, direction, time, mut sequence, flags, payload, cut } = *segment;
        // The last word: during a handshake the hook runs with the listener, which may be of another cgroup.
        self.cgroup = cgroup;
        context.stats.bytes_in += payload.len() as u64;
        if flags.contains(TcpFlags::SYN) {
            self.syn(direction, sequence, flags);
            sequence = sequence.wrapping_add(1);
        }
        // The sequence number of a reset may be anything.
        if !flags.contains(TcpFlags::RST) {
            self.pass_spared(direction, sequence, time, context);
        }
        let cut = cut.min(MAX_CUT);
        let length = (payload.len() as u32).saturating_add(cut);
        if length > 0 {
            self.payload(direction, sequence, payload, cut, time, context);
        }
        if flags.contains(TcpFlags::FIN) {
            self.stream(direction).reassembler.fin(sequence.wrapping_add(length));
        }
        self.end_if_reached(direction, context);
        if flags.contains(TcpFlags::RST) {
            self.finish(Cause::ConnectionReset, context);
        } else if self.is_closed() {
            self.finish(Cause::ConnectionClosed, context);
        }
        let has_hole = self.ingress.reassembler.has_hole() || self.egress.reassembler.has_hole();
        self.hole_since = has_hole.then(|| self.hole_since.unwrap_or(time));
    }

    /// Gives up every hole.
    pub(crate) fn give_up_holes(&mut self, context: &mut Context<'_>) {
        let client = self.client.unwrap_or(Direction::Ingress);
        for direction in [client, client.reverse()] {
            self.give_up_holes_of(direction, context);
            self.end_if_reached(direction, context);
        }
        self.hole_since = None;
    }

    /// Ends the flow: emits what there is.
    pub(crate) fn finish(&mut self, cause: Cause, context: &mut Context<'_>) {
        self.give_up_holes(context);
        self.stop(Reason::AfterClose, cause, context);
        for direction in [Direction::Ingress, Direction::Egress] {
            let rest = self.stream(direction).reassembler.clear();
            context.stats.discard(Reason::AfterClose, rest as u64);
        }
        self.reset = true;
    }

    fn syn(&mut self, direction: Direction, sequence: u32, flags: TcpFlags) {
        let from_server = flags.contains(TcpFlags::ACK);
        let stream = self.stream(direction);
        if !stream.reassembler.has_begun() {
            stream.reassembler.syn(sequence);
            stream.parser = Parser::at_start();
            stream.anchored = true;
            if from_server {
                self.spoke = Some(direction);
            } else {
                self.pairing.resume();
            }
        }
        if self.client.is_none() {
            self.client = Some(if from_server { direction.reverse() } else { direction });
        }
    }

    fn payload(
        &mut self,
        direction: Direction,
        sequence: u32,
        payload: &[u8],
        cut: u32,
        time: u64,
        context: &mut Context<'_>,
    ) {
        let other = direction.reverse();
        let length = payload.len() as u32 + cut;
        let is_new = self.stream(direction).reassembler.is_new(sequence, length);
        if is_new && self.stream(other).reassembler.has_hole() && self.moves_on(direction) {
            self.give_up_holes_of(other, context);
            self.end_if_reached(other, context);
        }
        let arrival = Arrival { time, segment_start: true, turn: self.spoke == Some(other) };
        if is_new {
            self.spoke = Some(direction);
        }
        match self.stream(direction).reassembler.offer(sequence, payload, cut, arrival) {
            Offer::InOrder { skip, cut } => {
                context.stats.bytes_duplicate += skip as u64;
                let arrival = Arrival { segment_start: skip == 0, ..arrival };
                self.deliver(direction, &payload[skip..], arrival, context);
                self.gap(direction, cut, context);
            }
            Offer::Held { duplicate } => context.stats.bytes_duplicate += duplicate as u64,
            Offer::Duplicate => context.stats.bytes_duplicate += payload.len() as u64,
            Offer::AfterEnd => context.stats.discard(Reason::AfterClose, payload.len() as u64),
        }
        self.deliver_ready(direction, context);
        while self.stream(direction).holds_too_much(context.limits) {
            self.give_up_hole(direction, context);
        }
    }

    /// Whether new payload in `direction` shows that a hole in the other will not be filled: what a host
    /// sends passes its hooks in order; and a peer that starts a message has read what came before.
    fn moves_on(&mut self, direction: Direction) -> bool {
        let pipelined = self.pairing.is_pipelined();
        direction == Direction::Ingress || !pipelined && self.stream(direction).parser.is_idle()
    }

    fn deliver_ready(&mut self, direction: Direction, context: &mut Context<'_>) {
        while let Some(piece) = self.stream(direction).reassembler.next_ready() {
            self.deliver(direction, &piece.payload, piece.arrival, context);
            self.gap(direction, piece.cut, context);
        }
    }

    fn give_up_holes_of(&mut self, direction: Direction, context: &mut Context<'_>) {
        while self.stream(direction).reassembler.has_hole() {
            if !self.give_up_hole(direction, context) {
                break;
            }
        }
    }

    /// Gives up the first hole. False if there is none.
    fn give_up_hole(&mut self, direction: Direction, context: &mut Context<'_>) -> bool {
        let hole = self.stream(direction).reassembler.give_up_hole();
        self.gap(direction, hole.unwrap_or(0), context);
        self.deliver_ready(direction, context);
        hole.is_some()
    }

    fn deliver(
        &mut self,
        direction: Direction,
        bytes: &[u8],
        mut arrival: Arrival,
        context: &mut Context<'_>,
    ) {
        let mut rest = bytes;
        while !rest.is_empty() {
            if let Some(reason) = self.stream(direction).stopped {
                context.stats.discard(reason, rest.len() as u64);
                return;
            }
            let Some(kind) = self.kind_of(direction, rest, arrival) else {
                self.skip_unknown(rest, context);
                return;
            };
            if kind == Kind::Request && self.is_body_withheld(direction, rest, arrival) {
                context.stats.fail(Failure::AmbiguousFraming);
                self.stop(Reason::AmbiguousFraming, Cause::AmbiguousFraming, context);
                continue;
            }
            let step = self.stream(direction).parser.feed(kind, rest, arrival, context.limits);
            let (taken, left) = rest.split_at(step.consumed);
            rest = left;
            match step.event {
                Event::NeedMore => {}
                Event::Skipped(Reason::JoinedMidstream) if !self.pairing.has_begun() => {
                    self.skip_unknown(taken, context);
                }
                Event::Skipped(reason) => {
                    context.stats.discard(reason, taken.len() as u64);
                    if kind == Kind::Response && reason != Reason::BlankLine {
                        self.pairing.lose_step();
                        self.emit_unanswered(context);
                    }
                }
                Event::Head => self.head(direction, kind, context),
                Event::Complete => self.message_ends(direction, End::Complete, context),
                Event::Failed(failure) => self.fail(direction, failure, taken, context),
            }
            arrival.segment_start = false;
        }
    }

    /// A client that was refused instead of told to continue may keep its body and go on with another
    /// request, though the framing says otherwise: which it did cannot be told.
    fn is_body_withheld(&mut self, direction: Direction, bytes: &[u8], arrival: Arrival) -> bool {
        arrival.segment_start
            && arrival.turn
            && self.pairing.is_answered_early()
            && self.stream(direction).parser.awaits_expected_body()
            && detect_start(Kind::Request, bytes) == Start::Plausible
    }

    /// Discards what is before the first message of a joined connection.
    fn skip_unknown(&mut self, bytes: &[u8], context: &mut Context<'_>) {
        match detect_protocol(bytes) {
            Protocol::Other => context.stats.discard(Reason::JoinedMidstream, bytes.len() as u64),
            protocol => {
                context.stats.discard(Reason::NotHttp, bytes.len() as u64);
                self.is_not_http(protocol, context);
                self.stop(Reason::NotHttp, Cause::Upgraded, context);
            }
        }
    }

    /// What a direction carries, found out by content where no SYN has told.
    fn kind_of(&mut self, direction: Direction, bytes: &[u8], arrival: Arrival) -> Option<Kind> {
        if self.client.is_none() && arrival.segment_start {
            if detect_start(Kind::Request, bytes) == Start::Plausible {
                self.client = Some(direction);
            } else if detect_start(Kind::Response, bytes) == Start::Plausible {
                self.client = Some(direction.reverse());
            }
        }
        let client = self.client?;
        Some(if client == direction { Kind::Request } else { Kind::Response })
    }

    /// Handles what does not parse. `last` are the bytes that were offered last.
    fn fail(&mut self, direction: Direction, failure: Failure, last: &[u8], context: &mut Context<'_>) {
        let begun = self.pairing.has_begun();
        let parser = &mut self.stream(direction).parser;
        if !begun && failure == Failure::InvalidHead && parser.doubt().is_none() {
            let first = if parser.buffer().is_empty() { last } else { parser.buffer() };
            let protocol = detect_protocol(first);
            let bytes = parser.lose_sync(Doubt::Broken);
            self.is_not_http(protocol, context);
            context.stats.discard(Reason::NotHttp, bytes);
            self.stop(Reason::NotHttp, Cause::Upgraded, context);
            return;
        }
        context.stats.fail(failure);
        let reason = match failure {
            Failure::HeadTooLarge => Reason::HeadTooLarge,
            Failure::InvalidHead | Failure::InvalidChunk | Failure::AmbiguousFraming => Reason::InvalidHead,
        };
        self.lose_sync(direction, End::Early(Cause::InvalidChunk), Doubt::Broken, reason, context);
    }

    fn is_not_http(&mut self, protocol: Protocol, context: &mut Context<'_>) {
        context.stats.count_protocol(protocol);
        self.protocol = Some(protocol);
    }

    /// Goes on to `sequence` over bytes that the source has left out because nobody needs them.
    fn pass_spared(&mut self, direction: Direction, sequence: u32, time: u64, context: &mut Context<'_>) {
        let passed = self.stream(direction).reassembler.pass_spared(sequence);
        if passed > 0 {
            self.stream(direction).parser.reach(time);
            self.pass(direction, u64::from(passed), context);
        }
    }

    /// Notes that the next `lost` bytes of a direction will not come.
    fn gap(&mut self, direction: Direction, lost: u32, context: &mut Context<'_>) {
        if lost == 0 {
            return;
        }
        context.stats.gaps += 1;
        context.stats.gap_bytes += u64::from(lost);
        self.pass(direction, u64::from(lost), context);
    }

    /// Goes on after the next bytes of a direction, which will not come.
    fn pass(&mut self, direction: Direction, bytes: u64, context: &mut Context<'_>) {
        if self.stream(direction).stopped.is_some() {
            return;
        }
        match self.stream(direction).parser.skip_gap(bytes) {
            GapOutcome::Survived => {}
            GapOutcome::Complete => {
                if self.client.is_some() {
                    self.message_ends(direction, End::Complete, context);
                }
            }
            GapOutcome::SyncLost => {
                self.lose_sync(direction, End::Lost, Doubt::Gap { bytes }, Reason::IncompleteHead, context);
            }
        }
    }

    /// Ends the open message and searches for the next; the pairing falls out of step.
    fn lose_sync(
        &mut self,
        direction: Direction,
        end: End,
        doubt: Doubt,
        reason: Reason,
        context: &mut Context<'_>,
    ) {
        self.pairing.lose_step();
        if self.client.is_some() {
            self.message_ends(direction, end, context);
        }
        let stream = self.stream(direction);
        stream.lost_sync = true;
        let abandoned = stream.parser.lose_sync(doubt);
        context.stats.discard(reason, abandoned);
        if self.client == Some(direction.reverse()) {
            self.emit_unanswered(context);
        }
    }

    fn end_if_reached(&mut self, direction: Direction, context: &mut Context<'_>) {
        let stream = self.stream(direction);
        if stream.ended || !stream.reassembler.has_ended() {
            return;
        }
        stream.ended = true;
        let late = stream.reassembler.clear();
        context.stats.discard(Reason::AfterClose, late as u64);
        let stream = self.stream(direction);
        if stream.stopped.is_some() {
            return;
        }
        let end =
            if stream.parser.is_until_close() { End::Complete } else { End::Early(Cause::ConnectionClosed) };
        self.lose_sync(direction, end, Doubt::Broken, Reason::IncompleteHead, context);
    }

    /// Parses nothing more: what is open is emitted as it is, what follows is discarded.
    fn stop(&mut self, reason: Reason, cause: Cause, context: &mut Context<'_>) {
        let client = self.client.unwrap_or(Direction::Ingress);
        for direction in [client, client.reverse()] {
            let stream = self.stream(direction);
            if stream.stopped.is_none() {
                stream.stopped = Some(reason);
                self.lose_sync(direction, End::Early(cause), Doubt::Broken, Reason::IncompleteHead, context);
            }
        }
        while let Some(pair) = self.pairing.pop() {
            self.emit_pair(pair, context);
        }
    }

    fn stream(&mut self, direction: Direction) -> &mut Stream {
        match direction {
            Direction::Ingress => &mut self.ingress,
            Direction::Egress => &mut self.egress,
        }
    }
}
