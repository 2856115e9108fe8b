//! What to send where: raw settings, validated once.

mod raw;
mod target;
pub(crate) mod tls;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use http::Method;
use tap_expr::ConditionError;
use tap_proto::v1::{Exchange, ReplayReport};

pub use self::{
    raw::{Files, RawPlan},
    target::Target,
    tls::{RawTls, TlsError},
};
use crate::{
    abort::{self, Rule},
    chaos::{self, Chaos},
    compare::{Comparator, Expected, SettingsError},
    connections::Upstream,
    hook::RawHook,
    request::is_token,
    schedule::{Arrival, ArrivalError},
    session::{SessionKey, SessionKeyError, key::Choice},
    transform::{self, Transform},
};

/// Sent without being allowed by name: the methods that RFC 9110 defines as safe, but for TRACE, which
/// answers with the request itself.
const SAFE_METHODS: [Method; 3] = [Method::GET, Method::HEAD, Method::OPTIONS];
const DEFAULT_MAX_IN_FLIGHT: u32 = 64;
/// One connection each; half of a common soft limit of 65,536 file descriptors leaves room for the rest.
const MAX_IN_FLIGHT_LIMIT: u32 = 32_768;
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
const TIMEOUT_LIMIT: Duration = Duration::from_secs(3_600);
/// A thousandth and a million times the recorded pace: beyond, a mistake is likelier than a purpose.
const SPEED_RANGE: std::ops::RangeInclusive<f64> = 0.001..=1_000_000.0;
/// Bounds the marker header.
const MAX_ID_LENGTH: usize = 128;
/// A month: longer is a mistake, or a service of its own.
const DURATION_LIMIT: Duration = Duration::from_secs(30 * 24 * 3_600);
const ABORT_WINDOWS: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3_600);
/// As many as an indexed Job has pods in earnest.
const MAX_SHARDS: u32 = 10_000;

/// What a replay does. Only [`Plan::validate`] makes one.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(crate) id: String,
    pub(crate) target: Target,
    pub(crate) upstream: Upstream,
    pub(crate) speed: f64,
    pub(crate) max_in_flight: u32,
    pub(crate) methods: BTreeSet<String>,
    pub(crate) max_requests: Option<u64>,
    pub(crate) timeout: Duration,
    pub(crate) keep_host: bool,
    pub(crate) arrival: Arrival,
    /// `None`: until the duration is over.
    pub(crate) passes: Option<u64>,
    pub(crate) duration: Option<Duration>,
    pub(crate) warm_up: Duration,
    pub(crate) session: SessionKey,
    pub(crate) choice: Choice,
    pub(crate) compare: bool,
    pub(crate) comparator: Arc<Comparator>,
    pub(crate) seed: u64,
    pub(crate) chaos: Option<Arc<Chaos>>,
    pub(crate) abort: Rule,
    pub(crate) transform: Option<Arc<Transform>>,
    pub(crate) hook: Option<RawHook>,
    pub(crate) allow_namespaces: BTreeSet<String>,
    /// What whoever reads the report must know.
    pub(crate) warnings: Vec<String>,
}

