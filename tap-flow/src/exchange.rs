//! What comes out: one HTTP request with its response.
//!
//! Bytes are as on the wire, with transfer and content codings removed from bodies. Every `Debug` shows
//! sizes, never captured bytes.

use std::fmt;

use bytes::Bytes;

use crate::{
    headers::Headers,
    segment::{CgroupId, FlowKey},
};

/// Which end of an exchange the tapped socket was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The tapped process was the server.
    Inbound,
    /// The tapped process was the client.
    Outbound,
}

/// One request with its response, on one flow. At least one of the two is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    pub flow: FlowKey,
    /// The tapped socket's own cgroup.
    pub cgroup: CgroupId,
    /// Numbers the flows of one assembler; exchanges of one connection share it.
    pub flow_serial: u64,
    /// Position on the connection, from 0.
    pub index: u32,
    pub role: Role,
    pub request: Option<Request>,
    pub response: Option<Response>,
    /// Payload bytes of both directions for which this exchange accounts.
    pub wire_bytes: u64,
}

impl Exchange {
    /// The first instant of the exchange that was seen, on the capture's clock.
    pub fn start(&self) -> u64 {
        match (&self.request, &self.response) {
            (Some(request), _) => request.span.start,
            (None, Some(response)) => response.span.start,
            (None, None) => 0,
        }
    }
}

/// First and last byte of a message, in nanoseconds on the capture's clock; `end` is 0 where it was not seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    pub start: u64,
    pub end: u64,
}

#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    pub method: Bytes,
    /// The request target as sent.
    pub target: Bytes,
    pub version: Version,
    pub headers: Headers,
    pub body: Body,
    pub trailers: Headers,
    pub completeness: Completeness,
    pub span: Span,
}

#[derive(Clone, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub reason: Bytes,
    pub version: Version,
    pub headers: Headers,
    pub body: Body,
    pub trailers: Headers,
    pub completeness: Completeness,
    pub span: Span,
    /// Statuses of the 1xx responses that came before.
    pub interim: Vec<u16>,
}

/// The HTTP version of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    Http10,
    Http11,
}

impl Version {
    /// As on the wire: "HTTP/1.1".
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
        }
    }
}

/// A message's body.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Body {
    /// What was kept, without transfer and content codings.
    pub content: Bytes,
    /// Length after transfer decoding and before content decoding, however much was kept.
    pub size: u64,
    /// The content codings that were removed, as in the header; empty for none.
    pub decoded_from: Bytes,
    /// A content coding that is still there: it is not known, or the bytes did not decode.
    pub undecoded: bool,
}

/// How much of a message was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completeness {
    /// Every byte was seen and kept.
    Complete,
    /// The end was not kept: this many bytes of the body, 0 where the number is not known.
    Truncated { bytes: u64, cause: Cause },
    /// Bytes that were never seen: `bytes` at `offset` of the body, or within the head.
    Gap { offset: u64, bytes: u64 },
    /// The tap joined after the message had begun.
    JoinedMidstream,
}

/// Why the end of a message was not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The body is longer than what is kept of one.
    BodyCap,
    /// The decoded body is longer than the limits on content decoding allow.
    DecodeCap,
    /// Both Transfer-Encoding and Content-Length, several lengths, or a coding that can't be framed.
    AmbiguousFraming,
    /// Chunk framing that is not valid.
    InvalidChunk,
    /// The connection ended with FIN before the message did.
    ConnectionClosed,
    /// The connection ended with RST before the message did.
    ConnectionReset,
    /// The connection left HTTP: 101 Switching Protocols or CONNECT.
    Upgraded,
    /// The flow was given up, idle or for memory, before the message ended.
    Evicted,
    /// The capture ended before the message did.
    CaptureEnded,
}

impl Cause {
    /// The stable word of the wire contract.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BodyCap => "body_cap",
            Self::DecodeCap => "decode_cap",
            Self::AmbiguousFraming => "ambiguous_framing",
            Self::InvalidChunk => "invalid_chunk",
            Self::ConnectionClosed => "connection_closed",
            Self::ConnectionReset => "connection_reset",
            Self::Upgraded => "upgraded",
            Self::Evicted => "evicted",
            Self::CaptureEnded => "capture_ended",
        }
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, target, version, headers, body, trailers, completeness, span } = self;
        f.debug_struct("Request")
            .field("method_bytes", &method.len())
            .field("target_bytes", &target.len())
            .field("version", version)
            .field("headers", headers)
            .field("body", body)
            .field("trailers", trailers)
            .field("completeness", completeness)
            .field("span", span)
            .finish()
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, reason, version, headers, body, trailers, completeness, span, interim } = self;
        f.debug_struct("Response")
            .field("status", status)
            .field("reason_bytes", &reason.len())
            .field("version", version)
            .field("headers", headers)
            .field("body", body)
            .field("trailers", trailers)
            .field("completeness", completeness)
            .field("span", span)
            .field("interim", interim)
            .finish()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { content, size, decoded_from, undecoded } = self;
        f.debug_struct("Body")
            .field("content_bytes", &content.len())
            .field("size", size)
            .field("decoded", &!decoded_from.is_empty())
            .field("undecoded", undecoded)
            .finish()
    }
}
