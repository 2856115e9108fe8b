//! An answer against the recorded response, as it streams in: nothing of the answer is kept.
//!
//! Compared are the status, `Content-Type` and the body's bytes. What was recorded incompletely, dropped or
//! redacted can't be compared; the report counts it as such, so that "matched" never stands for "not looked
//! at".

use bytes::Bytes;
use tap_proto::v1::{self, Exchange, body::Content, completeness::State};

use crate::connections::Head;

pub(crate) const RESPONSE_MISSING: &str = "response_missing";
const BODY_INCOMPLETE: &str = "body_incomplete";
const BODY_DROPPED: &str = "body_dropped";
const BODY_REDACTED: &str = "body_redacted";
const BODY_ENCODED: &str = "body_encoded";

const STATUS: &str = "status";
const CONTENT_TYPE: &str = "header.content-type";
const BODY: &str = "body";

/// What an answer should be.
#[derive(Debug)]
pub(crate) enum Expected {
    /// No response was recorded.
    Nothing,
    Response {
        status: u32,
        content_type: ContentType,
        body: Body,
    },
}

#[derive(Debug)]
pub(crate) enum ContentType {
    Is(Option<Bytes>),
    NotCompared,
}

#[derive(Debug)]
pub(crate) enum Body {
    Is(Bytes),
    /// And why.
    NotCompared(&'static str),
}

/// A comparison under way: the head was compared, the body is.
#[derive(Debug)]
pub(crate) struct Comparison {
    differences: Vec<&'static str>,
    body: Body,
    not_compared: Option<&'static str>,
}

/// What a comparison came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// What differs; empty: nothing of what was compared.
    pub(crate) differences: Vec<&'static str>,
    /// What was not compared, and why.
    pub(crate) not_compared: Option<&'static str>,
}

impl Expected {
    /// What `exchange` recorded.
    pub(crate) fn of(exchange: &Exchange) -> Self {
        let redacted = |place: &str| {
            exchange
                .redactions
                .iter()
                .any(|redaction| redaction.place.to_ascii_lowercase().starts_with(place))
        };
        let Some(response) = exchange.response.as_ref().filter(|response| response.status != 0) else {
            return Self::Nothing;
        };
        let state =
            response.completeness.as_ref().map_or(State::Unspecified, |completeness| completeness.state());
        let body = match state {
            State::Complete if redacted("response.body") => Body::NotCompared(BODY_REDACTED),
            State::Complete => Body::recorded(response),
            // The head came first and is whole; a gap in it would have left no status.
            State::Truncated | State::Gap => Body::NotCompared(BODY_INCOMPLETE),
            State::Unspecified | State::JoinedMidstream | State::Missing => return Self::Nothing,
        };
        let content_type = if redacted("response.headers.content-type") {
            ContentType::NotCompared
        } else {
            ContentType::Is(recorded_content_type(response))
        };
        Self::Response { status: response.status, content_type, body }
    }

    /// Compares the head of the answer.
    pub(crate) fn begin(self, head: &Head<'_>) -> Comparison {
        let (expected_status, content_type, body) = match self {
            Self::Nothing => {
                return Comparison {
                    differences: Vec::new(),
                    body: Body::NotCompared(RESPONSE_MISSING),
                    not_compared: Some(RESPONSE_MISSING),
                };
            }
            Self::Response { status, content_type, body } => (status, content_type, body),
        };
        let mut differences = Vec::new();
        if expected_status != u32::from(head.status()) {
            differences.push(STATUS);
        }
        if let ContentType::Is(expected) = content_type
            && expected.as_deref() != head.header("content-type")
        {
            differences.push(CONTENT_TYPE);
        }
        let body = match body {
            // Recorded bodies are stored decoded; this one came encoded although it was asked not to.
            Body::Is(_) if is_encoded(head) => Body::NotCompared(BODY_ENCODED),
            body => body,
        };
        let not_compared = match body {
            Body::NotCompared(why) => Some(why),
            Body::Is(_) => None,
        };
        Comparison { differences, body, not_compared }
    }
}

impl Body {
    fn recorded(response: &v1::Response) -> Self {
        let Some(body) = &response.body else { return Self::Is(Bytes::new()) };
        if !body.dropped.is_empty() {
            return Self::NotCompared(BODY_DROPPED);
        }
        match &body.content {
            Some(Content::Text(text)) => Self::Is(Bytes::copy_from_slice(text.as_bytes())),
            Some(Content::Binary(bytes)) => Self::Is(bytes.clone()),
            None if body.size == 0 => Self::Is(Bytes::new()),
            None => Self::NotCompared(BODY_INCOMPLETE),
        }
    }
}

impl Verdict {
    /// There is nothing to compare with.
    pub(crate) fn missing() -> Self {
        Self { differences: Vec::new(), not_compared: Some(RESPONSE_MISSING) }
    }
}

impl Comparison {
    /// The next bytes of the answer's body.
    pub(crate) fn chunk(&mut self, chunk: &[u8]) {
        if let Body::Is(expected) = &mut self.body {
            if expected.starts_with(chunk) {
                let _ = expected.split_to(chunk.len());
            } else {
                self.body_differs();
            }
        }
    }

