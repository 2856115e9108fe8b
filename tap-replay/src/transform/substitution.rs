//! Recorded values and what stands for them at the target: wherever a later request sends the one, it sends the
//! other.
//!
//! A value is replaced where it stands whole: `17` is not looked for in `2017`. All are looked for at once, the
//! longest first, so that nothing is replaced twice.

use std::{borrow::Cow, cell::OnceCell, collections::BTreeMap};

use aho_corasick::{AhoCorasick, MatchKind};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use serde_json::Value;

use super::place::scalar;
use crate::request::Draft;

/// In one session. The first ones stay.
const MAX_VALUES: usize = 512;
const MAX_VALUE_BYTES: usize = 8 * 1024;
/// Shorter values are parts of others too easily.
const DISTINCT_BYTES: usize = 8;
/// Everything but what RFC 3986 calls unreserved.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The values of one session.
#[derive(Default)]
pub(crate) struct Substitution {
    /// In every way of writing: as it is, in a URL, in a JSON string.
    anywhere: BTreeMap<String, String>,
    /// Found by correlation, and short: only as a whole segment of a path, value of a query, or value of a JSON
    /// body under one of the names.
    whole: BTreeMap<String, Named>,
    /// Made when it is needed: an answer may hold many values.
    matcher: OnceCell<Option<(AhoCorasick, Vec<String>)>>,
}

/// A value that is looked for where a name speaks for it.
#[derive(Debug, Default)]
struct Named {
    live: String,
    /// What it is called, or belongs to: of `{"cart": {"id": 17}}`, `id` and `cart`; in lower case.
    names: Vec<String>,
}

impl std::fmt::Debug for Substitution {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Substitution({} values)", self.anywhere.len() + self.whole.len())
    }
}

impl Substitution {
    pub(crate) fn is_empty(&self) -> bool {
        self.anywhere.is_empty() && self.whole.is_empty()
    }

    /// `live` stands for `recorded` from here on: somebody has said so.
    pub(super) fn add(&mut self, recorded: &str, live: &str) {
        if !fits(recorded, live) || !has_room(&self.anywhere, recorded) {
            return;
        }
        if recorded == live {
            if self.anywhere.remove(recorded).is_none() {
                return;
            }
        } else {
            self.anywhere.insert(recorded.to_owned(), live.to_owned());
        }
        self.matcher = OnceCell::new();
    }

    /// As [`Self::add`], found by correlation under these names.
    pub(super) fn add_found(&mut self, recorded: &str, live: &str, names: &[&str]) {
        if recorded.len() >= DISTINCT_BYTES {
            return self.add(recorded, live);
        }
        if fits(recorded, live) && has_room(&self.whole, recorded) {
            let names = names.iter().map(|name| name.to_ascii_lowercase()).collect();
            self.whole.insert(recorded.to_owned(), Named { live: live.to_owned(), names });
        }
    }

    fn matcher(&self) -> Option<(AhoCorasick, Vec<String>)> {
        let mut pairs: BTreeMap<String, String> = BTreeMap::new();
        for (recorded, live) in &self.anywhere {
            for write in [in_url, in_json] {
                pairs.insert(write(recorded), write(live));
            }
        }
        // As it is wins over another value's other writing.
        pairs.extend(self.anywhere.iter().map(|(recorded, live)| (recorded.clone(), live.clone())));
        let (patterns, replacements): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        let matcher = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&patterns);
        // Patterns of these sizes always fit.
        matcher.ok().filter(|_| !patterns.is_empty()).map(|matcher| (matcher, replacements))
    }

    /// Changes all parts of a request but its method and host.
    pub(super) fn put_into(&self, draft: &mut Draft<'_>) {
        if self.is_empty() {
            return;
        }
        for text in [&mut draft.path, &mut draft.query] {
            if let Some(replaced) = self.replace(text) {
                *text = Cow::Owned(replaced);
            }
        }
        if !self.whole.is_empty() {
            let path: Vec<_> = draft.path.split('/').map(|segment| self.whole_of(segment)).collect();
            draft.path = Cow::Owned(path.join("/"));
            let query: Vec<_> = draft
                .query
                .split('&')
                .map(|pair| match pair.split_once('=') {
                    Some((name, value)) => format!("{name}={}", self.whole_of(value)),
                    None => pair.to_owned(),
                })
                .collect();
            draft.query = Cow::Owned(query.join("&"));
        }
        for (_, value) in &mut draft.headers {
            if let Some(replaced) = std::str::from_utf8(value).ok().and_then(|value| self.replace(value)) {
                *value = Cow::Owned(replaced.into_bytes());
            }
        }
        if let Some(replaced) = std::str::from_utf8(&draft.body).ok().and_then(|body| self.replace(body)) {
            draft.body = Cow::Owned(replaced.into_bytes());
        }
        if !self.whole.is_empty()
            && let Ok(mut json) = serde_json::from_slice::<Value>(&draft.body)
            && self.put_into_json("", &mut json)
        {
            draft.body = Cow::Owned(json.to_string().into_bytes());
        }
    }

    fn whole_of<'a>(&'a self, text: &'a str) -> &'a str {
        self.whole.get(text).map_or(text, |named| &named.live)
    }

    /// Changes values under names that speak for them; returns whether there were any. As deep as the parser lets
    /// a document be.
    fn put_into_json(&self, name: &str, json: &mut Value) -> bool {
        match json {
            Value::Object(fields) => fields
                .iter_mut()
                .fold(false, |changed, (name, value)| self.put_into_json(name, value) | changed),
            Value::Array(items) => {
                items.iter_mut().fold(false, |changed, item| self.put_into_json(name, item) | changed)
            }
            Value::String(_) | Value::Number(_) => {
                let Some(named) = scalar(json).and_then(|text| self.whole.get(&text)) else { return false };
                let lower = name.to_ascii_lowercase();
                if !named.names.iter().any(|known| lower.starts_with(known) || lower.ends_with(known)) {
                    return false;
                }
                *json = match (&*json, named.live.parse::<serde_json::Number>()) {
                    (Value::Number(_), Ok(number)) => Value::Number(number),
                    _ => Value::String(named.live.clone()),
                };
                true
            }
            Value::Null | Value::Bool(_) => false,
        }
    }

    /// `text` with the target's values, if it has any recorded one.
    pub(crate) fn replace(&self, text: &str) -> Option<String> {
        let (matcher, replacements) = self.matcher.get_or_init(|| self.matcher()).as_ref()?;
        let mut replaced = String::new();
        let mut taken = 0;
        for found in matcher.find_iter(text) {
            if !stands_alone(text.as_bytes(), found.start(), found.end()) {
                continue;
            }
            replaced.push_str(&text[taken..found.start()]);
            replaced.push_str(&replacements[found.pattern().as_usize()]);
            taken = found.end();
        }
        (taken > 0).then(|| replaced + &text[taken..])
    }
}

