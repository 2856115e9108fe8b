//! CEL conditions over an exchange: one language wherever a condition is written.
//!
//! The grammar is the `cel` crate's. Checking and evaluation are here, because a condition runs on every
//! exchange that an agent captures and on every row that a search reads: names and types are known before
//! the first exchange, only what the condition reads is touched, nothing is copied, patterns are compiled
//! once, and the work on one exchange is bounded ([`Condition::matches`]). docs/expressions.md lists the
//! variables and functions.
//!
//! What is absent (the response of an exchange without one, a header that was not sent) makes whatever reads
//! it *unknown*: neither true nor false, as NULL in SQL. `&&` and `||` decide without an unknown side where
//! the other side suffices, `!` of unknown is unknown, and an exchange for which the condition is unknown is
//! not met. The same rules hold in a table scan, so that [`Predicate`] can be pushed down to one.

#![forbid(unsafe_code)]

mod check;
pub mod endpoint;
mod eval;
mod figures;
mod functions;
mod node;
mod pattern;
mod predicate;
mod reads;
mod schema;
pub mod share;
mod syntax;
mod time;
mod view;

pub use figures::{Figure, FigureCondition, FigureKind, Figures};
pub use predicate::{Field, Operator, Predicate, Value};
pub use reads::Read;
pub use view::{BodyView, Fields, MessageView, Part, PeerNames, Scalar, Side, View, without_port};

use std::collections::BTreeSet;

use crate::node::Node;

/// Longest source of a condition, in bytes: generous for what a person writes, small enough to check at once.
pub const MAX_SOURCE_BYTES: usize = 4096;

/// A parsed and checked condition.
#[derive(Debug)]
pub struct Condition {
    /// `None` for the empty condition.
    root: Option<Node>,
    predicate: Predicate,
    exact: bool,
}

/// Why a condition can't be used. One line; says where, from line 1 and column 1, in characters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConditionError {
    /// The text is not CEL.
    #[error("line {line}, column {column}: {message}")]
    Syntax { line: u32, column: u32, message: String },
    /// The text is CEL, but names what does not exist or combines what does not fit.
    #[error("line {line}, column {column}: {message}")]
    Invalid { line: u32, column: u32, message: String },
    /// The text is longer than [`MAX_SOURCE_BYTES`].
    #[error("the condition is {length} bytes long; at most {MAX_SOURCE_BYTES} are allowed")]
    TooLong { length: usize },
    /// The parser could not run.
    #[error("the condition could not be parsed: {message}")]
    Parser { message: String },
}

/// Matches everything, as the empty condition does.
impl Default for Condition {
    fn default() -> Self {
        Self { root: None, predicate: Predicate::True, exact: true }
    }
}

impl Condition {
    /// Parses and checks `source`. The empty condition matches everything.
    pub fn parse(source: &str) -> Result<Self, ConditionError> {
        let root = syntax::with_ast(source, check::check)?;
        let (predicate, exact) = match &root {
            Some(node) => predicate::implied(node),
            None => (Predicate::True, true),
        };
        Ok(Self { root, predicate, exact })
    }

    /// Whether the exchange meets the condition: a message of the wire contract, or any other [`View`]. A condition that is unknown on it (no such header, no
    /// response) is not met; neither is one that takes more work than the bound: about a hundred searches
    /// through a body of 64 KiB.
    pub fn matches(&self, exchange: &dyn View) -> bool {
        match &self.root {
            Some(node) => eval::is_met(node, exchange),
            None => true,
        }
    }

    /// The part that a scan can test: true of every exchange that meets the condition.
    pub fn predicate(&self) -> Predicate {
        self.predicate.clone()
    }

    /// What of the exchange must be there to evaluate the condition.
    pub fn reads(&self) -> BTreeSet<Read> {
        self.root.as_ref().map(reads::of).unwrap_or_default()
    }

    /// Whether an exchange meets the condition exactly where [`Self::predicate`] is true of it, so that
    /// nothing is left to test.
    pub fn predicate_is_exact(&self) -> bool {
        self.exact
    }
}
