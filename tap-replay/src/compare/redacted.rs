//! Which values of a recorded response are not those that the server sent.
//!
//! Redaction put a token in a value's place. Equal tokens stand for equal values, so where the answer holds the
//! very token (it echoes what the request brought, or was redacted with the same key) both are equal. Where it
//! holds something else, nothing follows: such a value is neither equal nor different, and counted as redacted.
//! Its type still counts.

use tap_proto::v1::Redaction;

use super::pattern::{Pattern, Step};

const BODY: &str = "response.body";
const HEADERS: &str = "response.headers.";

/// The redacted places of one response.
#[derive(Debug)]
pub(super) struct Redacted<'a> {
    headers: Vec<&'a str>,
    /// Of a body with places.
    body: Vec<Pattern>,
    /// The whole of something: what was replaced where is not known.
    any_header: bool,
    any_body: bool,
}

impl<'a> Redacted<'a> {
    pub(super) fn of(redactions: &'a [Redaction]) -> Self {
        let mut redacted = Self { headers: Vec::new(), body: Vec::new(), any_header: false, any_body: false };
        for Redaction { place, .. } in redactions {
            if place == "*" {
                // More than could be listed.
                redacted.any_header = true;
                redacted.any_body = true;
            } else if let Some(header) = strip_prefix(place, HEADERS) {
                // A name that looked like data is not told.
                redacted.any_header |= header.starts_with('*');
                redacted.headers.push(header);
            } else if let Some(within) = strip_prefix(place, BODY) {
                match Pattern::parse(within.trim_start_matches('.')) {
                    Ok(pattern) if !place.ends_with('…') => redacted.body.push(pattern),
                    _ => redacted.any_body = true,
                }
            }
        }
        redacted
    }

    /// Whether a header's values, or a part of them, were replaced.
    pub(super) fn header(&self, name: &str) -> bool {
        self.any_header
            || self.headers.iter().any(|header| {
                strip_prefix(header, name).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
            })
    }

    /// Whether the value at this place of the body was replaced, or a part of it.
    pub(super) fn in_body(&self, steps: &[Step<'_>]) -> bool {
        self.any_body
            || self.body.iter().any(|pattern| {
                // What is within a text of the document is told as a place below it.
                pattern.matches(steps) || pattern.is_below(steps)
            })
    }

    pub(super) fn body(&self) -> bool {
        self.any_body || !self.body.is_empty()
    }
}

fn strip_prefix<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let start = text.get(..prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then(|| &text[prefix.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redactions(places: &[&str]) -> Vec<Redaction> {
        places.iter().map(|place| Redaction { place: (*place).to_owned(), ..Redaction::default() }).collect()
    }

    #[test]
    fn places_of_the_response_are_known() {
        let list = redactions(&[
            "request.headers.authorization",
            "response.headers.Set-Cookie.session",
            "response.body.$.users[].email",
            "response.body.$.users[].*",
        ]);
        let redacted = Redacted::of(&list);
        assert!(redacted.header("set-cookie"));
        assert!(
            !redacted.header("authorization") && !redacted.header("set-cookie2") && !redacted.header("set")
        );
        assert!(redacted.in_body(&[Step::Name("users"), Step::Element, Step::Name("email")]));
        assert!(redacted.in_body(&[Step::Name("users"), Step::Element, Step::Name("anything")]));
        assert!(!redacted.in_body(&[Step::Name("total")]));
    }

    #[test]
    fn what_is_not_told_exactly_may_be_anywhere() {
        for place in ["*", "response.body", "response.body.card", "response.body.$.a.b…"] {
            let list = redactions(&[place]);
            assert!(Redacted::of(&list).in_body(&[Step::Name("total")]), "{place}");
        }
        let list = redactions(&["response.headers.*"]);
        assert!(Redacted::of(&list).header("x-a"));
    }
}
