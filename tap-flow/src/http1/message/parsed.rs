//! A message that has ended, and how much of it was captured.

use super::{Doubt, Parser, State};
use crate::{
    exchange::{Cause, Completeness, Request, Response, Span},
    http1::head::{Head, StartLine},
    limits::Limits,
};

/// How a message came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// As its framing says.
    Complete,
    /// By something else.
    Early(Cause),
    /// Bytes were lost, and with them the framing.
    Lost,
}

/// A message that has ended.
#[derive(Debug)]
pub(crate) enum Message {
    Request(Request),
    Response(Response),
}

impl Parser {
    /// Ends the open message, if it has a head; returns it with its payload bytes. The next starts with the next byte.
    pub(crate) fn take(&mut self, end: End, limits: &Limits) -> Option<(Message, u64)> {
        let head = self.head.take()?;
        let remaining = match self.state {
            State::Length { remaining } => remaining,
            _ => 0,
        };
        let trailers = std::mem::take(&mut self.trailers);
        let coded = head.fields.has_content_encoding.then_some(&head.headers);
        let content = std::mem::take(&mut self.content);
        let finished = content.finish(coded, end == End::Complete, limits);
        let completeness = match (self.doubt, end, finished.gap, finished.capped) {
            (Some(Doubt::Joined | Doubt::Broken), ..) => Completeness::JoinedMidstream,
            (Some(Doubt::Gap { bytes }), ..) => Completeness::Gap { offset: 0, bytes },
            (None, _, Some(gap), _) => Completeness::Gap { offset: gap.offset, bytes: gap.bytes },
            (None, End::Lost, None, _) => Completeness::Gap { offset: finished.body.size, bytes: 0 },
            (None, End::Early(cause), None, capped) => {
                let unkept = capped.map_or(0, |(bytes, _)| bytes);
                Completeness::Truncated { bytes: remaining.saturating_add(unkept), cause }
            }
            (None, End::Complete, None, Some((bytes, cause))) => Completeness::Truncated { bytes, cause },
            (None, End::Complete, None, None) => Completeness::Complete,
        };
        let ended = end == End::Complete;
        let span = Span { end: if ended { self.span.end } else { 0 }, ..self.span };
        let interim = std::mem::take(&mut self.interim);
        self.buffer = Vec::new();
        self.doubt = None;
        self.state = State::Start;
        let (Head { start_line, version, headers, fields: _, length: _ }, body) = (head, finished.body);
        let message = match start_line {
            StartLine::Request { method, target } => Message::Request(Request {
                method,
                target,
                version,
                headers,
                body,
                trailers,
                completeness,
                span,
            }),
            StartLine::Response { status, reason } => Message::Response(Response {
                status,
                reason,
                version,
                headers,
                body,
                trailers,
                completeness,
                span,
                interim,
            }),
        };
        Some((message, std::mem::take(&mut self.wire_bytes)))
    }
}
