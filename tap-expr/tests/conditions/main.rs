//! Conditions from outside: parse, match, and what a scan is told.

#![expect(clippy::unwrap_used, reason = "a test panics")]

mod examples;
mod hostile;
mod implication;
mod sample;
