//! HTTP/1.0 and 1.1 (RFC 9112): the messages of one direction, in any split, into heads and bodies.

mod body;
mod detect;
mod head;
mod message;

pub(crate) use body::{Framing, framing_of_request, framing_of_response};
pub(crate) use detect::{Start, detect_protocol, detect_start};
pub(crate) use head::{Kind, Method, StartLine};
pub(crate) use message::{Doubt, End, Event, GapOutcome, Message, Parser};
