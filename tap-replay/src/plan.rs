//! What to send where: raw settings, validated once.

use std::{collections::BTreeSet, fmt, time::Duration};

use http::{HeaderValue, Method};
use tap_proto::v1::StartReplayRequest;
use url::{Host, Url};

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

/// Settings as they were given; zero and absent values mean the defaults of
/// [`StartReplayRequest`](tap_proto::v1::StartReplayRequest).
#[derive(Clone, Debug, Default)]
pub struct RawPlan {
    /// Names the replay in the marker header of each request.
    pub id: String,
    /// `http://host[:port][/prefix]`.
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
}

/// What a replay does. Only [`Plan::validate`] makes one.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(crate) id: HeaderValue,
    pub(crate) target: Target,
    pub(crate) speed: f64,
    pub(crate) max_in_flight: u32,
    pub(crate) methods: BTreeSet<String>,
    pub(crate) max_requests: Option<u64>,
    pub(crate) timeout: Duration,
    pub(crate) keep_host: bool,
}

/// Where requests go: a plain-text HTTP server, and the prefix before each recorded path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// A name or an address, without the brackets of an IPv6 address in a URL.
    host: String,
    port: u16,
    /// As in a Host header: without the port where it is 80.
    authority: String,
    /// Empty, or starting and not ending with "/".
    prefix: String,
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
    #[error("max_in_flight {0}: must be at most {MAX_IN_FLIGHT_LIMIT}")]
    MaxInFlight(u32),
    #[error("method {0:?}: not a method name")]
    MethodName(String),
    #[error("method {0:?}: can't be replayed: it opens a tunnel, not an exchange")]
    MethodTunnel(String),
    #[error("timeout {0:?}: must be more than 0 and at most {TIMEOUT_LIMIT:?}")]
    Timeout(Duration),
}

impl RawPlan {
    /// The settings of `request`. A negative timeout becomes zero, which [`Plan::validate`] refuses.
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
            comparison: _,
        } = request;
        Self {
            id: id.into(),
            target: target.clone(),
            speed: *speed,
            max_in_flight: *max_in_flight,
            allow_methods: allow_methods.clone(),
            max_requests: *max_requests,
            timeout: timeout.map(|timeout| Duration::try_from(timeout).unwrap_or(Duration::ZERO)),
            keep_host: *keep_host,
        }
    }
}

impl Plan {
    /// Checks every setting; all errors are reported together.
    pub fn validate(raw: RawPlan) -> Result<Self, Vec<PlanError>> {
        let RawPlan { id, target, speed, max_in_flight, allow_methods, max_requests, timeout, keep_host } =
            raw;
        let mut errors = Vec::new();

        let id = (1..=MAX_ID_LENGTH)
            .contains(&id.len())
            .then_some(id)
            .filter(|id| id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)))
            .and_then(|id| HeaderValue::try_from(id).ok());
        if id.is_none() {
            errors.push(PlanError::Id);
        }
        let target = Target::parse(&target).map_err(|error| errors.push(error)).ok();

        let speed = if speed == 0.0 { 1.0 } else { speed };
        if !SPEED_RANGE.contains(&speed) {
            errors.push(PlanError::Speed(speed));
        }
        let max_in_flight = if max_in_flight == 0 { DEFAULT_MAX_IN_FLIGHT } else { max_in_flight };
        if max_in_flight > MAX_IN_FLIGHT_LIMIT {
            errors.push(PlanError::MaxInFlight(max_in_flight));
        }
        let mut methods: BTreeSet<String> = SAFE_METHODS.iter().map(Method::to_string).collect();
        for name in allow_methods {
            if Method::from_bytes(name.as_bytes()).is_err() {
                errors.push(PlanError::MethodName(name));
            } else if name.eq_ignore_ascii_case("CONNECT") {
                errors.push(PlanError::MethodTunnel(name));
            } else {
                methods.insert(name);
            }
        }
        let timeout = timeout.unwrap_or(DEFAULT_TIMEOUT);
        if timeout.is_zero() || timeout > TIMEOUT_LIMIT {
            errors.push(PlanError::Timeout(timeout));
        }

        match (id, target) {
            (Some(id), Some(target)) if errors.is_empty() => Ok(Self {
                id,
                target,
                speed,
                max_in_flight,
                methods,
                max_requests: (max_requests > 0).then_some(max_requests),
                timeout,
                keep_host,
            }),
            _ => Err(errors),
        }
    }

    pub fn target(&self) -> &Target {
        &self.target
    }

    pub fn max_requests(&self) -> Option<u64> {
        self.max_requests
    }

    pub fn speed(&self) -> f64 {
        self.speed
    }
}

