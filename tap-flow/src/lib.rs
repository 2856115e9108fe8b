//! TCP segments in, HTTP exchanges out.
//!
//! ```text
//! Segment ─► Assembler ─► Flow ─► Reassembler (one per direction) ─► Parser (one per direction) ─► Pairing ─► Exchange
//!            table of     roles,  sequence numbers: order,           heads by httparse,            which response
//!            flows, caps  holes   repetition, holes                  framing, content codings      answers which request
//! ```
//!
//! Pure: no sockets, no tasks, no clock; time comes with each segment and with [`Assembler::expire`].
//!
//! What holds at every moment:
//!
//! - Every payload byte is in an emitted exchange, discarded under a [`Reason`], a duplicate, or buffered:
//!   [`FlowStats::balances`]. A segment that continues its stream is parsed where it lies; only what a message
//!   keeps is copied.
//! - Traffic is hostile: nothing here panics on it, and every buffer has a cap with a name in [`Limits`].
//! - An exchange whose request and response are [`Completeness::Complete`] is one: framing that two readers
//!   read differently is refused, and a response is married to a request only while the count of messages is
//!   certain (see the module `pairing`).
//!
//! What cannot be known: HTTP/1 has no message ids. Behind losses, on a client that always keeps several
//! requests in flight and was never seen to send two in a row, the pairing may be taken up one off. And on
//! hooks that do not see a tapped server's SYN (Linux before 6.6), losing the first response of a connection
//! together with the next request goes unnoticed.

#![forbid(unsafe_code)]

mod assembler;
mod content;
mod content_coding;
mod exchange;
mod flow;
mod headers;
mod http1;
mod limits;
mod lru;
mod pairing;
mod reassembly;
mod segment;
mod stats;
mod target;

pub use assembler::{Assembler, Unneeded};
pub use exchange::{Body, Cause, Completeness, Exchange, Request, Response, Role, Span, Version};
pub use headers::{Header, Headers, Rewrite};
pub use limits::{Limits, MAX_HEADER_COUNT};
pub use segment::{CgroupId, Direction, FlowKey, Segment, TapId, TcpFlags};
pub use stats::{Failure, FlowStats, Protocol, Reason};
pub use target::RequestTarget;
