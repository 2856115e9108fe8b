//! The caps: every buffer of this crate is bounded by one of them.

/// Caps on what an [`crate::Assembler`] holds and for how long. Past each, bytes are counted under a reason
/// and forgotten, never kept.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Of a body, kept after all codings are removed. The true length is always reported.
    pub body_bytes: usize,
    /// Of a body with a Content-Encoding, kept until the message ends and it is decoded.
    pub encoded_body_bytes: usize,
    /// Decoded bytes for each encoded one, past the first 64 KiB: what is more is a bomb.
    pub decode_ratio: usize,
    /// Of a head, or of a trailer section.
    pub head_bytes: usize,
    /// Fields of a head, or of a trailer section; never more than [`MAX_HEADER_COUNT`].
    pub header_count: usize,
    /// Held in one direction, waiting for bytes that come before them.
    pub out_of_order_bytes: usize,
    /// Pieces held in one direction, waiting for bytes that come before them.
    pub out_of_order_segments: usize,
    /// Requests of one flow that wait for their response. One more, and pairing ends on that flow.
    pub pipelined_requests: usize,
    /// Held by one flow, in messages and out of order. One more, and the flow is evicted.
    pub flow_bytes: usize,
    /// Held by all flows together. Past it, the flow that has held something for longest is evicted.
    pub total_bytes: usize,
    /// Flows. One more, and the one idle for longest is evicted.
    pub flows: usize,
    /// How long a hole waits for a retransmission, in nanoseconds.
    pub hole_ns: u64,
    /// How long a flow may be silent, in nanoseconds.
    pub idle_ns: u64,
    /// How long a closed flow is remembered, so that a late retransmission is not taken for a new
    /// connection, in nanoseconds.
    pub closed_ns: u64,
}

/// Header fields are parsed into an array of this size on the stack.
pub const MAX_HEADER_COUNT: usize = 256;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
const SECOND: u64 = 1_000_000_000;

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 64 * KIB,
            encoded_body_bytes: 256 * KIB,
            // Deflate cannot exceed 1032:1; brotli and zstd can, and nothing honest does.
            decode_ratio: 1032,
            // Common servers stop at 8 to 32 KiB.
            head_bytes: 64 * KIB,
            header_count: 128,
            out_of_order_bytes: 256 * KIB,
            out_of_order_segments: 256,
            pipelined_requests: 1024,
            flow_bytes: 4 * MIB,
            total_bytes: 64 * MIB,
            flows: 65_536,
            // Linux retransmits after 200 ms at the earliest, and again after 400 and 800.
            hole_ns: 2 * SECOND,
            // Longer than the keep-alive of common servers (nginx: 75 s).
            idle_ns: 120 * SECOND,
            closed_ns: 5 * SECOND,
        }
    }
}
