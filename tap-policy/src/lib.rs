//! TapPolicies: the custom resource, its check, and what several of them mean for one pod.
//!
//! Pure: no API server, no clock, no cgroup. The agent and the collector use the same [`Policy::compile`], so that what an
//! agent refuses is what a policy's status says. docs/policies.md is the reference for users.
//!
//! ```text
//! TapPolicy ─ compile ─► Policy ─ selects? ─► Plan (one for each pod) ─► before_redaction ─► (redaction) ─► after_redaction
//! ```
//!
//! A policy can only widen what is captured in its own namespace, never what leaves the node unredacted: redaction is the
//! strictest of all policies that select a pod, and filters see exchanges as redaction left them.

#![forbid(unsafe_code)]

mod body;
mod compile;
mod mirror;
mod plan;
#[expect(clippy::duplicated_attributes, reason = "to kube each printcolumn is one of its own")]
mod resource;
mod sample;
mod schema;
mod selector;
mod status;
mod workload;

pub use body::BodyPolicy;
pub use compile::{MAX_BODY_BYTES, MAX_MIRRORS, MAX_PORTS, Policy, Problem, normal_url};
pub use mirror::{MirrorSpec, MirrorTls};
pub use plan::{Kept, MAX_POLICIES, Plan, Selected, Unkept, is_replayed};
pub use resource::{
    BodyCapture, BodySpec, ByteQuantity, Direction, Replayed, SampleKey, SampleSpec, TapPolicy, TapPolicySpec,
};
pub use schema::{crd, crd_yaml};
pub use selector::Selector;
pub use status::{LedgerTotals, TapPolicyStatus};
pub use workload::workload;
