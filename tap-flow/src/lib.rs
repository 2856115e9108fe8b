//! TCP segments in, HTTP exchanges out.
//!
//! Pure: no sockets, no tasks, no clock; time comes with each segment. Traffic is hostile input: nothing
//! here panics on it, and every buffer has a cap with a name in [`Limits`].

#![forbid(unsafe_code)]

mod assembler;
mod exchange;
mod segment;

pub use assembler::{Assembler, Limits};
pub use exchange::{
    Body, Cause, Completeness, Exchange, Header, Headers, Request, Response, Role, Span, Version,
};
pub use segment::{Direction, FlowKey, Segment, TapId, TcpFlags};
