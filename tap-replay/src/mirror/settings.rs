//! The settings of a mirror: one document, the same in the collector's file and behind a TapPolicy.

use std::{fmt, time::Duration};

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use tap_expr::{Condition, share::Share};

use super::{
    share::{By, share},
    tls::Tls,
};
use crate::{Plan, PlanError, RawPlan, Target, request::is_token, selection::names_role};

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
const TIMEOUT_LIMIT: Duration = Duration::from_secs(60);
const DEFAULT_MAX_LAG: Duration = Duration::from_secs(30);
const MAX_LAG_LIMIT: Duration = Duration::from_secs(3_600);
const DEFAULT_MAX_IN_FLIGHT: u32 = 64;
/// One connection each, and there may be many mirrors.
const MAX_IN_FLIGHT_LIMIT: u32 = 1_024;
const MAX_RATE_LIMIT: f64 = 1_000_000.0;
/// Each is looked at for every exchange.
const MAX_ENTRIES: usize = 16;
/// A namespace, a policy's name and a position.
const MAX_NAME: usize = 512;
/// What is named where nothing is: safe, and without TRACE, which answers with the request itself.
const SAFE_METHODS: [&str; 3] = ["GET", "HEAD", "OPTIONS"];
/// Between the name of a host and its port, as Istio and Envoy do it.
const SHADOW: &str = "-shadow";

/// Settings as they were given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// What the mirror is called; default: its target.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// `http://host[:port][/prefix]`, or `https://…`.
    pub target: String,
    /// How much of what is meant for the mirror is sent, 0 to 100, to four decimal places.
    #[serde(default = "all", skip_serializing_if = "is_all")]
    pub percent: f64,
    /// What decides.
    #[serde(default, skip_serializing_if = "is_default")]
    pub by: By,
    /// The header whose value decides, where `by` is `header`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// Only requests to one of these hosts; a name without a port stands for every port.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Only requests whose path begins with one of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prefixes: Vec<String>,
    /// Put in the place of the prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewrite: Option<String>,
    /// A condition on the exchange. Unless it names `role`, only what servers received is mirrored.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub filter: String,
    /// Default: GET, HEAD and OPTIONS.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// Send the recorded Host instead of the target's.
    #[serde(default, skip_serializing_if = "is_default")]
    pub keep_host: bool,
    /// Send the recorded Host with `-shadow` after the name.
    #[serde(default, skip_serializing_if = "is_default")]
    pub shadow_host: bool,
    /// At most so many requests a second; the others are not sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_rate: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_in_flight: Option<u32>,
    /// For a whole answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// What is older than this is not sent any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_lag: Option<String>,
    /// Compare each answer with the recorded response.
    #[serde(default, skip_serializing_if = "is_default")]
    pub compare: bool,
    /// Of an https target.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tls: Tls,
}

/// Exchanges that a TapPolicy keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    pub namespace: String,
    /// The policy's name in it.
    pub policy: String,
}

/// Checked settings.
#[derive(Debug)]
pub struct Rules {
    pub(super) name: String,
    /// What a replay to the target would do.
    pub(super) plan: Plan,
    pub(super) scope: Option<Scope>,
    pub(super) share: Share,
    /// In lower case.
    pub(super) hosts: Vec<String>,
    pub(super) prefixes: Vec<String>,
    pub(super) rewrite: Option<String>,
    pub(super) filter: Option<Condition>,
    pub(super) any_role: bool,
    pub(super) methods: Vec<String>,
    pub(super) host: HostForm,
    pub(super) max_rate: Option<f64>,
    pub(super) max_in_flight: usize,
    pub(super) timeout: Duration,
    pub(super) max_lag: Duration,
    pub(super) compare: bool,
}

/// Which Host is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HostForm {
    OfTarget,
    Recorded,
    Shadow,
}

/// A setting that can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct SettingsError {
    pub field: &'static str,
    pub problem: String,
}