fn fits(recorded: &str, live: &str) -> bool {
    !recorded.is_empty() && recorded.len() <= MAX_VALUE_BYTES && live.len() <= MAX_VALUE_BYTES
}

fn has_room<T>(values: &BTreeMap<String, T>, recorded: &str) -> bool {
    values.len() < MAX_VALUES || values.contains_key(recorded)
}

/// Whether what lies between is not a part of a longer word.
fn stands_alone(text: &[u8], start: usize, end: usize) -> bool {
    let short = end - start < DISTINCT_BYTES;
    let is_word = |byte: u8| {
        byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80 || (short && b"-.".contains(&byte))
    };
    let joined =
        |inside: u8, outside: Option<&u8>| is_word(inside) && outside.is_some_and(|&byte| is_word(byte));
    // "%2F17": what ends an escape is no word before it.
    let escape =
        start >= 3 && text[start - 3] == b'%' && text[start - 2..start].iter().all(u8::is_ascii_hexdigit);
    let before = start.checked_sub(1).and_then(|before| text.get(before)).filter(|_| !escape);
    !joined(text[start], before) && !joined(text[end - 1], text.get(end))
}

fn in_url(value: &str) -> String {
    utf8_percent_encode(value, RESERVED).to_string()
}

fn in_json(value: &str) -> String {
    let quoted = Value::from(value).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn substitution(pairs: &[(&str, &str)]) -> Substitution {
        let mut substitution = Substitution::default();
        for (recorded, live) in pairs {
            substitution.add(recorded, live);
        }
        substitution
    }

    #[test]
    fn a_value_is_replaced_where_it_stands_whole() {
        let substitution = substitution(&[("17", "42"), ("tok/en+1", "a b"), ("x", "y")]);
        for (text, replaced) in [
            ("/cart/17/items", Some("/cart/42/items")),
            ("2017 17a 3.17 17-1", None),
            ("id=17&q=tok%2Fen%2B1", Some("id=42&q=a%20b")),
            ("%2F17%2F", Some("%2F42%2F")),
            (r#"{"id":17,"t":"tok/en+1"}"#, Some(r#"{"id":42,"t":"a b"}"#)),
            ("é17", None),
            ("(x)", Some("(y)")),
            ("", None),
        ] {
            assert_eq!(substitution.replace(text).as_deref(), replaced, "{text}");
        }
    }

    #[test]
    fn nothing_is_replaced_twice() {
        let swapped = substitution(&[("one", "two"), ("two", "one")]);
        assert_eq!(swapped.replace("one two").unwrap(), "two one");
    }

    #[test]
    fn strings_of_json_stay_strings() {
        let substitution = substitution(&[("say \"hi\"", "a\\b")]);
        assert_eq!(substitution.replace(r#"["say \"hi\""]"#).unwrap(), r#"["a\\b"]"#);
    }

    #[test]
    fn a_session_can_not_grow_without_end() {
        let mut substitution = Substitution::default();
        for index in 0..MAX_VALUES + 10 {
            substitution.add_found(&format!("value-{index}"), "live", &[]);
            substitution.add_found(&format!("{index}"), "live", &[]);
        }
        substitution.add(&"x".repeat(MAX_VALUE_BYTES + 1), "live");
        assert_eq!((substitution.anywhere.len(), substitution.whole.len()), (MAX_VALUES, MAX_VALUES));
    }
}
