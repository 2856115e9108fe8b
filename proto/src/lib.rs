//! The wire contract of Podtap: messages, services, and the descriptor set for reflection.
//!
//! Everything below `gen/` is generated from `tap/v1/*.proto` by `cargo xtask proto` and committed.

/// Version 1 of the contract.
#[allow(
    missing_debug_implementations,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::clone_on_ref_ptr,
    reason = "generated"
)]
pub mod v1 {
    include!("gen/tap.v1.rs");
}

/// The header, in lower case, that marks every request which Podtap itself sends; its value says on whose behalf.
/// What carries it is not captured unless asked for, so that no replay feeds another.
pub const REPLAY_MARKER: &str = "podtap-replay";

/// The encoded `FileDescriptorSet` of the contract, for gRPC reflection.
pub const DESCRIPTOR_SET: &[u8] = include_bytes!("gen/tap.v1.binpb");