impl Settings {
    /// A mirror of everything at `target`.
    pub fn at(target: impl Into<String>) -> Self {
        Self {
            name: String::new(),
            target: target.into(),
            percent: all(),
            by: By::default(),
            header: None,
            hosts: Vec::new(),
            prefixes: Vec::new(),
            rewrite: None,
            filter: String::new(),
            methods: Vec::new(),
            keep_host: false,
            shadow_host: false,
            max_rate: None,
            max_in_flight: None,
            timeout: None,
            max_lag: None,
            compare: false,
            tls: Tls::default(),
        }
    }

    /// What the mirror is called.
    pub fn name(&self) -> &str {
        if self.name.is_empty() { &self.target } else { &self.name }
    }
}

impl Rules {
    /// Checks settings; all errors come together. `id` goes into the marker header of each request.
    pub fn new(settings: &Settings, scope: Option<Scope>, id: &str) -> Result<Self, Vec<SettingsError>> {
        let mut errors = Errors::default();
        let name = settings.name();
        if name.is_empty() || name.len() > MAX_NAME || name.contains(|c: char| c.is_control()) {
            errors.add("name", format!("must be 1 to {MAX_NAME} bytes without control characters"));
        }
        let share = share(settings.percent, settings.by, settings.header.as_deref());
        let share = errors.take(share);
        let hosts = errors.list("hosts", &settings.hosts, |host| {
            let is_host =
                !host.is_empty() && host.len() <= 261 && host.bytes().all(|byte| byte.is_ascii_graphic());
            is_host.then(|| host.to_ascii_lowercase()).ok_or("is no host's name")
        });
        let prefixes = errors.list("prefixes", &settings.prefixes, path);
        let rewrite = settings.rewrite.as_deref().and_then(|text| {
            if settings.prefixes.is_empty() {
                errors.add("rewrite", "needs prefixes, in whose place it is put".to_owned());
            }
            path(text).map_err(|problem| errors.add("rewrite", format!("{text:?} {problem}"))).ok()
        });
        let filter = (!settings.filter.trim().is_empty()).then(|| {
            Condition::parse(&settings.filter).map_err(|error| errors.add("filter", error.to_string()))
        });
        let filter = filter.and_then(Result::ok);
        let methods = if settings.methods.is_empty() {
            SAFE_METHODS.map(str::to_owned).to_vec()
        } else {
            errors.list("methods", &settings.methods, |method| match method {
                "CONNECT" | "TRACE" => Err("can't be mirrored"),
                method if is_token(method) && method.len() <= 64 => Ok(method.to_owned()),
                _ => Err("is no method"),
            })
        };
        let host = match (settings.keep_host, settings.shadow_host) {
            (false, false) => HostForm::OfTarget,
            (true, false) => HostForm::Recorded,
            (false, true) => HostForm::Shadow,
            (true, true) => {
                errors.add("shadow_host", "and keep_host: one of them".to_owned());
                HostForm::OfTarget
            }
        };
        if let Some(rate) = settings.max_rate
            && !(rate > 0.0 && rate <= MAX_RATE_LIMIT)
        {
            errors.add("max_rate", format!("must be more than 0 and at most {MAX_RATE_LIMIT}, is {rate}"));
        }
        let max_in_flight = settings.max_in_flight.unwrap_or(DEFAULT_MAX_IN_FLIGHT);
        if !(1..=MAX_IN_FLIGHT_LIMIT).contains(&max_in_flight) {
            errors.add("max_in_flight", format!("must be 1 to {MAX_IN_FLIGHT_LIMIT}, is {max_in_flight}"));
        }
        let timeout = errors.duration("timeout", settings.timeout.as_deref(), DEFAULT_TIMEOUT, TIMEOUT_LIMIT);
        let max_lag = errors.duration("max_lag", settings.max_lag.as_deref(), DEFAULT_MAX_LAG, MAX_LAG_LIMIT);
        let tls = errors.take(settings.tls.read()).unwrap_or_default();
        let plan = Plan::validate(RawPlan {
            id: id.to_owned(),
            target: settings.target.clone(),
            allow_methods: methods.clone(),
            keep_host: host != HostForm::OfTarget,
            tls,
            ..RawPlan::default()
        });
        let plan = plan.map_err(|problems| {
            for problem in problems {
                // What else is given here was checked above.
                let field = if matches!(problem, PlanError::Tls(_)) { "tls" } else { "target" };
                errors.add(field, problem.to_string());
            }
        });
        match (plan, share) {
            (Ok(plan), Some(share)) if errors.0.is_empty() => Ok(Self {
                name: name.to_owned(),
                plan,
                scope,
                share,
                hosts,
                prefixes,
                rewrite,
                filter,
                any_role: names_role(&settings.filter),
                methods,
                host,
                max_rate: settings.max_rate,
                max_in_flight: max_in_flight as usize,
                timeout,
                max_lag,
                compare: settings.compare,
            }),
            _ => Err(errors.0),
        }
    }

