//! What became of an exchange that was to be written in a format.

use std::collections::BTreeMap;

/// What a format took of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// All that the format has a place for.
    Whole,
    /// The exchange is there without a part that the format can't hold.
    Partly(Unfit),
    /// Nothing was written.
    Not(Unfit),
}

/// Why a format can't hold an exchange, or a part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unfit {
    /// Only the response was captured.
    NoRequest,
    /// The request's body is not whole: truncated, with a hole, or dropped by redaction.
    RequestIncomplete,
    /// The response's body is not whole.
    ResponseIncomplete,
    /// A method, target, status or header field that HTTP/1 can't carry, or whose head was not captured.
    InvalidHead,
    /// There is no telling where the request went.
    NoHost,
    /// The body holds what ends a record of the format.
    Separator,
    /// CONNECT, or a body with HEAD: the tool can't send it.
    Unsendable,
    /// Longer than a command's argument can be.
    TooLong,
}

/// How many exchanges a format took, and why not the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fits {
    pub whole: u64,
    pub partly: BTreeMap<Unfit, u64>,
    pub not: BTreeMap<Unfit, u64>,
}

impl Unfit {
    /// A stable word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoRequest => "no_request",
            Self::RequestIncomplete => "request_incomplete",
            Self::ResponseIncomplete => "response_incomplete",
            Self::InvalidHead => "invalid_head",
            Self::NoHost => "no_host",
            Self::Separator => "separator_in_body",
            Self::Unsendable => "unsendable",
            Self::TooLong => "too_long",
        }
    }
}

impl Fits {
    pub fn count(&mut self, fit: Fit) {
        match fit {
            Fit::Whole => self.whole += 1,
            Fit::Partly(unfit) => *self.partly.entry(unfit).or_default() += 1,
            Fit::Not(unfit) => *self.not.entry(unfit).or_default() += 1,
        }
    }

    /// Exchanges that were written, whole or not.
    pub fn written(&self) -> u64 {
        self.whole + self.partly.values().sum::<u64>()
    }

    /// Whether every exchange is there, whole.
    pub fn is_whole(&self) -> bool {
        self.partly.is_empty() && self.not.is_empty()
    }
}
