//! The variables of a condition: their names, types, and what of the exchange each reads.

use crate::{
    predicate::Field,
    view::{Part, Side},
};

/// The type of an expression. Every expression has one before the first exchange is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Bool,
    Int,
    Double,
    String,
    Bytes,
    Timestamp,
    Duration,
    /// A list of one scalar type; of no type where the list is empty.
    List(Option<Scalar>),
    /// From strings to strings.
    Map,
    /// A value of a JSON document: of which type shows in the exchange.
    Json,
}

/// The types that a list can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scalar {
    Bool,
    Int,
    Double,
    String,
    Bytes,
    Timestamp,
    Duration,
    Json,
}

/// What a condition can read of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attribute {
    /// A column of the table.
    Column(Field),
    /// Whether both messages are complete.
    ExchangeComplete,
    Flow,
    FlowIndex,
    Labels,
    Peer(Side, PeerName),
    /// As the client named the server, without the port.
    DestinationHost,
    Version(Part),
    Reason,
    Headers(Part),
    Trailers(Part),
    Complete(Part),
    Body(Part, BodyField),
}

/// The names of an end that are not columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PeerName {
    Namespace,
    Pod,
    Service,
    Workload,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyField {
    Text,
    Bytes,
    /// The content as a JSON document.
    Json,
    Size,
    DecodedFrom,
    Dropped,
}

/// The fields of a message, or the variables of a condition.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Schema {
    /// As it is written in a condition; empty for the variables.
    pub(crate) path: &'static str,
    entries: &'static [(&'static str, Entry)],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Attribute(Attribute, Type),
    Message(&'static Schema),
}

/// A field of strings that is a column.
const fn string(field: Field) -> Entry {
    Entry::Attribute(Attribute::Column(field), Type::String)
}

const fn int(field: Field) -> Entry {
    Entry::Attribute(Attribute::Column(field), Type::Int)
}

