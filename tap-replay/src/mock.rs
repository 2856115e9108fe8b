//! A server that answers like one that was recorded.
//!
//! [`Index`] holds the recorded exchanges within caps and finds the ones that a request matches; [`Mock`] is the
//! decision on one request, with its session's place in a sequence, faults and counts; [`server`] has the
//! sockets. docs/mocks.md says what matches what, and in which order.
//!
//! What it refuses: to answer with what was not captured whole, unless told; to pretend. An answer says in
//! `Podtap-Mock` whether it was recorded, passed through, or a miss; a miss names the nearest recorded request and
//! the places that differ, never a captured value.

pub mod admin;
mod answer;
mod body;
mod index;
mod mask;
mod meeting;
mod path;
mod recent;
mod record;
mod recording;
mod request;
pub mod server;
mod service;
mod settings;
mod stats;
mod upstream;

pub use body::{Difference, What};
pub use index::{Index, Loaded};
pub use mask::{FieldPath, FieldPathError};
pub use path::{PathTemplate, PathTemplateError};
pub use service::Mock;
pub use settings::{BodyMatch, Latency, Limits, Listener, Matching, QueryMatch, Sequence, Session, Settings};
pub use stats::{MissCount, Statistics};
pub use upstream::{Upstream, UpstreamError};

pub use tap_expr::{Condition, ConditionError};

/// Says of each answer where it comes from.
pub const MOCK_HEADER: &str = "podtap-mock";
