//! What a condition reads of an exchange, whatever holds it.

use std::{borrow::Cow, collections::BTreeMap};

use crate::predicate::Field;

mod message;
mod read;

pub use read::without_port;
pub(crate) use read::{Map, read};

/// An exchange that conditions can be evaluated on. Every method gives `None` where what it asks for is absent, which
/// makes the condition unknown there.
pub trait View {
    /// A column of the table.
    fn field(&self, field: Field) -> Option<Scalar<'_>>;
    /// The resolved names of an end of the connection.
    fn peer(&self, side: Side) -> Option<PeerNames<'_>>;
    /// The pod's labels that were asked for.
    fn labels(&self) -> &BTreeMap<String, String>;
    /// The connection, and the place on it.
    fn flow(&self) -> (u64, u32);
    fn message(&self, part: Part) -> Option<MessageView<'_>>;
}

/// The value of a field.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar<'a> {
    Text(Cow<'a, str>),
    Int(i64),
    /// Since 1970 for the time, of the span for the duration.
    Nanos(i128),
}

/// The message of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    Request,
    Response,
}

/// The end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    Source,
    Destination,
}

/// Names of an end that are no columns; empty where unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerNames<'a> {
    pub namespace: &'a str,
    pub pod: &'a str,
    pub service: &'a str,
    pub workload: &'a str,
}

/// What requests and responses have in common.
#[derive(Clone, Copy)]
pub struct MessageView<'a> {
    pub version: &'a str,
    /// The reason phrase of a response, as far as it is UTF-8; empty in a request.
    pub reason: &'a str,
    pub headers: &'a dyn Fields,
    pub trailers: &'a dyn Fields,
    pub complete: bool,
    /// `None` for a message without a body.
    pub body: Option<BodyView<'a>>,
}

#[derive(Clone, Copy)]
pub struct BodyView<'a> {
    pub content: &'a [u8],
    /// The length on the wire.
    pub size: u64,
    pub decoded_from: &'a str,
    /// Why there is no content; empty where it is there.
    pub dropped: &'a str,
}

/// Header or trailer fields, in order.
pub trait Fields {
    fn count(&self) -> usize;
    /// Name and value of the field at `index`, which is below the count.
    fn at(&self, index: usize) -> (Cow<'_, str>, Cow<'_, str>);
}

impl std::fmt::Debug for MessageView<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MessageView").field("headers", &self.headers.count()).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for BodyView<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BodyView").field("bytes", &self.content.len()).finish_non_exhaustive()
    }
}
