//! The crate from outside: segments in, exchanges and a balanced ledger out.

mod exchanges;
mod support;
