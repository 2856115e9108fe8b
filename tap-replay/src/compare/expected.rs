//! One answer on its way: what it should be, how far it is, what it came to.

use std::{sync::Arc, time::Duration};

use tap_expr::endpoint::Endpoint;
use tap_proto::v1::{Exchange, Response, body::Content, completeness::State};

use super::{
    BODY, BODY_DROPPED, BODY_ENCODED, BODY_INCOMPLETE, BODY_REDACTED, CONTENT_TYPE, Comparator,
    MAX_BODY_BYTES, OTHER_HEADER, RESPONSE_MISSING, STATUS, body,
    body::Typed,
    difference::{Differences, Kind},
    headers,
    redacted::Redacted,
    settings::Bodies,
};
use crate::connections::Head;

/// What an answer should be.
#[derive(Debug)]
pub(crate) struct Expected(Option<Subject>);

/// The exchange whose request is sent again. Shared: nothing of it is copied.
#[derive(Clone, Debug)]
struct Subject {
    comparator: Arc<Comparator>,
    exchange: Arc<Exchange>,
    endpoint: Endpoint,
}

/// A comparison under way: the head was compared, the body is.
#[derive(Debug)]
pub(crate) struct Comparison {
    subject: Option<Subject>,
    differences: Differences,
    body: Body,
    content_type: Box<str>,
    not_compared: Option<&'static str>,
}

/// How far the answer's body is. Its `Debug` shows no bytes.
enum Body {
    /// This many bytes, all as recorded.
    Equal(usize),
    /// Different from what was recorded, and kept.
    Kept(Vec<u8>),
    /// Different, and not kept: the length so far.
    Differs(u64),
    NotCompared,
}

/// What a comparison came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// What differs, in words of the report; empty: nothing of what was compared.
    pub(crate) differences: Vec<&'static str>,
    /// What was not compared, and why.
    pub(crate) not_compared: Option<&'static str>,
}

impl Verdict {
    /// Nothing was there to be compared.
    pub(crate) fn missing() -> Self {
        Self { differences: Vec::new(), not_compared: Some(RESPONSE_MISSING) }
    }
}

impl Expected {
    pub(super) fn new(comparator: Arc<Comparator>, exchange: Arc<Exchange>, endpoint: Endpoint) -> Self {
        Self(Some(Subject { comparator, exchange, endpoint }))
    }

    /// Nothing: answers are not compared.
    pub(crate) fn nothing() -> Self {
        Self(None)
    }

    /// Compares the head of the answer.
    pub(crate) fn begin(self, head: &Head<'_>) -> Comparison {
        self.begin_with(head.status(), || head.headers())
    }

    pub(crate) fn begin_with<'h, F: Iterator<Item = (&'h str, &'h [u8])>>(
        self,
        status: u16,
        headers: impl Fn() -> F,
    ) -> Comparison {
        let mut comparison = Comparison {
            subject: self.0,
            differences: Differences::default(),
            body: Body::NotCompared,
            content_type: Box::default(),
            not_compared: Some(RESPONSE_MISSING),
        };
        let Some(subject) = &comparison.subject else { return comparison };
        let Some(response) = subject.response() else { return comparison };
        let rules = &subject.comparator.rules;
        let redactions = &subject.exchange.redactions;
        let differences = &mut comparison.differences;
        if rules.status && response.status != u32::from(status) {
            differences.add(STATUS, Kind::Value, &response.status.to_string(), &status.to_string());
        }
        headers::compare(&response.headers, &headers, rules, || Redacted::of(redactions), differences);
        comparison.not_compared = match comparable(response) {
            _ if rules.bodies == Bodies::None => None,
            Err(why) => Some(why),
            // Recorded bodies are stored decoded; this one came encoded although it was asked not to.
            Ok(_) if is_encoded(headers()) => Some(BODY_ENCODED),
            Ok(_) => {
                comparison.body = Body::Equal(0);
                let declared = headers().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
                let recorded = response.content_type();
                // Kept only where it is another one.
                if let Some((_, declared)) = declared
                    && declared != recorded.as_bytes()
                {
                    comparison.content_type = String::from_utf8_lossy(declared).into();
                }
                None
            }
        };
        comparison
    }
}

impl Comparison {
    /// The next bytes of the answer's body.
    pub(crate) fn chunk(&mut self, chunk: &[u8]) {
        let Some(subject) = &self.subject else { return };
        match &mut self.body {
            Body::NotCompared => {}
            Body::Differs(length) => *length += chunk.len() as u64,
            Body::Equal(length) => {
                let expected = subject.body();
                if expected[*length..].starts_with(chunk) {
                    *length += chunk.len();
                } else {
                    let equal = &expected[..*length];
                    self.body = subject.kept(expected.len(), Vec::new(), &[equal, chunk]);
                }
            }
            Body::Kept(kept) => {
                let kept = std::mem::take(kept);
                self.body = subject.kept(0, kept, &[chunk]);
            }
        }
    }

    /// The answer's body has ended, this long after the intended time of its request.
    pub(crate) fn finish(mut self, latency: Duration) -> Verdict {
        let Some(subject) = self.subject.clone() else {
            return Verdict::missing();
        };
        self.finish_body(&subject);
        let latency = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        let Exchange { id, request, .. } = &*subject.exchange;
        let method = request.as_ref().map_or("", |request| &request.method);
        if self.not_compared != Some(RESPONSE_MISSING) {
            let mut findings = subject.comparator.findings();
            findings.add(method, subject.endpoint, id, &self.differences, latency);
        }
        self.verdict()
    }

