//! Policies from the object that a user writes to the decision on an exchange.

#![expect(clippy::unwrap_used, reason = "a test panics")]

mod compile;
mod crd;
mod merge;
mod sample;
mod support;