/// One setting that can't be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PlanError {
    #[error("id: must be 1 to {MAX_ID_LENGTH} letters, digits, '-', '_' or '.'")]
    Id,
    #[error("target {target:?}: {reason}")]
    Target { target: String, reason: String },
    #[error("speed {0}: must be between {start} and {end}", start = SPEED_RANGE.start(), end = SPEED_RANGE.end())]
    Speed(f64),
    #[error("speed {0}: only recorded times have one; the arrival process is another")]
    SpeedWithArrival(f64),
    #[error("max_in_flight {0}: must be at most {MAX_IN_FLIGHT_LIMIT}")]
    MaxInFlight(u32),
    #[error("method {0:?}: not a method name")]
    MethodName(String),
    #[error("method {0:?}: can't be replayed: it opens a tunnel, not an exchange")]
    MethodTunnel(String),
    #[error("timeout {0:?}: must be more than 0 and at most {TIMEOUT_LIMIT:?}")]
    Timeout(Duration),
    #[error(transparent)]
    Arrival(#[from] ArrivalError),
    #[error("duration {0:?}: must be more than 0 and at most 30 days")]
    Duration(Duration),
    #[error("a replay that loops forever needs a duration")]
    Endless,
    #[error("loops {0} and forever: one of them")]
    Loops(u64),
    #[error("warm_up {0:?}: must be less than the duration, and at most 30 days")]
    WarmUp(Duration),
    #[error(transparent)]
    Session(#[from] SessionKeyError),
    #[error("sample {0}: must be more than 0 and at most 1")]
    Sample(f64),
    #[error("shard {shard} of {shards}: shards are counted from 0, and there are at most {MAX_SHARDS}")]
    Shard { shard: u32, shards: u32 },
    #[error("tls: {0}")]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Comparison(#[from] SettingsError),
    #[error("abort_if: {0}")]
    AbortIf(#[from] ConditionError),
    #[error(transparent)]
    Transform(#[from] transform::SettingsError),
    #[error("chaos: {0}")]
    Chaos(#[from] chaos::SettingsError),
    #[error("abort_window {0:?}: must be between 1 s and 1 h")]
    AbortWindow(Duration),
}

impl Plan {
    /// Checks every setting; all errors are reported together.
    pub fn validate(raw: RawPlan) -> Result<Self, Vec<PlanError>> {
        let RawPlan {
            id,
            target,
            speed,
            max_in_flight,
            allow_methods,
            max_requests,
            timeout,
            keep_host,
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
            no_compare,
            comparison,
            seed,
            chaos,
            abort_if,
            abort_window,
            allow_namespaces,
            transform,
            files,
            hook,
        } = raw;
        let mut errors = Vec::new();

        if !((1..=MAX_ID_LENGTH).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)))
        {
            errors.push(PlanError::Id);
        }
        let target = Target::parse(&target).map_err(|error| errors.push(error)).ok();
        let upstream = target.and_then(|target| {
            let checked = tls.validate(&target).map_err(|error| errors.push(error.into())).ok()?;
            Some(Upstream::new(target, checked))
        });

        let arrival = arrival.parse::<Arrival>().unwrap_or_else(|error| {
            errors.push(error.into());
            Arrival::Recorded
        });
        if !matches!(speed, 0.0 | 1.0) && arrival != Arrival::Recorded {
            errors.push(PlanError::SpeedWithArrival(speed));
        }
        let speed = if speed == 0.0 { 1.0 } else { speed };
        if !SPEED_RANGE.contains(&speed) {
            errors.push(PlanError::Speed(speed));
        }
        let max_in_flight = if max_in_flight == 0 { DEFAULT_MAX_IN_FLIGHT } else { max_in_flight };
        if max_in_flight > MAX_IN_FLIGHT_LIMIT {
            errors.push(PlanError::MaxInFlight(max_in_flight));
        }
        let methods = methods(allow_methods, &mut errors);
        let timeout = timeout.unwrap_or(DEFAULT_TIMEOUT);
        if timeout.is_zero() || timeout > TIMEOUT_LIMIT {
            errors.push(PlanError::Timeout(timeout));
        }
        if let Some(duration) = duration.filter(|duration| duration.is_zero() || *duration > DURATION_LIMIT) {
            errors.push(PlanError::Duration(duration));
        }
        if loop_forever && duration.is_none() {
            errors.push(PlanError::Endless);
        }
        if loop_forever && loops > 0 {
            errors.push(PlanError::Loops(loops));
        }
        let warm_up = warm_up.unwrap_or_default();
        if warm_up > DURATION_LIMIT || duration.is_some_and(|duration| warm_up >= duration) {
            errors.push(PlanError::WarmUp(warm_up));
        }
        let session = session.parse::<SessionKey>().unwrap_or_else(|error| {
            errors.push(error.into());
            SessionKey::Connection
        });
        let sample = if sample == 0.0 { 1.0 } else { sample };
        if !(sample > 0.0 && sample <= 1.0) {
            errors.push(PlanError::Sample(sample));
        }
        let shards = shards.max(1);
        if shards > MAX_SHARDS || shard >= shards {
            errors.push(PlanError::Shard { shard, shards });
        }

        let chaos = faults(&chaos, seed).unwrap_or_else(|mistakes| {
            errors.extend(mistakes.into_iter().map(PlanError::from));
            None
        });
        let comparator = Comparator::parse(&comparison).unwrap_or_else(|mistakes| {
            errors.extend(mistakes.into_iter().map(PlanError::from));
            Comparator::default()
        });

        let window = abort_window.unwrap_or(abort::DEFAULT_WINDOW);
        if !ABORT_WINDOWS.contains(&window) {
            errors.push(PlanError::AbortWindow(window));
        }
        let abort_if = if abort_if.is_empty() { abort::DEFAULT_CONDITION } else { &abort_if };
        let abort = Rule::parse(abort_if, window).map_err(|error| errors.push(error.into())).ok();

        let transform = (!transform.trim().is_empty())
            .then(|| compile(&transform, files).map_err(|found| errors.extend(found)).ok())
            .flatten();

        match upstream.zip(abort) {
            Some((upstream, abort)) if errors.is_empty() => Ok(Self {
                id,
                target: upstream.target().clone(),
                upstream,
                speed,
                max_in_flight: if max_connections == 0 {
                    max_in_flight
                } else {
                    // Each request in flight has a connection of its own.
                    max_in_flight.min(max_connections)
                },
                methods,
                max_requests: (max_requests > 0).then_some(max_requests),
                timeout,
                keep_host,
                arrival,
                passes: (!loop_forever).then_some(loops.max(1)),
                duration,
                warm_up,
                session,
                choice: Choice { sample, shard, shards },
                compare: !no_compare,
                comparator: Arc::new(comparator),
                seed,
                chaos,
                abort,
                transform,
                hook,
                allow_namespaces: allow_namespaces.into_iter().collect(),
                warnings: if tls.insecure {
                    vec!["the target's certificates were not verified".to_owned()]
                } else {
                    Vec::new()
                },
            }),
            _ => Err(errors),
        }
    }

    pub fn target(&self) -> &Target {
        &self.target
    }

    /// What of the answers is noise: what they differed in when nothing had been changed.
    #[must_use]
    pub fn with_noise_from(mut self, baseline: &ReplayReport) -> Self {
        self.comparator = Arc::new(self.comparator.with_noise_from(baseline));
        self
    }

    /// What the answer to `exchange` should be.
    pub(crate) fn expect(&self, exchange: &Arc<Exchange>) -> Expected {
        if self.compare { self.comparator.expect(exchange) } else { Expected::nothing() }
    }

    pub fn max_requests(&self) -> Option<u64> {
        self.max_requests
    }

    pub fn speed(&self) -> f64 {
        self.speed
    }

    /// Whether answers are looked at beyond their comparison.
    pub(crate) fn learns(&self) -> bool {
        self.transform.as_ref().is_some_and(|transform| transform.learns())
    }
}

fn compile(document: &str, files: Files) -> Result<Arc<Transform>, Vec<PlanError>> {
    let settings = transform::Settings::parse(document).map_err(|error| vec![error.into()])?;
    let compiled = settings.compile(files);
    compiled.map(Arc::new).map_err(|errors| errors.into_iter().map(PlanError::from).collect())
}

fn methods(allowed: Vec<String>, errors: &mut Vec<PlanError>) -> BTreeSet<String> {
    let mut methods: BTreeSet<String> = SAFE_METHODS.iter().map(Method::to_string).collect();
    for name in allowed {
        if !is_token(&name) {
            errors.push(PlanError::MethodName(name));
        } else if name.eq_ignore_ascii_case("CONNECT") {
            errors.push(PlanError::MethodTunnel(name));
        } else {
            methods.insert(name);
        }
    }
    methods
}

/// What goes wrong on purpose; a seed that is given wins over the document's.
fn faults(yaml: &str, seed: u64) -> Result<Option<Arc<Chaos>>, Vec<chaos::SettingsError>> {
    if yaml.is_empty() {
        return Ok(None);
    }
    let settings = chaos::Settings::parse(yaml).map_err(|error| vec![error])?;
    let chaos = Chaos::new(&settings, (seed != 0).then_some(seed), chaos::Side::Client)?;
    Ok(Some(Arc::new(chaos)))
}

#[cfg(test)]
mod tests;
