//! Bodies as JSON documents: parsed when a condition first reads them, once for an exchange.

use std::{borrow::Cow, cell::OnceCell};

use serde_json::Value as Json;

use super::{Unknown, Value};
use crate::view::{Part, View};

/// Longest body that is parsed: a document takes many times its text.
pub(super) const MAX_BYTES: usize = 1 << 20;
/// Parsing takes as long as going through the text so many times.
pub(super) const PARSE_FACTOR: usize = 4;

/// The documents of an exchange.
#[derive(Debug, Default)]
pub(super) struct Documents {
    request: OnceCell<Option<Json>>,
    response: OnceCell<Option<Json>>,
}

impl Documents {
    fn cell(&self, part: Part) -> &OnceCell<Option<Json>> {
        match part {
            Part::Request => &self.request,
            Part::Response => &self.response,
        }
    }

    /// Bytes that [`Self::get`] would parse.
    pub(super) fn unparsed_bytes(&self, part: Part, exchange: &dyn View) -> usize {
        if self.cell(part).get().is_some() {
            return 0;
        }
        content(part, exchange).map_or(0, <[u8]>::len)
    }

    /// The body's document; unknown where it is none, or not whole.
    pub(super) fn get(&self, part: Part, exchange: &dyn View) -> Result<&Json, Unknown> {
        let parse = || {
            let content = content(part, exchange).filter(|content| content.len() <= MAX_BYTES)?;
            // Nesting is limited by the parser.
            serde_json::from_slice(content).ok()
        };
        self.cell(part).get_or_init(parse).as_ref().ok_or(Unknown)
    }
}

fn content(part: Part, exchange: &dyn View) -> Option<&[u8]> {
    let body = exchange.message(part)?.body?;
    body.dropped.is_empty().then_some(body.content)
}

/// The member of that name, or the element of that index.
pub(super) fn at<'a>(json: &'a Json, key: &Value<'_>) -> Result<Value<'a>, Unknown> {
    let found = match key {
        Value::String(name) => json.get(name.as_ref()),
        Value::Int(index) => usize::try_from(*index).ok().and_then(|index| json.get(index)),
        _ => None,
    };
    found.map(Value::Json).ok_or(Unknown)
}

/// What a loop goes over: an array's elements, an object's names.
pub(super) fn items(json: &Json) -> Result<Vec<Value<'_>>, Unknown> {
    match json {
        Json::Array(elements) => Ok(elements.iter().map(Value::Json).collect()),
        Json::Object(members) => {
            Ok(members.keys().map(|name| Value::String(Cow::Borrowed(name.as_str()))).collect())
        }
        _ => Err(Unknown),
    }
}

impl<'a> Value<'a> {
    /// A JSON value that is a string, a number or a bool, as that; anything else as it is.
    pub(crate) fn plain(self) -> Self {
        let Self::Json(json) = self else { return self };
        match json {
            Json::Bool(value) => Self::Bool(*value),
            Json::String(text) => Self::String(Cow::Borrowed(text)),
            Json::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(int), _) => Self::Int(int),
                (None, Some(double)) => Self::Double(double),
                (None, None) => self,
            },
            Json::Null | Json::Array(_) | Json::Object(_) => self,
        }
    }
}
