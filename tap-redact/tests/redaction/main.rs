//! Redaction from outside: what goes in, what comes out, what never does.

#![expect(clippy::unwrap_used, reason = "a test panics")]

mod bodies;
mod everywhere;
mod heads;
mod mutated;
mod planted;
mod rules;
mod sample;
mod tokens;
