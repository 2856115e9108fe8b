//! A plan as it was asked for.

use std::time::Duration;

use tap_proto::v1::StartReplayRequest;

use super::tls::RawTls;
use crate::hook::RawHook;

/// Settings as they were given; zero and absent values mean the defaults of
/// [`StartReplayRequest`](tap_proto::v1::StartReplayRequest).
#[derive(Clone, Debug, Default)]
pub struct RawPlan {
    /// Names the replay in the marker header of each request.
    pub id: String,
    /// `http://host[:port][/prefix]`, or `https://…`.
    pub target: String,
    /// 1 keeps the recorded pauses, 2 halves them.
    pub speed: f64,
    pub max_in_flight: u32,
    /// Methods to send beside GET, HEAD and OPTIONS.
    pub allow_methods: Vec<String>,
    /// 0: no limit but the selection's.
    pub max_requests: u64,
    /// Per request, from its intended time.
    pub timeout: Option<Duration>,
    /// Send the recorded Host instead of the target's.
    pub keep_host: bool,
    /// An [`Arrival`], as it is written.
    pub arrival: String,
    /// Passes over the selection.
    pub loops: u64,
    /// As many passes as fit into `duration`.
    pub loop_forever: bool,
    pub duration: Option<Duration>,
    pub warm_up: Option<Duration>,
    pub max_connections: u32,
    /// A [`SessionKey`], as it is written.
    pub session: String,
    /// The share of sessions to send; 0 for all.
    pub sample: f64,
    pub shards: u32,
    pub shard: u32,
    pub tls: RawTls,
    pub no_compare: bool,
    /// How answers are compared, as YAML: see [`crate::compare::Settings`]. Empty for the defaults.
    pub comparison: String,
    /// Of what is drawn at random.
    pub seed: u64,
    /// What goes wrong on purpose, as YAML: see [`crate::chaos::Settings`]. Empty for nothing.
    pub chaos: String,
    /// A condition over figures of the target's health; empty for the default one.
    pub abort_if: String,
    pub abort_window: Option<Duration>,
    /// At whose own services captures of a namespace may be sent.
    pub allow_namespaces: Vec<String>,
    /// A YAML document ([`transform::Settings`]); empty for none.
    pub transform: String,
    /// What becomes of files that the transformation names.
    pub files: Files,
    /// A process that changes requests, where the replay runs.
    pub hook: Option<RawHook>,
}

/// Files that settings name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Files {
    /// Who asks a server to replay does not choose among that server's files.
    #[default]
    Refused,
    Read,
    /// They are where the replay will run, below this directory. Keys in the settings themselves are refused: settings
    /// are no place for them there.
    Elsewhere(&'static str),
}

impl RawPlan {
    /// The settings of `request`. A negative duration becomes zero, which [`Plan::validate`] refuses.
    pub fn from_request(id: impl Into<String>, request: &StartReplayRequest) -> Self {
        let StartReplayRequest {
            filter: _,
            start_time: _,
            end_time: _,
            target,
            speed,
            max_in_flight,
            allow_methods,
            max_requests,
            timeout,
            keep_host,
            transform,
            arrival,
            loops,
            loop_forever,
            duration,
            warm_up,
            max_connections,
            session,
            sample,
            shards,
            shard,
            tls,
            abort_if,
            no_compare,
            allow_namespaces,
            seed,
            abort_window,
            comparison,
            chaos,
        } = request;
        let positive = |duration: &Option<prost_types::Duration>| {
            duration.map(|duration| Duration::try_from(duration).unwrap_or(Duration::ZERO))
        };
        Self {
            id: id.into(),
            target: target.clone(),
            speed: *speed,
            max_in_flight: *max_in_flight,
            allow_methods: allow_methods.clone(),
            max_requests: *max_requests,
            timeout: positive(timeout),
            keep_host: *keep_host,
            arrival: arrival.clone(),
            loops: *loops,
            loop_forever: *loop_forever,
            duration: positive(duration),
            warm_up: positive(warm_up),
            max_connections: *max_connections,
            session: session.clone(),
            sample: *sample,
            shards: *shards,
            shard: *shard,
            tls: tls.as_ref().map_or_else(RawTls::default, RawTls::from),
            no_compare: *no_compare,
            comparison: comparison.clone(),
            seed: *seed,
            chaos: chaos.clone(),
            abort_if: abort_if.clone(),
            abort_window: positive(abort_window),
            allow_namespaces: allow_namespaces.clone(),
            transform: transform.clone(),
            files: Files::Refused,
            hook: None,
        }
    }
}
