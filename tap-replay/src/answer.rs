//! Answers that are looked at beyond their comparison.

use std::fmt;

use crate::connections::Head;
use http::HeaderMap;

/// Kept of an answer's body at most, where anything looks at it.
pub(crate) const MAX_BODY_BYTES: usize = 1024 * 1024;

/// What a target answered.
#[derive(Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// Its first bytes.
    pub(crate) body: Vec<u8>,
    /// The body was longer.
    pub(crate) truncated: bool,
}

/// An answer while it is kept.
#[derive(Default)]
pub(crate) struct Kept {
    headers: HeaderMap,
    body: Vec<u8>,
    heads_only: bool,
    truncated: bool,
}

impl Answer {
    pub(crate) fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()))
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Answer({}, {} bytes)", self.status, self.body.len())
    }
}

impl Kept {
    pub(crate) fn without_body() -> Self {
        Self { heads_only: true, ..Self::default() }
    }

    pub(crate) fn head(&mut self, head: &Head<'_>) {
        self.headers = head.to_map();
    }

    pub(crate) fn chunk(&mut self, chunk: &[u8]) {
        if self.heads_only {
            return;
        }
        let room = (MAX_BODY_BYTES - self.body.len()).min(chunk.len());
        self.body.extend_from_slice(&chunk[..room]);
        self.truncated |= room < chunk.len();
    }

    /// Whether more has come than is kept.
    pub(crate) fn is_truncated(&self) -> bool {
        self.truncated
    }

    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }

    pub(crate) fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()))
    }

    pub(crate) fn answer(self, status: u16) -> Answer {
        let Self { headers, body, truncated, heads_only: _ } = self;
        Answer { status, headers, body, truncated }
    }
}
