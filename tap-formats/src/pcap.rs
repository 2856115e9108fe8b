//! Packet captures: pcap and pcapng in, pcapng out.
//!
//! In, packets become segments as a tapped socket would have seen them, and go through `tap-flow`, which reassembles and
//! pairs. Every packet is counted under what became of it: [`Summary`].
//!
//! Out, exchanges become connections that could have carried them: handshake, segments, acknowledgements, end; with right
//! checksums, and the recorded times. Bytes that were not kept are a hole in the sequence numbers, as after a capture
//! that lost packets.

mod blocks;
mod connection;
mod link;
mod read;
mod summary;
mod write;

pub use read::{Options, read};
pub use summary::Summary;
pub use write::Writer;
