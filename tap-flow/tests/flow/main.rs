//! The crate from outside: segments in, exchanges and a balanced ledger out.

#![expect(clippy::unwrap_used, reason = "a test panics")]

mod exchanges;
mod golden;
mod hostile;
mod lifecycle;
mod model;
mod shedding;
mod splits;
mod support;
mod unneeded;
