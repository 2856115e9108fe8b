//! Bodies of requests as they are compared: structured, as bytes, or not known.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::mask::{Active, Child, Mask};

/// Places in differences are cut at this length: names in them come from traffic.
const MAX_PLACE_BYTES: usize = 160;

/// Tells bodies apart; collisions don't happen.
pub(super) type Digest = [u8; 32];

/// What a body is.
#[derive(Clone)]
pub(super) enum Shape {
    /// JSON, or a form as an object of its fields; a repeated one is an array.
    Structured(Value),
    Bytes(Bytes),
    /// Recorded without its content, or with more of it redacted than can be said by field.
    Unknown,
}

/// Where two requests differ, and how. Never a value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Difference {
    /// `method`, `host`, `path`, `query.NAME`, `header.NAME`, `body`, `body.$.amount`.
    pub place: String,
    pub what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Both have it, and it is not the same.
    Differs,
    /// The recorded request has it.
    Missing,
    /// The recorded request doesn't have it.
    NotRecorded,
    /// Both have it, of different types.
    Type,
    Length,
    Order,
}

impl Shape {
    /// The shape of `content`, which is declared as `content_type` or not at all.
    pub(super) fn of(content: Bytes, content_type: Option<&str>) -> Self {
        let content_type = content_type.unwrap_or_default().to_ascii_lowercase();
        let kind = content_type.split(';').next().unwrap_or_default().trim();
        let looks_like_json = || matches!(content.trim_ascii_start().first(), Some(b'{' | b'['));
        if kind == "application/x-www-form-urlencoded" {
            return Self::Structured(form(&content));
        }
        if (kind.ends_with("json") || kind.is_empty() && looks_like_json())
            && let Ok(value) = serde_json::from_slice(&content)
        {
            return Self::Structured(value);
        }
        if kind.starts_with("multipart/")
            && let Some((_, parameter)) = content_type.split_once("boundary=")
        {
            let length = parameter.trim_start_matches('"').find(['"', ';']).unwrap_or(parameter.len());
            // From the original: boundaries are told apart by case, and of no meaning to the service.
            return Self::Bytes(without_boundary(&content, length));
        }
        Self::Bytes(content)
    }

    pub(super) fn is_known(&self) -> bool {
        !matches!(self, Self::Unknown)
    }

    /// Of all but what `mask` leaves out; the order of names in an object does not matter.
    pub(super) fn digest(&self, mask: &Mask) -> Digest {
        let mut hash = Sha256::new();
        match self {
            Self::Structured(value) => {
                hash.update(b"s");
                write(value, &mask.active(), &mut hash);
            }
            Self::Bytes(bytes) => {
                hash.update(b"b");
                hash.update(bytes);
            }
            Self::Unknown => hash.update(b"u"),
        }
        hash.finalize().into()
    }

    /// Of names and types alone.
    pub(super) fn signature(&self) -> Digest {
        match self {
            Self::Structured(value) => signature(value),
            Self::Bytes(bytes) => Sha256::digest([b'b', u8::from(bytes.is_empty())]).into(),
            Self::Unknown => Sha256::digest(b"u").into(),
        }
    }

    /// How many values it says.
    pub(super) fn fields(&self) -> usize {
        fn count(value: &Value) -> usize {
            match value {
                Value::Object(fields) => fields.values().map(count).sum::<usize>() + 1,
                Value::Array(elements) => elements.iter().map(count).sum::<usize>() + 1,
                _ => 1,
            }
        }
        match self {
            Self::Structured(value) => count(value),
            Self::Bytes(_) | Self::Unknown => 0,
        }
    }

    /// Where `sent` differs from this recorded body, `cap` places at most. What only `sent` has counts with
    /// `extras`.
    pub(super) fn differences(&self, sent: &Self, mask: &Mask, extras: bool, cap: usize) -> Vec<Difference> {
        let mut comparison = Comparison { extras, cap, place: "body.$".to_owned(), found: Vec::new() };
        match (self, sent) {
            (Self::Unknown, _) | (_, Self::Unknown) => {}
            (Self::Structured(recorded), Self::Structured(sent)) => {
                comparison.compare(recorded, sent, &mask.active());
            }
            (Self::Bytes(recorded), Self::Bytes(sent)) if recorded == sent => {}
            (recorded, sent) => {
                let is_empty = |shape: &Self| matches!(shape, Self::Bytes(bytes) if bytes.is_empty());
                let what = match (is_empty(recorded), is_empty(sent)) {
                    (false, true) => What::Missing,
                    (true, false) => What::NotRecorded,
                    _ if std::mem::discriminant(recorded) != std::mem::discriminant(sent) => What::Type,
                    _ => What::Differs,
                };
                comparison.place = "body".to_owned();
                comparison.found(what);
            }
        }
        comparison.found
    }
}

impl std::fmt::Debug for Shape {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Structured(_) => "Structured",
            Self::Bytes(_) => "Bytes",
            Self::Unknown => "Unknown",
        })
    }
}

/// A comparison of two structured bodies under way.
struct Comparison {
    extras: bool,
    cap: usize,
    place: String,
    found: Vec<Difference>,
}

impl Comparison {
    fn found(&mut self, what: What) {
        if self.found.len() < self.cap {
            let mut place = self.place.clone();
            if place.len() > MAX_PLACE_BYTES {
                let end = (0..=MAX_PLACE_BYTES).rev().find(|end| place.is_char_boundary(*end)).unwrap_or(0);
                place.truncate(end);
                place.push('…');
            }
            self.found.push(Difference { place, what });
        }
    }

