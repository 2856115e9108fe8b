//! TCP segments in, HTTP exchanges out.
//!
//! Pure: no sockets, no tasks, no clock; time comes with each segment. Traffic is hostile input: nothing
//! here panics on it, and every buffer has a cap with a name in [`Limits`].

#![forbid(unsafe_code)]

mod assembler;
mod content;
mod content_coding;
mod exchange;
mod flow;
mod http1;
mod limits;
mod lru;
mod pairing;
mod reassembly;
mod segment;
mod stats;

pub use assembler::Assembler;
pub use exchange::{
    Body, Cause, Completeness, Exchange, Header, Headers, Request, Response, Role, Span, Version,
};
pub use limits::{Limits, MAX_HEADER_COUNT};
pub use segment::{Direction, FlowKey, Segment, TapId, TcpFlags};
pub use stats::{Failure, FlowStats, Protocol, Reason};
