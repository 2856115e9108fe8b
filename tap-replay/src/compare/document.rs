//! JSON as a tree that borrows from its text, keeps repeated names, and is bounded in nodes.

use std::{borrow::Cow, cell::Cell, fmt, hash::Hash as _, hash::Hasher};

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::dynamic::Class;

/// Values of one document. serde_json itself bounds the depth, at 128.
const MAX_NODES: usize = 200_000;

/// A JSON value. `Debug` would show what is in it: there is none.
pub(super) enum Json<'a> {
    Null,
    Bool(bool),
    Number(Number),
    Text(Cow<'a, str>),
    Array(Vec<Self>),
    Object(Vec<(Cow<'a, str>, Self)>),
}

#[derive(Clone, Copy)]
pub(super) enum Number {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
}

impl<'a> Json<'a> {
    /// The document; `None` where it is not JSON, or too large to be looked at.
    pub(super) fn parse(text: &'a [u8]) -> Option<Self> {
        let nodes = Cell::new(MAX_NODES);
        let mut deserializer = serde_json::Deserializer::from_slice(text);
        let json = Seed(&nodes).deserialize(&mut deserializer).ok()?;
        deserializer.end().is_ok().then_some(json)
    }

    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "boolean",
            Self::Number(_) => "number",
            Self::Text(_) => "string",
            Self::Array(_) => "array",
            Self::Object(_) => "object",
        }
    }

    /// As it is shown in an example.
    pub(super) fn shown(&self) -> Cow<'_, str> {
        match self {
            Self::Null => "null".into(),
            Self::Bool(value) => if *value { "true" } else { "false" }.into(),
            Self::Number(number) => number.to_string().into(),
            Self::Text(text) => text.as_ref().into(),
            Self::Array(items) => format!("array of {}", items.len()).into(),
            Self::Object(members) => format!("object of {}", members.len()).into(),
        }
    }

    /// Equal for values that are equal but for what is new with every answer and for the order of members.
    pub(super) fn hash(&self, state: &mut impl Hasher) {
        match self {
            Self::Null => 0_u8.hash(state),
            Self::Bool(value) => value.hash(state),
            Self::Number(number) => number.as_f64().to_bits().hash(state),
            Self::Text(text) => match Class::of(text) {
                Some(class) => class.as_str().hash(state),
                None => text.hash(state),
            },
            Self::Array(items) => {
                items.len().hash(state);
                items.iter().for_each(|item| item.hash(state));
            }
            Self::Object(members) => {
                let sum = members.iter().fold(0_u64, |sum, (name, value)| {
                    let mut member = std::hash::DefaultHasher::new();
                    name.hash(&mut member);
                    value.hash(&mut member);
                    sum.wrapping_add(member.finish())
                });
                sum.hash(state);
            }
        }
    }

    pub(super) fn digest(&self) -> u64 {
        let mut hasher = std::hash::DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }

    pub(super) fn member(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(members) => members.iter().find(|(known, _)| known == name).map(|(_, value)| value),
            _ => None,
        }
    }
}

impl Number {
    pub(super) fn as_f64(self) -> f64 {
        match self {
            Self::Unsigned(number) => number as f64,
            Self::Signed(number) => number as f64,
            Self::Float(number) => number,
        }
    }

    pub(super) fn as_i64(self) -> Option<i64> {
        match self {
            Self::Unsigned(number) => i64::try_from(number).ok(),
            Self::Signed(number) => Some(number),
            Self::Float(_) => None,
        }
    }

    pub(super) fn equals(self, other: Self) -> bool {
        match (self, other) {
            (Self::Unsigned(left), Self::Unsigned(right)) => left == right,
            (Self::Signed(left), Self::Signed(right)) => left == right,
            (Self::Unsigned(_), Self::Signed(_)) | (Self::Signed(_), Self::Unsigned(_)) => false,
            (left, right) => left.as_f64() == right.as_f64(),
        }
    }
}

impl fmt::Display for Number {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsigned(number) => number.fmt(formatter),
            Self::Signed(number) => number.fmt(formatter),
            Self::Float(number) => number.fmt(formatter),
        }
    }
}

/// Numbers that no `i64`, `u64` or `f64` holds exactly: written with 17 digits and more. They are compared as
/// they are written.
pub(super) fn long_numbers(text: &[u8]) -> Vec<&[u8]> {
    let mut numbers = Vec::new();
    let (mut in_string, mut at) = (false, 0);
    while let Some(&byte) = text.get(at) {
        match byte {
            b'\\' if in_string => at += 1,
            b'"' => in_string = !in_string,
            b'-' | b'0'..=b'9' if !in_string => {
                let length = text[at..]
                    .iter()
                    .take_while(|byte| byte.is_ascii_digit() || b"+-.eE".contains(byte))
                    .count();
                let number = &text[at..at + length];
                let digits = number.iter().filter(|byte| byte.is_ascii_digit()).count();
                let fits = std::str::from_utf8(number)
                    .is_ok_and(|number| number.parse::<i64>().is_ok() || number.parse::<u64>().is_ok());
                if digits >= 17 && !fits {
                    numbers.push(number);
                }
                at += length;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    numbers.sort_unstable();
    numbers
}

#[derive(Clone, Copy)]
struct Seed<'n>(&'n Cell<usize>);

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Json<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json<'de>, D::Error> {
        let left = self.0.get().checked_sub(1).ok_or_else(|| D::Error::custom("too many values"))?;
        self.0.set(left);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Json<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json<'de>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json<'de>, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json<'de>, E> {
        Ok(Json::Number(Number::Unsigned(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json<'de>, E> {
        // As serde_json does: what is not negative is unsigned.
        Ok(Json::Number(u64::try_from(value).map_or(Number::Signed(value), Number::Unsigned)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json<'de>, E> {
        Ok(Json::Number(Number::Float(value)))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Json<'de>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Json::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Json<'de>, A::Error> {
        let mut members = Vec::new();
        while let Some(name) = access.next_key_seed(Name)? {
            members.push((name, access.next_value_seed(self)?));
        }
        Ok(Json::Object(members))
    }
}

/// Reads a name, borrowed where it has no escapes.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(value.to_owned()))
    }
}
