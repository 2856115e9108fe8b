//! Captured exchanges in the formats of other tools.
//!
//! ```text
//! file ─ har, gor, jsonl, pcap: read ─► Item ─► redaction ─► a collector
//! a collector ─► stored exchange ─ har, gor, jsonl, curl, pcap: write ─► file
//! ```
//!
//! Readers take a stream and give [`Item`]s one by one; what they hold is bounded by the longest record, which has a cap.
//! What they give has not passed redaction: it is an exchange as a tap would have captured it, and goes the same way.
//! Writers take stored exchanges. One that a format can't hold, or not whole, is never written as if it were: [`Fit`]
//! says what became of it, for its reason.
//!
//! Files are hostile. Nothing here panics on them, and errors say where something is wrong, never what is there.

#![forbid(unsafe_code)]

pub mod curl;
mod fit;
pub mod gor;
pub mod har;
mod http1;
mod item;
pub mod jsonl;
pub mod pcap;
mod plain;
pub mod protobuf_json;
mod read_error;
pub mod stored;
pub mod terminal;

pub use fit::{Fit, Fits, Unfit};
pub use item::{About, Imported, Item, Sink};
pub use plain::plain;
pub use read_error::{Place, ReadError};