    /// As [`Self::finish`], for the answer of a server that was not changed.
    pub(crate) fn finish_noise(mut self) {
        let Some(subject) = self.subject.clone() else { return };
        self.finish_body(&subject);
        let method = subject.exchange.request.as_ref().map_or("", |request| &request.method);
        subject.comparator.findings().add_noise(method, subject.endpoint, &self.differences);
    }

    fn finish_body(&mut self, subject: &Subject) {
        let expected = subject.body();
        let comparator = &subject.comparator;
        let answered = match std::mem::replace(&mut self.body, Body::NotCompared) {
            Body::NotCompared => return,
            Body::Equal(length) if length == expected.len() => return,
            Body::Equal(length) if expected.len() > MAX_BODY_BYTES => {
                return self.lengths_differ(expected.len(), length as u64);
            }
            // What came is a part of what was recorded.
            Body::Equal(length) => expected[..length].to_vec(),
            Body::Differs(length) => return self.lengths_differ(expected.len(), length),
            Body::Kept(kept) => {
                comparator.forget(kept.len());
                kept
            }
        };
        let declared = subject.response().map_or("", Response::content_type);
        let left = Typed { content: expected, content_type: declared };
        let content_type = if self.content_type.is_empty() { declared } else { &self.content_type };
        let right = Typed { content: &answered, content_type };
        let redacted = Redacted::of(&subject.exchange.redactions);
        let before = self.differences.redacted;
        let compared = body::compare(left, right, &comparator.rules, &redacted, &mut self.differences);
        if !compared || self.differences.redacted > before {
            self.not_compared = Some(BODY_REDACTED);
        }
    }

    fn lengths_differ(&mut self, expected: usize, answered: u64) {
        self.differences.add(BODY, Kind::Length, &format!("{expected} bytes"), &format!("{answered} bytes"));
    }

    fn verdict(&self) -> Verdict {
        let mut differences = Vec::new();
        for difference in &self.differences.list {
            let word = match difference.field.as_str() {
                STATUS => STATUS,
                CONTENT_TYPE => CONTENT_TYPE,
                field if field.starts_with("header.") => OTHER_HEADER,
                _ => BODY,
            };
            if !differences.contains(&word) {
                differences.push(word);
            }
        }
        Verdict { differences, not_compared: self.not_compared }
    }
}

impl Drop for Comparison {
    /// An answer that never ends gives back what was kept of it.
    fn drop(&mut self) {
        if let (Body::Kept(kept), Some(subject)) = (&self.body, &self.subject) {
            subject.comparator.forget(kept.len());
        }
    }
}

impl Subject {
    /// The recorded response, if there is one to compare with.
    fn response(&self) -> Option<&Response> {
        let response = self.exchange.response.as_ref().filter(|response| response.status != 0)?;
        match state(response) {
            State::Unspecified | State::JoinedMidstream | State::Missing => None,
            // The head came first and is whole; a gap in it would have left no status.
            State::Complete | State::Truncated | State::Gap => Some(response),
        }
    }

    fn body(&self) -> &[u8] {
        let body = self.exchange.response.as_ref().and_then(|response| response.body.as_ref());
        match body.and_then(|body| body.content.as_ref()) {
            Some(Content::Text(text)) => text.as_bytes(),
            Some(Content::Binary(bytes)) => bytes,
            None => &[],
        }
    }

    /// `kept` with `parts` behind it, or only their length: where there is no room, or nothing to look into.
    fn kept(&self, expected: usize, mut kept: Vec<u8>, parts: &[&[u8]]) -> Body {
        let more: usize = parts.iter().map(|part| part.len()).sum();
        let length = kept.len() + more;
        if expected.max(length) > MAX_BODY_BYTES || !self.comparator.keep(more) {
            self.comparator.forget(kept.len());
            return Body::Differs(length as u64);
        }
        parts.iter().for_each(|part| kept.extend_from_slice(part));
        Body::Kept(kept)
    }
}

/// Whether the recorded body is what the server sent, redaction aside; why not, otherwise.
fn comparable(response: &Response) -> Result<(), &'static str> {
    if state(response) != State::Complete {
        return Err(BODY_INCOMPLETE);
    }
    match &response.body {
        None => Ok(()),
        Some(body) if !body.dropped.is_empty() => Err(BODY_DROPPED),
        Some(body) if body.content.is_none() && body.size > 0 => Err(BODY_INCOMPLETE),
        Some(_) => Ok(()),
    }
}

fn state(response: &Response) -> State {
    response.completeness.as_ref().map_or(State::Unspecified, |completeness| completeness.state())
}

fn is_encoded<'h>(mut headers: impl Iterator<Item = (&'h str, &'h [u8])>) -> bool {
    headers.any(|(name, value)| {
        name.eq_ignore_ascii_case("content-encoding") && !value.eq_ignore_ascii_case(b"identity")
    })
}

trait ContentType {
    fn content_type(&self) -> &str;
}

impl ContentType for Response {
    fn content_type(&self) -> &str {
        let header = self.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-type"));
        header.map_or("", |header| &header.value)
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Equal(length) => write!(formatter, "Equal({length} bytes)"),
            Self::Kept(kept) => write!(formatter, "Kept({} bytes)", kept.len()),
            Self::Differs(length) => write!(formatter, "Differs({length} bytes)"),
            Self::NotCompared => formatter.write_str("NotCompared"),
        }
    }
}
