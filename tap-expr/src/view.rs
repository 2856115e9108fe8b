//! Reads an exchange: borrows what it can, and touches only what is asked for.

use std::borrow::Cow;

use tap_proto::v1::{
    Body, Completeness, Endpoint, Exchange, Header, Request, Response, Role, body::Content,
    completeness::State,
};

use crate::{
    eval::{Unknown, Value},
    predicate::Field,
    schema::{Attribute, BodyField, Part, PeerName, Side},
    time,
};

/// A map of the exchange.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Map<'a> {
    /// Keys without regard to case; the values of a repeated name joined by ", ".
    Headers(&'a [Header]),
    Labels(&'a std::collections::BTreeMap<String, String>),
}

impl<'a> Map<'a> {
    pub(crate) fn get(self, key: &str) -> Option<Cow<'a, str>> {
        match self {
            Self::Labels(labels) => labels.get(key).map(|value| Cow::Borrowed(value.as_str())),
            Self::Headers(headers) => {
                let mut values =
                    headers.iter().filter(|header| header.name.eq_ignore_ascii_case(key)).map(|h| &h.value);
                let first = values.next()?;
                let mut joined = Cow::Borrowed(first.as_str());
                for value in values {
                    let joined = joined.to_mut();
                    joined.push_str(", ");
                    joined.push_str(value);
                }
                Some(joined)
            }
        }
    }

    pub(crate) fn contains(self, key: &str) -> bool {
        match self {
            Self::Labels(labels) => labels.contains_key(key),
            Self::Headers(headers) => headers.iter().any(|header| header.name.eq_ignore_ascii_case(key)),
        }
    }

    /// The keys, each once; those of headers in lower case.
    pub(crate) fn keys(self) -> Vec<Cow<'a, str>> {
        match self {
            Self::Labels(labels) => labels.keys().map(|key| Cow::Borrowed(key.as_str())).collect(),
            Self::Headers(headers) => {
                let mut keys: Vec<Cow<'a, str>> =
                    headers.iter().map(|header| Cow::Owned(header.name.to_ascii_lowercase())).collect();
                keys.sort_unstable();
                keys.dedup();
                keys
            }
        }
    }

    pub(crate) fn len(self) -> usize {
        match self {
            Self::Labels(labels) => labels.len(),
            Self::Headers(_) => self.keys().len(),
        }
    }

    /// Entries to look through for one key.
    pub(crate) fn entries(self) -> usize {
        match self {
            Self::Labels(_) => 1,
            Self::Headers(headers) => headers.len(),
        }
    }
}

/// The value of an attribute; unknown where what holds it is absent.
pub(crate) fn read(attribute: Attribute, exchange: &Exchange) -> Result<Value<'_>, Unknown> {
    Ok(match attribute {
        Attribute::Column(field) => column(field, exchange)?,
        Attribute::ExchangeComplete => {
            let request = exchange.request.as_ref().and_then(|request| request.completeness.as_ref());
            let response = exchange.response.as_ref().and_then(|response| response.completeness.as_ref());
            Value::Bool(is_complete(request) && is_complete(response))
        }
        // Beyond what an int holds, all are the largest: equal to no connection that exists.
        Attribute::Flow => Value::Int(i64::try_from(exchange.flow).unwrap_or(i64::MAX)),
        Attribute::FlowIndex => Value::Int(exchange.flow_index.into()),
        Attribute::Labels => Value::Map(Map::Labels(&exchange.labels)),
        Attribute::Peer(side, name) => {
            let end = end(side, exchange)?;
            text(match name {
                PeerName::Namespace => &end.namespace,
                PeerName::Pod => &end.pod,
                PeerName::Service => &end.service,
                PeerName::Workload => &end.workload,
            })
        }
        Attribute::Version(Part::Request) => text(&request(exchange)?.version),
        Attribute::Version(Part::Response) => text(&response(exchange)?.version),
        Attribute::Reason => text(&response(exchange)?.reason),
        Attribute::Headers(Part::Request) => Value::Map(Map::Headers(&request(exchange)?.headers)),
        Attribute::Headers(Part::Response) => Value::Map(Map::Headers(&response(exchange)?.headers)),
        Attribute::Trailers(Part::Request) => Value::Map(Map::Headers(&request(exchange)?.trailers)),
        Attribute::Trailers(Part::Response) => Value::Map(Map::Headers(&response(exchange)?.trailers)),
        Attribute::Complete(Part::Request) => {
            Value::Bool(is_complete(request(exchange)?.completeness.as_ref()))
        }
        Attribute::Complete(Part::Response) => {
            Value::Bool(is_complete(response(exchange)?.completeness.as_ref()))
        }
        Attribute::Body(Part::Request, field) => body(field, request(exchange)?.body.as_ref())?,
        Attribute::Body(Part::Response, field) => body(field, response(exchange)?.body.as_ref())?,
    })
}

