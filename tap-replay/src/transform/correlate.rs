//! Finds by itself which values the target issues: where a recorded answer and the live one differ at one place,
//! the recorded value stands for the live one from here on.
//!
//! Only values that look like issued ones: under a name that says so (`id`, `token`, `csrf` …) or long enough to
//! be no coincidence. Short ones are then replaced only as a whole segment of a path, value of a query, or value
//! under such a name.

use serde_json::Value;
use tap_proto::v1::Exchange;

use super::{
    place::{recorded_body, scalar},
    substitution::Substitution,
};
use crate::answer::Answer;

/// Nested deeper is nobody's id.
const MAX_DEPTH: u32 = 32;
/// Looked at in one answer.
const MAX_VALUES: usize = 2_000;
/// A value of this length under any name.
const LONG: usize = 12;
const NAMES: [&str; 12] =
    ["id", "token", "csrf", "xsrf", "nonce", "key", "uuid", "guid", "code", "session", "ref", "number"];
/// Of headers whose values a client sends back.
const HEADERS: [&str; 6] =
    ["location", "etag", "x-csrf-token", "x-xsrf-token", "x-request-token", "x-session-id"];

pub(super) fn learn(exchange: &Exchange, answer: &Answer, substitution: &mut Substitution) {
    let Some(recorded) = exchange.response.as_ref() else { return };
    for header in &recorded.headers {
        if !HEADERS.iter().any(|name| header.name.eq_ignore_ascii_case(name)) {
            continue;
        }
        let live = answer.headers.get(header.name.as_str()).and_then(|value| value.to_str().ok());
        if let Some(live) = live {
            if header.name.eq_ignore_ascii_case("location") {
                segments(&header.value, live, substitution);
            } else {
                pair(&header.value, live, substitution);
            }
        }
    }
    if answer.truncated {
        return;
    }
    let json = |text: Option<&str>| text.and_then(|text| serde_json::from_str::<Value>(text).ok());
    let recorded = json(recorded_body(exchange));
    let live = json(std::str::from_utf8(&answer.body).ok());
    if let (Some(recorded), Some(live)) = (recorded, live) {
        let mut walk = Walk { left: MAX_VALUES, found: substitution };
        walk.both("", "", &recorded, &live, MAX_DEPTH);
    }
}

/// Through two documents at once.
struct Walk<'a> {
    left: usize,
    found: &'a mut Substitution,
}

impl Walk<'_> {
    fn both(&mut self, parent: &str, name: &str, recorded: &Value, live: &Value, depth: u32) {
        if depth == 0 || self.left == 0 {
            return;
        }
        self.left -= 1;
        match (recorded, live) {
            (Value::Object(recorded), Value::Object(live)) => {
                for (field, recorded) in recorded {
                    if let Some(live) = live.get(field) {
                        self.both(name, field, recorded, live, depth - 1);
                    }
                }
            }
            (Value::Array(recorded), Value::Array(live)) => {
                for (recorded, live) in recorded.iter().zip(live) {
                    self.both(parent, name, recorded, live, depth - 1);
                }
            }
            (Value::String(_), Value::String(_)) | (Value::Number(_), Value::Number(_)) => {
                let (Some(recorded), Some(live)) = (scalar(recorded), scalar(live)) else { return };
                let lower = name.to_ascii_lowercase();
                let issued = NAMES.iter().any(|name| lower.ends_with(name));
                let long = recorded.len() >= LONG && !recorded.contains(char::is_whitespace);
                if recorded != live && (issued || long) {
                    let names: Vec<_> = [parent, name].into_iter().filter(|name| !name.is_empty()).collect();
                    self.found.add_found(&recorded, &live, &names);
                }
            }
            _ => {}
        }
    }
}

/// The parts of a path, one by one: `/carts/17` and `/carts/42` differ in an id.
fn segments(recorded: &str, live: &str, found: &mut Substitution) {
    let (recorded, live): (Vec<_>, Vec<_>) =
        (recorded.split(['/', '?', '&', '=']).collect(), live.split(['/', '?', '&', '=']).collect());
    if recorded.len() == live.len() {
        for (recorded, live) in recorded.into_iter().zip(live) {
            pair(recorded, live, found);
        }
    }
}

fn pair(recorded: &str, live: &str, found: &mut Substitution) {
    if recorded != live {
        found.add_found(recorded, live, &[]);
    }
}
