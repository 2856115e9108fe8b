//! GoReplay's files: `--output-file` and `--input-file`.
//!
//! ```text
//! record   = type SP id SP nanoseconds [SP latency] LF message LF 🐵🙈🙉 LF
//! type     = 1 (request) | 2 (its response) | 3 (response to a replay of it)
//! ```
//!
//! A message is HTTP/1 as on the wire. A request and its response share the id; the time is when the message began, the latency
//! how long it took, both in nanoseconds.

mod read;
mod write;

pub use read::read;
pub use write::Writer;

/// What ends a record, after the line feed that ends the message.
const SEPARATOR: &[u8] = "\u{1f435}\u{1f648}\u{1f649}\n".as_bytes();