impl Target {
    /// Reads `http://host[:port][/prefix]`. Refuses credentials, queries and fragments, which would be lost.
    pub fn parse(target: &str) -> Result<Self, PlanError> {
        let refuse =
            |reason: &str| PlanError::Target { target: target.to_owned(), reason: reason.to_owned() };
        if target.is_empty() {
            return Err(refuse("no target given; for example http://127.0.0.1:8080"));
        }
        let url = Url::parse(target).map_err(|error| refuse(&format!("not a URL: {error}")))?;
        match url.scheme() {
            "http" => {}
            "https" => return Err(refuse("https targets are not supported yet")),
            _ => return Err(refuse("must start with http://")),
        }
        if !url.username().is_empty() || url.password().is_some() {
            // The error must not repeat a password.
            return Err(PlanError::Target {
                target: url.host_str().unwrap_or_default().to_owned(),
                reason: "must not have credentials".to_owned(),
            });
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(refuse("must not have a query or a fragment"));
        }
        let host = match url.host() {
            Some(Host::Domain(name)) => name.to_owned(),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            None => return Err(refuse("has no host")),
        };
        let host_in_url = url.host_str().unwrap_or_default();
        Ok(Self {
            host,
            port: url.port().unwrap_or(80),
            authority: url
                .port()
                .map_or_else(|| host_in_url.to_owned(), |port| format!("{host_in_url}:{port}")),
            prefix: url.path().trim_end_matches('/').to_owned(),
        })
    }

    /// A name or an address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// What a Host header says.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "http://{}{}", self.authority, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw() -> RawPlan {
        RawPlan { id: "r1".into(), target: "http://127.0.0.1:8080".into(), ..RawPlan::default() }
    }

    #[test]
    fn zero_means_the_documented_default() {
        let plan = Plan::validate(raw()).unwrap();
        assert_eq!(plan.speed, 1.0);
        assert_eq!(plan.max_in_flight, 64);
        assert_eq!(plan.max_requests, None);
        assert_eq!(plan.timeout, Duration::from_secs(30));
        assert_eq!(plan.methods.iter().collect::<Vec<_>>(), ["GET", "HEAD", "OPTIONS"]);
    }

    #[test]
    fn all_errors_are_reported_together() {
        let errors = Plan::validate(RawPlan {
            id: "a b".into(),
            target: "ftp://x".into(),
            speed: f64::NAN,
            max_in_flight: 1_000_000,
            allow_methods: vec!["POST".into(), "P ST".into(), "connect".into()],
            timeout: Some(Duration::ZERO),
            ..RawPlan::default()
        })
        .unwrap_err();
        assert_eq!(errors.len(), 7, "{errors:?}");
    }

    #[test]
    fn speeds_out_of_range_are_refused() {
        for speed in [-1.0, 1e-9, 1e9, f64::INFINITY, f64::NAN] {
            assert!(Plan::validate(RawPlan { speed, ..raw() }).is_err(), "{speed}");
        }
    }

    #[test]
    fn targets_are_taken_apart() {
        let target = Target::parse("http://[::1]:8080/v2/").unwrap();
        assert_eq!((target.host(), target.port()), ("::1", 8080));
        assert_eq!(target.authority(), "[::1]:8080");
        assert_eq!(target.prefix(), "/v2");
        assert_eq!(target.to_string(), "http://[::1]:8080/v2");
        assert_eq!(Target::parse("http://shop/").unwrap().authority(), "shop");
    }

    #[test]
    fn unusable_targets_are_refused_and_no_password_is_repeated() {
        for target in ["", "shop:8080", "https://shop", "http://", "http://shop/?a=b", "http://shop/#x"] {
            assert!(Target::parse(target).is_err(), "{target}");
        }
        let error = Target::parse("http://me:s3cret@shop/").unwrap_err().to_string();
        assert!(!error.contains("s3cret"), "{error}");
    }
}
