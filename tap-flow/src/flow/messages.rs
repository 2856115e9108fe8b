//! The messages of a connection: where each belongs, how long it is, and what its end completes.

use super::{Context, Flow};
use crate::{
    exchange::{Cause, Exchange, Request, Response, Role},
    http1::{self, Doubt, End, Framing, Kind, Message, Method, StartLine},
    pairing::{Pair, Place},
    segment::Direction,
    stats::{Failure, Reason},
};

impl Flow {
    pub(super) fn head(&mut self, direction: Direction, kind: Kind, context: &mut Context<'_>) {
        match kind {
            Kind::Request => self.request_head(direction, context),
            Kind::Response => self.response_head(direction, context),
        }
    }

    fn request_head(&mut self, direction: Direction, context: &mut Context<'_>) {
        let stream = self.stream(direction);
        let (started, doubt) = (stream.parser.started(), stream.parser.doubt());
        let Some(head) = stream.parser.head() else { return };
        let framing = http1::framing_of_request(head);
        let StartLine::Request { method, .. } = &head.start_line else { return };
        let method = Method::of(method);
        if self.pairing.is_resumed_by(started, doubt) {
            let responses = direction.reverse();
            if !self.stream(responses).parser.is_idle() {
                // It still waits for bytes, in vain: the client has gone on. So it is after a HEAD unseen.
                self.lose_sync(responses, End::Lost, Doubt::Broken, Reason::IncompleteHead, context);
            }
            self.pairing.resume();
        }
        let place =
            self.pairing.place_request(method, started, context.limits.pipelined_requests, context.pairs);
        if doubt.is_some() {
            // On a joined connection the first request is married on trust; the next has to prove itself.
            self.pairing.lose_step();
        }
        self.stream(direction).place = place;
        self.begin_body(direction, framing, context);
    }

    fn response_head(&mut self, direction: Direction, context: &mut Context<'_>) {
        let stream = self.stream(direction);
        let doubt = stream.parser.doubt();
        let Some(StartLine::Response { status, .. }) = stream.parser.head().map(|head| &head.start_line)
        else {
            return;
        };
        let status = *status;
        if matches!(status, 100 | 102..=199) {
            stream.parser.continue_after_interim(status);
            return;
        }
        let anchored = std::mem::replace(&mut stream.anchored, true);
        let requests = self.stream(direction.reverse());
        // The server's SYN was lost, and who knows what with it.
        let syn_lost = requests.anchored && (direction == Direction::Ingress || context.sees_server_syn);
        // Of several requests, which one is answered by the first response that was seen is not known.
        let several = requests.lost_sync || self.pairing.messages() > 1;
        if doubt.is_some() || !anchored && (syn_lost || several) {
            self.pairing.lose_step();
            self.emit_unanswered(context);
        }
        let (place, method) = self.pairing.place_response();
        let stream = self.stream(direction);
        stream.place = place;
        let Some(head) = stream.parser.head() else { return };
        let framing = http1::framing_of_response(head, method);
        self.begin_body(direction, framing, context);
    }

    fn begin_body(&mut self, direction: Direction, framing: Framing, context: &mut Context<'_>) {
        if !self.stream(direction).parser.begin_body(framing, context.limits) {
            return;
        }
        match framing {
            Framing::Ambiguous => {
                context.stats.fail(Failure::AmbiguousFraming);
                self.message_ends(direction, End::Early(Cause::AmbiguousFraming), context);
                self.stream(direction).stopped = Some(Reason::AmbiguousFraming);
                self.stop_if_unanswerable(context);
            }
            Framing::Tunnel => {
                self.message_ends(direction, End::Early(Cause::Upgraded), context);
                self.stop(Reason::Upgraded, Cause::Upgraded, context);
            }
            _ => self.message_ends(direction, End::Complete, context),
        }
    }

    /// After framing that can't be known, nothing follows but the responses to what came before.
    fn stop_if_unanswerable(&mut self, context: &mut Context<'_>) {
        let Some(client) = self.client else { return };
        let ambiguous = Some(Reason::AmbiguousFraming);
        let requests = self.stream(client).stopped;
        let responses = self.stream(client.reverse()).stopped;
        let all_answered = requests == ambiguous && responses.is_none() && self.pairing.is_empty();
        if all_answered || responses == ambiguous {
            self.stop(Reason::AmbiguousFraming, Cause::AmbiguousFraming, context);
        }
    }

    pub(super) fn message_ends(&mut self, direction: Direction, end: End, context: &mut Context<'_>) {
        let stream = self.stream(direction);
        let place = stream.place;
        let Some((message, wire_bytes)) = stream.parser.take(end, context.limits) else { return };
        match (place, message) {
            (Place::Paired, Message::Request(request)) => self.pairing.put_request(request, wire_bytes),
            (Place::Paired, Message::Response(response)) => self.pairing.put_response(response, wire_bytes),
            (Place::Alone { index }, Message::Request(request)) => {
                self.emit(index, Some(request), None, wire_bytes, context);
            }
            (Place::Alone { index }, Message::Response(response)) => {
                self.emit(index, None, Some(response), wire_bytes, context);
            }
        }
        self.emit_complete(context);
    }

    fn emit_complete(&mut self, context: &mut Context<'_>) {
        while let Some(pair) = self.pairing.pop_complete() {
            self.emit_pair(pair, context);
        }
        let responses_ended = self.client.is_some_and(|client| self.stream(client.reverse()).ended);
        if responses_ended {
            self.emit_unanswered(context);
        }
        self.stop_if_unanswerable(context);
    }

    /// Emits the requests whose responses can't be told any more.
    pub(super) fn emit_unanswered(&mut self, context: &mut Context<'_>) {
        while let Some(pair) = self.pairing.pop_unanswered() {
            self.emit_pair(pair, context);
        }
        if let Some(client) = self.client
            && let Some(pair) = self.pairing.pop_open()
        {
            self.stream(client).place = Place::Alone { index: pair.index };
            context.pairs.give(pair);
        }
    }

    pub(super) fn emit_pair(&self, mut pair: Box<Pair>, context: &mut Context<'_>) {
        let (request, response) = (pair.request.take(), pair.response.take());
        self.emit(pair.index, request, response, pair.wire_bytes, context);
        context.pairs.give(pair);
    }

    fn emit(
        &self,
        index: u32,
        request: Option<Request>,
        response: Option<Response>,
        wire_bytes: u64,
        context: &mut Context<'_>,
    ) {
        let role = match self.client {
            Some(Direction::Egress) => Role::Outbound,
            Some(Direction::Ingress) | None => Role::Inbound,
        };
        context.stats.exchanges += 1;
        context.stats.bytes_in_exchanges += wire_bytes;
        (context.emit)(Exchange {
            flow: self.key,
            cgroup: self.cgroup,
            flow_serial: self.serial,
            index,
            role,
            request,
            response,
            wire_bytes,
        });
    }
}
