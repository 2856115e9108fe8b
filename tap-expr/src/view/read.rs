//! Reads attributes through a view: borrows what it can, and touches only what is asked for.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use super::{BodyView, Fields, MessageView, Part, Scalar, View};
use crate::{
    eval::{Unknown, Value},
    predicate::Field,
    schema::{Attribute, BodyField, PeerName},
};

/// A map of the exchange.
#[derive(Clone, Copy)]
pub(crate) enum Map<'a> {
    /// Keys without regard to case; the values of a repeated name joined by ", ".
    Headers(&'a dyn Fields),
    Labels(&'a BTreeMap<String, String>),
}

impl<'a> Map<'a> {
    pub(crate) fn get(self, key: &str) -> Option<Cow<'a, str>> {
        match self {
            Self::Labels(labels) => labels.get(key).map(|value| Cow::Borrowed(value.as_str())),
            Self::Headers(headers) => {
                let mut values = fields(headers)
                    .filter(|(name, _)| name.eq_ignore_ascii_case(key))
                    .map(|(_, value)| value);
                let mut joined = values.next()?;
                for value in values {
                    let joined = joined.to_mut();
                    joined.push_str(", ");
                    joined.push_str(&value);
                }
                Some(joined)
            }
        }
    }

    pub(crate) fn contains(self, key: &str) -> bool {
        match self {
            Self::Labels(labels) => labels.contains_key(key),
            Self::Headers(headers) => fields(headers).any(|(name, _)| name.eq_ignore_ascii_case(key)),
        }
    }

    /// The keys, each once; those of headers in lower case.
    pub(crate) fn keys(self) -> Vec<Cow<'a, str>> {
        match self {
            Self::Labels(labels) => labels.keys().map(|key| Cow::Borrowed(key.as_str())).collect(),
            Self::Headers(headers) => {
                let mut keys: Vec<Cow<'a, str>> =
                    fields(headers).map(|(name, _)| Cow::Owned(name.to_ascii_lowercase())).collect();
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
            Self::Headers(headers) => headers.count(),
        }
    }
}

impl fmt::Debug for Map<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Map({})", self.entries())
    }
}

fn fields<'a>(fields: &'a dyn Fields) -> impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)> {
    (0..fields.count()).map(|index| fields.at(index))
}

/// The value of an attribute; unknown where what holds it is absent.
pub(crate) fn read(attribute: Attribute, exchange: &dyn View) -> Result<Value<'_>, Unknown> {
    let message = |part| exchange.message(part).ok_or(Unknown);
    Ok(match attribute {
        Attribute::Column(field) => match (field, exchange.field(field).ok_or(Unknown)?) {
            (_, Scalar::Text(text)) => Value::String(text),
            (_, Scalar::Int(int)) => Value::Int(int),
            (Field::Duration, Scalar::Nanos(nanos)) => Value::Duration(nanos),
            (_, Scalar::Nanos(nanos)) => Value::Timestamp(nanos),
        },
        Attribute::ExchangeComplete => {
            let complete = |part| exchange.message(part).is_some_and(|message| message.complete);
            Value::Bool(complete(Part::Request) && complete(Part::Response))
        }
        // Beyond what an int holds, all are the largest: equal to no connection that exists.
        Attribute::Flow => Value::Int(i64::try_from(exchange.flow().0).unwrap_or(i64::MAX)),
        Attribute::FlowIndex => Value::Int(exchange.flow().1.into()),
        Attribute::Labels => Value::Map(Map::Labels(exchange.labels())),
        Attribute::Peer(side, name) => {
            let names = exchange.peer(side).ok_or(Unknown)?;
            text(match name {
                PeerName::Namespace => names.namespace,
                PeerName::Pod => names.pod,
                PeerName::Service => names.service,
                PeerName::Workload => names.workload,
            })
        }
        Attribute::DestinationHost => match exchange.field(Field::Host).ok_or(Unknown)? {
            Scalar::Text(Cow::Borrowed(host)) => text(without_port(host)),
            Scalar::Text(Cow::Owned(host)) => Value::String(Cow::Owned(without_port(&host).to_owned())),
            Scalar::Int(_) | Scalar::Nanos(_) => return Err(Unknown),
        },
        Attribute::Version(part) => text(message(part)?.version),
        Attribute::Reason => text(message(Part::Response)?.reason),
        Attribute::Headers(part) => Value::Map(Map::Headers(message(part)?.headers)),
        Attribute::Trailers(part) => Value::Map(Map::Headers(message(part)?.trailers)),
        Attribute::Complete(part) => Value::Bool(message(part)?.complete),
        Attribute::Body(part, field) => body(field, &message(part)?)?,
    })
}

/// `shop` of `shop:8080`, `[::1]` of `[::1]:8080`.
pub fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

fn text(text: &str) -> Value<'_> {
    Value::String(Cow::Borrowed(text))
}

/// A field of a body. A message without a body has an empty text; one whose body was dropped has none.
fn body<'a>(field: BodyField, message: &MessageView<'a>) -> Result<Value<'a>, Unknown> {
    let absent = BodyView { content: &[], size: 0, decoded_from: "", dropped: "" };
    let BodyView { content, size, decoded_from, dropped } = message.body.unwrap_or(absent);
    Ok(match field {
        BodyField::Size => Value::Int(i64::try_from(size).unwrap_or(i64::MAX)),
        BodyField::DecodedFrom => text(decoded_from),
        BodyField::Dropped => text(dropped),
        BodyField::Text | BodyField::Bytes if !dropped.is_empty() => return Err(Unknown),
        // Parsed once for an exchange, by the evaluator.
        BodyField::Json => return Err(Unknown),
        // Binary content has no text.
        BodyField::Text => text(std::str::from_utf8(content).map_err(|_| Unknown)?),
        BodyField::Bytes => Value::Bytes(Cow::Borrowed(content)),
    })
}