const fn attribute(attribute: Attribute, r#type: Type) -> Entry {
    Entry::Attribute(attribute, r#type)
}

/// The variables.
pub(crate) static VARIABLES: Schema = Schema {
    path: "",
    entries: &[
        ("request", Entry::Message(&REQUEST)),
        ("response", Entry::Message(&RESPONSE)),
        ("source", Entry::Message(&SOURCE)),
        ("destination", Entry::Message(&DESTINATION)),
        ("role", string(Field::Role)),
        ("target", string(Field::Target)),
        ("node", string(Field::Node)),
        ("namespace", string(Field::Namespace)),
        ("workload", string(Field::Workload)),
        ("pod", string(Field::Pod)),
        ("container", string(Field::Container)),
        ("labels", attribute(Attribute::Labels, Type::Map)),
        ("time", attribute(Attribute::Column(Field::Time), Type::Timestamp)),
        ("duration", attribute(Attribute::Column(Field::Duration), Type::Duration)),
        ("id", string(Field::Id)),
        ("complete", attribute(Attribute::ExchangeComplete, Type::Bool)),
        ("flow", attribute(Attribute::Flow, Type::Int)),
        ("flow_index", attribute(Attribute::FlowIndex, Type::Int)),
    ],
};

static REQUEST: Schema = Schema {
    path: "request",
    entries: &[
        ("method", string(Field::Method)),
        ("scheme", string(Field::Scheme)),
        ("host", string(Field::Host)),
        ("path", string(Field::Path)),
        ("query", string(Field::Query)),
        ("version", attribute(Attribute::Version(Part::Request), Type::String)),
        ("headers", attribute(Attribute::Headers(Part::Request), Type::Map)),
        ("trailers", attribute(Attribute::Trailers(Part::Request), Type::Map)),
        ("body", Entry::Message(&REQUEST_BODY)),
        ("complete", attribute(Attribute::Complete(Part::Request), Type::Bool)),
    ],
};

static RESPONSE: Schema = Schema {
    path: "response",
    entries: &[
        ("status", int(Field::Status)),
        ("reason", attribute(Attribute::Reason, Type::String)),
        ("version", attribute(Attribute::Version(Part::Response), Type::String)),
        ("headers", attribute(Attribute::Headers(Part::Response), Type::Map)),
        ("trailers", attribute(Attribute::Trailers(Part::Response), Type::Map)),
        ("body", Entry::Message(&RESPONSE_BODY)),
        ("complete", attribute(Attribute::Complete(Part::Response), Type::Bool)),
    ],
};

static REQUEST_BODY: Schema = Schema {
    path: "request.body",
    entries: &[
        ("text", attribute(Attribute::Body(Part::Request, BodyField::Text), Type::String)),
        ("bytes", attribute(Attribute::Body(Part::Request, BodyField::Bytes), Type::Bytes)),
        ("json", attribute(Attribute::Body(Part::Request, BodyField::Json), Type::Json)),
        ("size", attribute(Attribute::Body(Part::Request, BodyField::Size), Type::Int)),
        ("decoded_from", attribute(Attribute::Body(Part::Request, BodyField::DecodedFrom), Type::String)),
        ("dropped", attribute(Attribute::Body(Part::Request, BodyField::Dropped), Type::String)),
    ],
};

static RESPONSE_BODY: Schema = Schema {
    path: "response.body",
    entries: &[
        ("text", attribute(Attribute::Body(Part::Response, BodyField::Text), Type::String)),
        ("bytes", attribute(Attribute::Body(Part::Response, BodyField::Bytes), Type::Bytes)),
        ("json", attribute(Attribute::Body(Part::Response, BodyField::Json), Type::Json)),
        ("size", attribute(Attribute::Body(Part::Response, BodyField::Size), Type::Int)),
        ("decoded_from", attribute(Attribute::Body(Part::Response, BodyField::DecodedFrom), Type::String)),
        ("dropped", attribute(Attribute::Body(Part::Response, BodyField::Dropped), Type::String)),
    ],
};

static SOURCE: Schema = Schema {
    path: "source",
    entries: &[
        ("ip", string(Field::SourceIp)),
        ("port", int(Field::SourcePort)),
        ("namespace", attribute(Attribute::Peer(Side::Source, PeerName::Namespace), Type::String)),
        ("pod", attribute(Attribute::Peer(Side::Source, PeerName::Pod), Type::String)),
        ("service", attribute(Attribute::Peer(Side::Source, PeerName::Service), Type::String)),
        ("workload", attribute(Attribute::Peer(Side::Source, PeerName::Workload), Type::String)),
    ],
};

static DESTINATION: Schema = Schema {
    path: "destination",
    entries: &[
        ("host", attribute(Attribute::DestinationHost, Type::String)),
        ("ip", string(Field::DestinationIp)),
        ("port", int(Field::DestinationPort)),
        ("namespace", attribute(Attribute::Peer(Side::Destination, PeerName::Namespace), Type::String)),
        ("pod", attribute(Attribute::Peer(Side::Destination, PeerName::Pod), Type::String)),
        ("service", attribute(Attribute::Peer(Side::Destination, PeerName::Service), Type::String)),
        ("workload", attribute(Attribute::Peer(Side::Destination, PeerName::Workload), Type::String)),
    ],
};

impl Schema {
    pub(crate) fn get(&self, name: &str) -> Option<Entry> {
        self.entries.iter().find(|(known, _)| *known == name).map(|(_, entry)| *entry)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.entries.iter().map(|(name, _)| *name)
    }
}

impl Type {
    /// As it is named in a message: "a string".
    pub(crate) fn describe(self) -> &'static str {
        match self {
            Self::Bool => "a bool",
            Self::Int => "an int",
            Self::Double => "a double",
            Self::String => "a string",
            Self::Bytes => "bytes",
            Self::Timestamp => "a timestamp",
            Self::Duration => "a duration",
            Self::List(_) => "a list",
            Self::Map => "a map of strings",
            Self::Json => "a JSON value",
        }
    }

    /// The same type as an element of a list.
    pub(crate) fn scalar(self) -> Option<Scalar> {
        match self {
            Self::Bool => Some(Scalar::Bool),
            Self::Int => Some(Scalar::Int),
            Self::Double => Some(Scalar::Double),
            Self::String => Some(Scalar::String),
            Self::Bytes => Some(Scalar::Bytes),
            Self::Timestamp => Some(Scalar::Timestamp),
            Self::Duration => Some(Scalar::Duration),
            Self::Json => Some(Scalar::Json),
            Self::List(_) | Self::Map => None,
        }
    }

    pub(crate) fn is_number(self) -> bool {
        matches!(self, Self::Int | Self::Double)
    }

    /// Whether values of the two types can be equal.
    pub(crate) fn compares_with(self, other: Self) -> bool {
        let may_be_in_json = |r#type| matches!(r#type, Self::Bool | Self::Int | Self::Double | Self::String);
        self.scalar().is_some() && (self == other || (self.is_number() && other.is_number()))
            || (self == Self::Json && may_be_in_json(other))
            || (other == Self::Json && may_be_in_json(self))
    }
}

impl From<Scalar> for Type {
    fn from(scalar: Scalar) -> Self {
        match scalar {
            Scalar::Bool => Self::Bool,
            Scalar::Int => Self::Int,
            Scalar::Double => Self::Double,
            Scalar::String => Self::String,
            Scalar::Bytes => Self::Bytes,
            Scalar::Timestamp => Self::Timestamp,
            Scalar::Duration => Self::Duration,
            Scalar::Json => Self::Json,
        }
    }
}

/// The known name that was probably meant: within two edits, and not by chance for a short name.
pub(crate) fn suggest(name: &str, known: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    known
        .map(|candidate| (edits(name, candidate), candidate))
        .filter(|(edits, candidate)| *edits <= 2 && *edits < candidate.len().div_ceil(2))
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance, without regard to case.
fn edits(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.to_lowercase().chars().take(64).enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, r) in right.iter().enumerate() {
            let substituted = diagonal + usize::from(l != *r);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()].max(left.chars().count().saturating_sub(64))
}