fn column(field: Field, exchange: &Exchange) -> Result<Value<'_>, Unknown> {
    Ok(match field {
        Field::Id => text(&exchange.id),
        Field::Role => text(match exchange.role() {
            Role::Inbound => "inbound",
            Role::Outbound => "outbound",
            Role::Unspecified => "",
        }),
        Field::Time => Value::Timestamp(time::from_proto_timestamp(exchange.time.as_ref().ok_or(Unknown)?)),
        Field::Duration => {
            Value::Duration(time::from_proto_duration(exchange.duration.as_ref().ok_or(Unknown)?))
        }
        Field::Target => text(&exchange.target),
        Field::Node => text(&exchange.node),
        Field::Namespace => text(&exchange.namespace),
        Field::Workload => text(&exchange.workload),
        Field::Pod => text(&exchange.pod),
        Field::Container => text(&exchange.container),
        Field::SourceIp => text(&end(Side::Source, exchange)?.ip),
        Field::SourcePort => Value::Int(end(Side::Source, exchange)?.port.into()),
        Field::DestinationIp => text(&end(Side::Destination, exchange)?.ip),
        Field::DestinationPort => Value::Int(end(Side::Destination, exchange)?.port.into()),
        Field::Method => text(&request(exchange)?.method),
        Field::Scheme => text(&request(exchange)?.scheme),
        Field::Host => text(&request(exchange)?.host),
        Field::Path => text(&request(exchange)?.path),
        Field::Query => text(&request(exchange)?.query),
        Field::Status => Value::Int(response(exchange)?.status.into()),
    })
}

fn text(text: &str) -> Value<'_> {
    Value::String(Cow::Borrowed(text))
}

fn request(exchange: &Exchange) -> Result<&Request, Unknown> {
    exchange.request.as_ref().ok_or(Unknown)
}

fn response(exchange: &Exchange) -> Result<&Response, Unknown> {
    exchange.response.as_ref().ok_or(Unknown)
}

fn end(side: Side, exchange: &Exchange) -> Result<&Endpoint, Unknown> {
    match side {
        Side::Source => exchange.source.as_ref().ok_or(Unknown),
        Side::Destination => exchange.destination.as_ref().ok_or(Unknown),
    }
}

fn is_complete(completeness: Option<&Completeness>) -> bool {
    completeness.is_some_and(|completeness| completeness.state() == State::Complete)
}

/// A field of a body. A message without a body has an empty text; one whose body was dropped has none.
fn body(field: BodyField, body: Option<&Body>) -> Result<Value<'_>, Unknown> {
    let Some(body) = body else {
        return Ok(match field {
            BodyField::Text | BodyField::DecodedFrom | BodyField::Dropped => text(""),
            BodyField::Bytes => Value::Bytes(Cow::Borrowed(&[])),
            BodyField::Size => Value::Int(0),
        });
    };
    Ok(match field {
        BodyField::Size => Value::Int(i64::try_from(body.size).unwrap_or(i64::MAX)),
        BodyField::DecodedFrom => text(&body.decoded_from),
        BodyField::Dropped => text(&body.dropped),
        BodyField::Text | BodyField::Bytes if !body.dropped.is_empty() => return Err(Unknown),
        BodyField::Text => match &body.content {
            Some(Content::Text(content)) => text(content),
            Some(Content::Binary(_)) => return Err(Unknown),
            None => text(""),
        },
        BodyField::Bytes => Value::Bytes(Cow::Borrowed(match &body.content {
            Some(Content::Text(content)) => content.as_bytes(),
            Some(Content::Binary(content)) => content,
            None => &[],
        })),
    })
}
