//! The replay engine: captured requests are sent at a target again, with their recorded timing.
//!
//! Open loop: every send has an intended time, taken from the recording and scaled by the speed, whatever the
//! target does. Latency is measured from that time, so that a slow target can't hide its own queue, and the
//! report says how far the sends themselves were from it.
//!
//! What it refuses: methods that were not allowed by name, requests that were not captured whole, upgrades,
//! and requests that are themselves part of a replay. Each is counted under its reason in the report, whose
//! sums hold at every moment (`proto/tap/v1/replay.proto`).
//!
//! - [`plan`]: what to send where, validated.
//! - [`selection`]: which exchanges a replay reads.
//! - `schedule`, `request`, `compare`, `tally`: pure.
//! - [`mirror`]: exchanges sent at another target as they come in.
//! - [`compare`], [`report`]: what answers differ in, and what a report says.
//! - [`sealed`]: reports for a log that others may read.
//! - [`diff()`]: two versions against each other.
//! - [`engine`], `connections`: sockets and time.
//! - [`chaos`]: faults on purpose.
//! - [`mock`]: answers like the recorded server.
//!
//! Memory does not depend on the length of the selection: exchanges are read ahead within a bound, and
//! answers are compared as they stream in.

#![forbid(unsafe_code)]

mod abort;
mod answer;
pub mod chaos;
pub mod compare;
mod connections;
mod diff;
pub mod engine;
mod hook;
mod merge;
pub mod mirror;
pub mod mock;
pub mod plan;
mod preview;
pub mod report;
mod request;
mod safety;
mod schedule;
pub mod sealed;
pub mod selection;
mod session;
mod tally;
pub mod transform;

pub use connections::Failure;
pub use diff::{DiffPlan, diff};
pub use engine::{End, Outcome, replay};
pub use hook::RawHook;
pub use merge::{MergeError, merge};
pub use plan::{Files, Plan, PlanError, RawPlan, RawTls, Target, TlsError};
pub use preview::{Preview, preview};
pub use schedule::{Arrival, ArrivalError};
pub use session::{SessionKey, SessionKeyError};

/// The header that marks every request of a replay; its value is the replay's id.
pub const MARKER: &str = tap_proto::REPLAY_MARKER;