    pub fn target(&self) -> &Target {
        self.plan.target()
    }
}

impl HostForm {
    /// The Host to send for a recorded one.
    pub(super) fn of(self, recorded: &[u8]) -> Vec<u8> {
        match self {
            Self::OfTarget | Self::Recorded => recorded.to_vec(),
            Self::Shadow => {
                // A colon inside the brackets of an IPv6 address is none before a port.
                let after_address = recorded.iter().rposition(|&byte| byte == b']').map_or(0, |end| end + 1);
                let colon = recorded[after_address..].iter().position(|&byte| byte == b':');
                let end = colon.map_or(recorded.len(), |colon| after_address + colon);
                [&recorded[..end], SHADOW.as_bytes(), &recorded[end..]].concat()
            }
        }
    }
}

#[derive(Default)]
struct Errors(Vec<SettingsError>);

impl Errors {
    fn add(&mut self, field: &'static str, problem: String) {
        self.0.push(SettingsError { field, problem });
    }

    fn take<T>(&mut self, result: Result<T, (&'static str, String)>) -> Option<T> {
        result.map_err(|(field, problem)| self.add(field, problem)).ok()
    }

    fn list<P: fmt::Display>(
        &mut self,
        field: &'static str,
        entries: &[String],
        check: impl Fn(&str) -> Result<String, P>,
    ) -> Vec<String> {
        if entries.len() > MAX_ENTRIES {
            self.add(field, format!("{} entries; {MAX_ENTRIES} are allowed", entries.len()));
            return Vec::new();
        }
        let mut checked = Vec::with_capacity(entries.len());
        for entry in entries {
            match check(entry) {
                Ok(entry) => checked.push(entry),
                Err(problem) => self.add(field, format!("{entry:?} {problem}")),
            }
        }
        checked
    }

    fn duration(
        &mut self,
        field: &'static str,
        text: Option<&str>,
        default: Duration,
        limit: Duration,
    ) -> Duration {
        let Some(text) = text else { return default };
        let parsed =
            text.parse::<SignedDuration>().ok().and_then(|duration| Duration::try_from(duration).ok());
        match parsed {
            Some(duration) if !duration.is_zero() && duration <= limit => duration,
            _ => {
                self.add(field, format!("must be a duration such as 10s, at most {limit:?}, is {text:?}"));
                default
            }
        }
    }
}

fn path(text: &str) -> Result<String, &'static str> {
    let is_path =
        text.starts_with('/') && text.len() <= 1024 && text.bytes().all(|byte| byte.is_ascii_graphic());
    (is_path && !text.contains(['?', '#'])).then(|| text.to_owned()).ok_or("is no path such as /cart")
}

fn all() -> f64 {
    100.0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_all(percent: &f64) -> bool {
    *percent >= all()
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