    /// The answer's body has ended.
    pub(crate) fn finish(mut self) -> Verdict {
        if matches!(&self.body, Body::Is(rest) if !rest.is_empty()) {
            self.body_differs();
        }
        Verdict { differences: self.differences, not_compared: self.not_compared }
    }

    fn body_differs(&mut self) {
        self.differences.push(BODY);
        self.body = Body::NotCompared(BODY);
    }
}

fn recorded_content_type(response: &v1::Response) -> Option<Bytes> {
    let header = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-type"))?;
    let value = if header.raw_value.is_empty() { header.value.as_bytes() } else { &header.raw_value };
    Some(Bytes::copy_from_slice(value))
}

fn is_encoded(head: &Head<'_>) -> bool {
    head.all("content-encoding").any(|coding| coding != b"identity")
}

#[cfg(test)]
mod tests {
    use tap_proto::v1::{Completeness, Header, Redaction, Response};

    use super::*;

    fn recorded(body: &str, state: State) -> Exchange {
        Exchange {
            response: Some(Response {
                status: 200,
                headers: vec![Header {
                    name: "Content-Type".into(),
                    value: "text/plain".into(),
                    ..Header::default()
                }],
                body: Some(v1::Body {
                    content: Some(Content::Text(body.into())),
                    size: body.len() as u64,
                    ..v1::Body::default()
                }),
                completeness: Some(Completeness { state: state.into(), ..Completeness::default() }),
                ..Response::default()
            }),
            ..Exchange::default()
        }
    }

    fn answer(exchange: &Exchange, status: u16, headers: &[(&str, &str)], chunks: &[&str]) -> Verdict {
        let headers: Vec<_> =
            headers.iter().map(|&(name, value)| httparse::Header { name, value: value.as_bytes() }).collect();
        let mut comparison = Expected::of(exchange).begin(&Head::new(status, 1, &headers));
        for chunk in chunks {
            comparison.chunk(chunk.as_bytes());
        }
        comparison.finish()
    }

    fn differs(differences: &[&'static str]) -> Verdict {
        Verdict { differences: differences.to_vec(), not_compared: None }
    }

    const PLAIN: &[(&str, &str)] = &[("content-type", "text/plain")];

    #[test]
    fn an_equal_answer_matches_however_it_is_cut() {
        let exchange = recorded("hello", State::Complete);
        for chunks in [&["hello"][..], &["he", "", "llo"], &["h", "e", "l", "l", "o"]] {
            assert_eq!(answer(&exchange, 200, PLAIN, chunks), differs(&[]));
        }
    }

    #[test]
    fn every_difference_is_named_once() {
        let exchange = recorded("hello", State::Complete);
        assert_eq!(answer(&exchange, 404, PLAIN, &["hello"]), differs(&["status"]));
        assert_eq!(answer(&exchange, 200, &[], &["hello"]), differs(&["header.content-type"]));
        for chunks in [&["hell"][..], &["hello", "!"], &["j", "ello"], &["x", "y"], &[]] {
            assert_eq!(answer(&exchange, 200, PLAIN, chunks), differs(&["body"]), "{chunks:?}");
        }
        assert_eq!(answer(&exchange, 500, &[], &["x"]), differs(&["status", "header.content-type", "body"]));
    }

    #[test]
    fn what_can_not_be_compared_says_so() {
        let not_compared = |why| Verdict { differences: vec![], not_compared: Some(why) };

        assert_eq!(answer(&Exchange::default(), 500, &[], &["x"]), not_compared(RESPONSE_MISSING));
        for state in [State::Unspecified, State::Missing, State::JoinedMidstream] {
            assert_eq!(answer(&recorded("hello", state), 500, &[], &[]), not_compared(RESPONSE_MISSING));
        }
        for state in [State::Truncated, State::Gap] {
            assert_eq!(answer(&recorded("hello", state), 200, PLAIN, &["x"]), not_compared(BODY_INCOMPLETE));
        }
        let mut redacted = recorded("hello", State::Complete);
        redacted.redactions =
            vec![Redaction { place: "response.body.$.user".into(), ..Redaction::default() }];
        assert_eq!(answer(&redacted, 200, PLAIN, &["x"]), not_compared(BODY_REDACTED));

        let mut dropped = recorded("", State::Complete);
        dropped.response.as_mut().unwrap().body =
            Some(v1::Body { size: 9, dropped: "opaque".into(), ..v1::Body::default() });
        assert_eq!(answer(&dropped, 200, PLAIN, &["x"]), not_compared(BODY_DROPPED));

        let encoded = [PLAIN, &[("content-encoding", "gzip")]].concat();
        assert_eq!(
            answer(&recorded("hello", State::Complete), 200, &encoded, &["x"]),
            not_compared(BODY_ENCODED)
        );
    }

    #[test]
    fn a_redacted_request_does_not_stop_the_comparison() {
        let mut exchange = recorded("hello", State::Complete);
        exchange.redactions =
            vec![Redaction { place: "request.headers.authorization".into(), ..Redaction::default() }];
        assert_eq!(answer(&exchange, 200, PLAIN, &["hello"]), differs(&[]));
    }
}
