//! Where a value stands in a message.

use http::header;
use regex::Regex;
use serde_json::Value;
use tap_proto::v1::{Exchange, body::Content};

use crate::answer::Answer;

/// Longer values are no tokens or ids.
const MAX_VALUE_BYTES: usize = 8 * 1024;

/// A place in an answer.
#[derive(Debug)]
pub(super) enum Place {
    /// By the names and numbers on the way.
    Json(Vec<String>),
    Header(String),
    Cookie(String),
    Regex(Regex),
}

impl Place {
    pub(super) fn of_answer(&self, answer: &Answer) -> Option<String> {
        let headers =
            answer.headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
        self.find(headers, || std::str::from_utf8(&answer.body).ok())
    }

    pub(super) fn of_recorded(&self, exchange: &Exchange) -> Option<String> {
        let response = exchange.response.as_ref()?;
        let headers = response.headers.iter().map(|header| (header.name.as_str(), header.value.as_str()));
        self.find(headers, || recorded_body(exchange))
    }

    fn find<'a>(
        &self,
        mut headers: impl Iterator<Item = (&'a str, &'a str)>,
        body: impl FnOnce() -> Option<&'a str>,
    ) -> Option<String> {
        let found = match self {
            Self::Header(wanted) => {
                headers.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.to_owned())
            }
            Self::Cookie(wanted) => headers
                .filter(|(name, _)| name.eq_ignore_ascii_case(header::SET_COOKIE.as_str()))
                .filter_map(|(_, cookie)| cookie.split(';').next()?.split_once('='))
                .find(|(name, _)| name.trim() == wanted)
                .map(|(_, value)| value.trim().to_owned()),
            Self::Json(path) => {
                let json: Value = serde_json::from_str(body()?).ok()?;
                scalar(path.iter().try_fold(&json, |value, name| child(value, name))?)
            }
            Self::Regex(pattern) => {
                let captures = pattern.captures(body()?)?;
                captures.get(1).or_else(|| captures.get(0)).map(|found| found.as_str().to_owned())
            }
        };
        found.filter(|value| value.len() <= MAX_VALUE_BYTES)
    }
}

/// The text of the recorded answer's body.
pub(super) fn recorded_body(exchange: &Exchange) -> Option<&str> {
    match exchange.response.as_ref()?.body.as_ref()?.content.as_ref()? {
        Content::Text(text) => Some(text),
        Content::Binary(bytes) => std::str::from_utf8(bytes).ok(),
    }
}

/// A string, number or truth as it would stand in a URL.
pub(super) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn child<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    match value {
        Value::Object(fields) => fields.get(name),
        Value::Array(items) => items.get(name.parse::<usize>().ok()?),
        _ => None,
    }
}

/// The way that `$.a.b[0]` or `/a/b/0` (RFC 6901) goes; `$` is the whole.
pub(super) fn path(text: &str) -> Option<Vec<String>> {
    if let Some(pointer) = text.strip_prefix('/') {
        return Some(pointer.split('/').map(|part| part.replace("~1", "/").replace("~0", "~")).collect());
    }
    let mut rest = text.strip_prefix('$')?;
    let mut path = Vec::new();
    while !rest.is_empty() {
        if let Some(index) = rest.strip_prefix('[') {
            let (index, after) = index.split_once(']')?;
            let quoted = index.strip_prefix('\'').and_then(|name| name.strip_suffix('\''));
            if quoted.is_none() && index.parse::<usize>().is_err() {
                return None;
            }
            path.push(quoted.unwrap_or(index).to_owned());
            rest = after;
        } else {
            let name = rest.strip_prefix('.')?;
            let end = name.find(['.', '[']).unwrap_or(name.len());
            if end == 0 {
                return None;
            }
            path.push(name[..end].to_owned());
            rest = &name[end..];
        }
    }
    Some(path)
}

/// Puts `value` at `path`; returns whether the way there exists.
pub(super) fn set(json: &mut Value, path: &[String], value: Value) -> bool {
    let Some((last, way)) = path.split_last() else {
        *json = value;
        return true;
    };
    let mut parent = json;
    for name in way {
        let next = match parent {
            Value::Object(fields) => fields.get_mut(name),
            Value::Array(items) => name.parse::<usize>().ok().and_then(|index| items.get_mut(index)),
            _ => None,
        };
        let Some(next) = next else { return false };
        parent = next;
    }
    match parent {
        Value::Object(fields) => {
            fields.insert(last.clone(), value);
            true
        }
        Value::Array(items) => {
            let item = last.parse::<usize>().ok().and_then(|index| items.get_mut(index));
            item.map(|item| *item = value).is_some()
        }
        _ => false,
    }
}