    fn at(&mut self, child: Child<'_>, then: impl FnOnce(&mut Self)) {
        let above = self.place.len();
        match child {
            Child::Name(name) => {
                self.place.push('.');
                self.place.push_str(name);
            }
            Child::Element => self.place.push_str("[]"),
        }
        then(self);
        self.place.truncate(above);
    }

    fn compare(&mut self, recorded: &Value, sent: &Value, active: &Active<'_>) {
        if self.found.len() >= self.cap {
            return;
        }
        match (recorded, sent) {
            (Value::Object(recorded), Value::Object(sent)) => {
                for (name, recorded) in recorded {
                    let child = Child::Name(name);
                    let Some(below) = active.descend(child) else { continue };
                    self.at(child, |comparison| match sent.get(name) {
                        Some(sent) => comparison.compare(recorded, sent, &below),
                        None => comparison.found(What::Missing),
                    });
                }
                if self.extras {
                    for name in sent.keys().filter(|name| !recorded.contains_key(*name)) {
                        let child = Child::Name(name);
                        if active.descend(child).is_some() {
                            self.at(child, |comparison| comparison.found(What::NotRecorded));
                        }
                    }
                }
            }
            (Value::Array(recorded), Value::Array(sent)) => {
                let Some(below) = active.descend(Child::Element) else { return };
                if recorded.len() != sent.len() {
                    return self.found(What::Length);
                }
                for (recorded, sent) in recorded.iter().zip(sent) {
                    self.at(Child::Element, |comparison| comparison.compare(recorded, sent, &below));
                }
            }
            (Value::Number(recorded), Value::Number(sent)) if number(recorded) == number(sent) => {}
            (recorded, sent) if recorded == sent => {}
            (recorded, sent) => {
                let same_type = std::mem::discriminant(recorded) == std::mem::discriminant(sent);
                self.found(if same_type { What::Differs } else { What::Type });
            }
        }
    }
}

/// The pairs as an object.
fn form(content: &[u8]) -> Value {
    let mut fields = Map::new();
    for (name, value) in url::form_urlencoded::parse(content) {
        let value = Value::String(value.into_owned());
        match fields.get_mut(&*name) {
            None => {
                fields.insert(name.into_owned(), value);
            }
            Some(Value::Array(values)) => values.push(value),
            Some(first) => *first = Value::Array(vec![first.take(), value]),
        }
    }
    Value::Object(fields)
}

/// A multipart body with its boundary, the first line, taken out wherever it stands.
fn without_boundary(content: &Bytes, length: usize) -> Bytes {
    let line = content.iter().position(|byte| *byte == b'\r' || *byte == b'\n').unwrap_or(content.len());
    let delimiter = &content[..line];
    if !delimiter.starts_with(b"--") || delimiter.len() != length + 2 {
        return content.clone();
    }
    let mut rest = &content[..];
    let mut kept = Vec::with_capacity(content.len());
    while !rest.is_empty() {
        if rest.starts_with(delimiter) {
            kept.extend_from_slice(b"--");
            rest = &rest[delimiter.len()..];
        }
        let end = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |end| end + 1);
        kept.extend_from_slice(&rest[..end]);
        rest = &rest[end..];
    }
    kept.into()
}

fn write(value: &Value, active: &Active<'_>, hash: &mut Sha256) {
    match value {
        Value::Null => hash.update(b"n"),
        Value::Bool(bool) => hash.update(if *bool { b"t" } else { b"f" }),
        Value::Number(value) => text(b"d", &number(value), hash),
        Value::String(string) => text(b"s", string, hash),
        Value::Array(elements) => {
            hash.update(b"[");
            match active.descend(Child::Element) {
                Some(below) => elements.iter().for_each(|element| write(element, &below, hash)),
                None => hash.update(b"*"),
            }
            hash.update(b"]");
        }
        Value::Object(fields) => {
            hash.update(b"{");
            for (name, value) in sorted(fields) {
                // A name whose value is not compared need not be there either.
                if let Some(below) = active.descend(Child::Name(name)) {
                    text(b"k", name, hash);
                    write(value, &below, hash);
                }
            }
            hash.update(b"}");
        }
    }
}

fn signature(value: &Value) -> Digest {
    let mut hash = Sha256::new();
    match value {
        Value::Null => hash.update(b"n"),
        Value::Bool(_) => hash.update(b"b"),
        Value::Number(_) => hash.update(b"d"),
        Value::String(_) => hash.update(b"s"),
        Value::Array(elements) => {
            hash.update(b"[");
            // How many there are of each kind does not matter.
            let kinds: BTreeSet<Digest> = elements.iter().map(signature).collect();
            kinds.iter().for_each(|kind| hash.update(kind));
        }
        Value::Object(fields) => {
            hash.update(b"{");
            for (name, value) in sorted(fields) {
                text(b"k", name, &mut hash);
                hash.update(signature(value));
            }
        }
    }
    hash.finalize().into()
}

/// With its length, so that no two sequences of texts are the same bytes.
fn text(tag: &[u8], text: &str, hash: &mut Sha256) {
    hash.update(tag);
    hash.update((text.len() as u64).to_le_bytes());
    hash.update(text);
}

fn sorted(fields: &Map<String, Value>) -> Vec<(&str, &Value)> {
    let mut fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value)).collect();
    fields.sort_unstable_by_key(|(name, _)| *name);
    fields
}

/// The same text for the same number: 1, 1.0 and 1e0.
fn number(number: &serde_json::Number) -> String {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match number.as_f64() {
        Some(float) if float.fract() == 0.0 && float.abs() < EXACT => (float as i64).to_string(),
        _ => number.to_string(),
    }
}

#[cfg(test)]
mod tests;
