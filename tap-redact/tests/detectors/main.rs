//! Detectors and tokens from outside: published vectors, a corpus without anything to find, properties of tokens.

#![expect(clippy::unwrap_used, reason = "a test panics")]

mod corpus;
mod documented;
mod tokens;
mod vectors;
