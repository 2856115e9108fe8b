//! The agent's configuration: raw settings checked once into one struct, all errors together.

mod budget;
mod kubernetes;
mod raw;
mod redaction;

use std::{collections::HashSet, fmt, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use tap_admin::LogFormat;
use tap_flow::Limits;
use tap_policy::Replayed;
use tonic::transport::Endpoint;

use crate::budget::Budget;
use crate::capture::{MAX_PORTS, MAX_RING_BYTES, MAX_RINGS, MAX_SEGMENT_CAP, MIN_RING_BYTES};
use crate::reload::Source;

pub use kubernetes::{Kubernetes, MAX_COLLECTORS};
pub use raw::{
    AdminSettings, BudgetSettings, KubernetesSettings, LimitSettings, LogSettings, Quantity,
    RedactionSettings, RingSettings, Settings, SpoolSettings, TargetSettings,
};
pub use redaction::{Redaction, announce_keeps};

/// Where a collector listens unless told otherwise.
pub const DEFAULT_COLLECTOR: &str = "http://127.0.0.1:7070";
const DEFAULT_ADMIN: &str = "127.0.0.1:7072";
/// kube tells every failed request as an error; the watches say what matters of it, once.
const DEFAULT_LOG_FILTER: &str = "info,kube_client=off,kube_runtime=off";
const DEFAULT_DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Half a second of 32 MiB/s for each ring: the reader comes round every few milliseconds, but may be preempted.
const DEFAULT_RING_BYTES: u64 = 16 * MIB;
/// A minute of 1 MiB/s; with the rings it stays below what the agent may use.
const DEFAULT_SPOOL_BYTES: u64 = 64 * MIB;
/// Reassembly buffers of all rings together.
const DEFAULT_TOTAL_BYTES: u64 = 64 * MIB;

/// Two bodies and two heads of an exchange must fit into one message: see `batch::MAX_EXCHANGE_BYTES`.
const MAX_BODY_BYTES: u64 = MIB;
const MAX_HEAD_BYTES: u64 = 256 * KIB;

/// A valid configuration. Its `Debug` shows no secret.
#[derive(Clone, Debug)]
pub struct Config {
    pub agent: String,
    pub collector: Collector,
    pub targets: Vec<TargetConfig>,
    /// `None` outside a cluster.
    pub kubernetes: Option<Kubernetes>,
    /// Requests that Podtap itself sent, to targets that are no pods.
    pub replayed: Replayed,
    pub rings: RingConfig,
    pub limits: Limits,
    pub budget: Budget,
    pub redaction: Redaction,
    /// Where it comes from, to be followed.
    pub redaction_source: Source,
    pub spool_bytes: usize,
    /// `None`: no admin port.
    pub admin: Option<SocketAddr>,
    pub log: LogConfig,
    pub drain_timeout: Duration,
    /// Whether to find out at the start what the hooks see on this kernel.
    pub self_test: bool,
}

/// The collector's address.
#[derive(Clone)]
pub struct Collector(pub Endpoint);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetConfig {
    pub name: String,
    pub selector: Selector,
    pub ports: PortFilter,
    /// The systemd unit or command, where known.
    pub workload: String,
}

/// How a target is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// Absolute below the cgroup2 mount, or from its root.
    Cgroup(PathBuf),
    SystemdUnit(String),
    Pid(u32),
    /// The pod whose cgroup has this name: its UID, or a static pod's hash.
    Pod(Arc<str>),
}

/// Which connections of a target are captured: those with a listed port at either end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortFilter {
    All,
    Only(Vec<u16>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingConfig {
    pub count: usize,
    /// Of each: a power of two, and of the page size.
    pub bytes: usize,
    pub segment_bytes: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    pub filter: String,
    pub format: LogFormat,
}

/// Everything that is wrong with the settings, each with the setting's name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigErrors(pub Vec<String>);

impl Config {
    /// Checks settings. `host` is the name of this host.
    pub fn new(settings: Settings, host: &str) -> Result<Self, ConfigErrors> {
        let Settings {
            agent,
            collector,
            targets,
            kubernetes,
            replayed,
            rings,
            limits,
            budget,
            redaction,
            spool,
            admin,
            log,
            drain_timeout,
            self_test,
        } = settings;
        let mut errors = Errors::default();
        let kubernetes = kubernetes::check(kubernetes, &mut errors);
        let node = kubernetes.as_ref().map(|kubernetes| kubernetes.node.as_str());
        let agent = errors.check("agent", agent_name(agent.as_deref().or(node).unwrap_or(host)));
        let collector =
            errors.check("collector", collector_endpoint(collector.as_deref().unwrap_or(DEFAULT_COLLECTOR)));
        if targets.is_empty() && kubernetes.is_none() {
            errors.add(
                "targets",
                "name at least one, with a cgroup, systemd_unit or pid; or name this node as kubernetes.node",
            );
        }
        let targets = target_configs(targets, &mut errors);
        let rings = ring_config(&rings, &mut errors);
        let limits = limits_of(&limits, rings.count, &mut errors);
        let budget = budget::check(&budget, &rings, &mut errors);
        let redaction = errors.redaction(Redaction::new(redaction, None));
        let spool_bytes = errors.bytes("spool.bytes", spool.bytes.as_ref(), DEFAULT_SPOOL_BYTES, MIB, GIB);
        let admin = admin_address(admin.listen.as_deref().unwrap_or(DEFAULT_ADMIN));
        let admin = errors.check("admin.listen", admin);
        let log = log_config(log, &mut errors);
        let drain_timeout = errors.duration("drain_timeout", drain_timeout.as_deref(), DEFAULT_DRAIN_TIMEOUT);
        match redaction {
            Some(redaction) if errors.0.is_empty() => Ok(Self {
                agent,
                collector,
                targets,
                kubernetes,
                replayed,
                rings,
                limits,
                budget,
                redaction,
                redaction_source: Source::default(),
                spool_bytes: spool_bytes as usize,
                admin,
                log,
                drain_timeout,
                self_test: self_test.unwrap_or(true),
            }),
            _ => Err(ConfigErrors(errors.0)),
        }
    }
}

impl RingConfig {
    /// Of all rings together.
    pub fn total_bytes(&self) -> u64 {
        self.count as u64 * self.bytes as u64
    }
}

impl Default for Collector {
    fn default() -> Self {
        Self(Endpoint::from_static(DEFAULT_COLLECTOR))
    }
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.uri().fmt(f)
    }
}

/// Collects what is wrong while the rest is checked.
#[derive(Debug, Default)]
struct Errors(Vec<String>);

impl Errors {
    fn add(&mut self, setting: &str, problem: impl fmt::Display) {
        self.0.push(format!("{setting}: {problem}"));
    }

    /// The value, or a stand-in that nobody will see: there is an error.
    fn check<T: Default>(&mut self, setting: &str, result: Result<T, String>) -> T {
        result.unwrap_or_else(|problem| {
            self.add(setting, problem);
            T::default()
        })
    }

    fn bytes(&mut self, setting: &str, quantity: Option<&Quantity>, default: u64, min: u64, max: u64) -> u64 {
        let bytes = quantity.map_or(Ok(default), Quantity::bytes).and_then(|bytes| {
            if (min..=max).contains(&bytes) {
                Ok(bytes)
            } else {
                Err(format!("must be {min} to {max} bytes, is {bytes}"))
            }
        });
        self.check(setting, bytes)
    }

    /// `None` where something is wrong.
    fn redaction(&mut self, redaction: Result<Redaction, ConfigErrors>) -> Option<Redaction> {
        redaction.map_err(|ConfigErrors(problems)| self.0.extend(problems)).ok()
    }

    fn duration(&mut self, setting: &str, text: Option<&str>, default: Duration) -> Duration {
        let duration = text.map_or(Ok(default), |text| {
            humantime::parse_duration(text)
                .map_err(|error| format!("{text:?} is no duration such as 10s: {error}"))
        });
        self.check(setting, duration)
    }
}

fn agent_name(name: &str) -> Result<String, String> {
    if name.is_empty() || name.len() > 253 || name.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(format!("must be 1 to 253 characters without white space, is {name:?}"));
    }
    Ok(name.to_owned())
}

fn collector_endpoint(url: &str) -> Result<Collector, String> {
    // As Kubernetes has it in the variables of a Service: PODTAP_COLLECTOR_PORT is tcp://10.0.0.1:7070.
    let url = &url.strip_prefix("tcp://").map_or_else(|| url.to_owned(), |rest| format!("http://{rest}"));
    let parsed = url::Url::parse(url)
        .map_err(|error| format!("{url:?} is no URL such as {DEFAULT_COLLECTOR}: {error}"))?;
    if parsed.scheme() != "http" {
        return Err(format!("must begin with http:// (TLS is not supported yet), is {:?}", parsed.scheme()));
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err("must not hold a user name or password".to_owned());
    }
    if parsed.path() != "/" || parsed.query().is_some() {
        return Err("must be scheme, host and port alone".to_owned());
    }
    Endpoint::from_shared(url.clone()).map(Collector).map_err(|error| error.to_string())
}

fn admin_address(listen: &str) -> Result<Option<SocketAddr>, String> {
    if listen == "off" {
        return Ok(None);
    }
    listen
        .parse()
        .map(Some)
        .map_err(|_| format!("must be address:port such as {DEFAULT_ADMIN}, or off; is {listen:?}"))
}

fn log_config(log: LogSettings, errors: &mut Errors) -> LogConfig {
    let LogSettings { filter, format } = log;
    LogConfig {
        filter: filter.unwrap_or_else(|| DEFAULT_LOG_FILTER.to_owned()),
        format: errors.check(
            "log.format",
            format.map_or(Ok(LogFormat::Text), |format| {
                format.parse().map_err(|_| format!("must be text or json, is {format:?}"))
            }),
        ),
    }
}

fn ring_config(rings: &RingSettings, errors: &mut Errors) -> RingConfig {
    let RingSettings { count, bytes, segment_bytes } = rings;
    // One reader keeps up with more than one CPU's traffic; more rings than that cost memory.
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let count = count.unwrap_or_else(|| cpus.div_ceil(4).next_power_of_two().min(MAX_RINGS));
    if !(1..=MAX_RINGS).contains(&count) || !count.is_power_of_two() {
        errors.add("rings.count", format_args!("must be a power of two from 1 to {MAX_RINGS}, is {count}"));
    }
    let (min, max) = (MIN_RING_BYTES as u64, MAX_RING_BYTES as u64);
    let bytes = errors.bytes("rings.bytes", bytes.as_ref(), DEFAULT_RING_BYTES, min, max);
    if bytes != 0 && !bytes.is_power_of_two() {
        errors.add("rings.bytes", format_args!("must be a power of two, is {bytes}"));
    }
    let max = u64::from(MAX_SEGMENT_CAP);
    let segment_bytes = errors.bytes("rings.segment_bytes", segment_bytes.as_ref(), max, 256, max) as u32;
    RingConfig { count, bytes: bytes as usize, segment_bytes }
}

fn limits_of(limits: &LimitSettings, rings: usize, errors: &mut Errors) -> Limits {
    let LimitSettings { body_bytes, head_bytes, total_bytes, flows, idle } = limits;
    let default = Limits::default();
    let total = DEFAULT_TOTAL_BYTES / rings.max(1) as u64;
    let idle = errors.duration("limits.idle", idle.as_deref(), Duration::from_nanos(default.idle_ns));
    let flows = flows.unwrap_or(default.flows);
    if flows == 0 {
        errors.add("limits.flows", "must be at least 1");
    }
    Limits {
        body_bytes: errors.bytes(
            "limits.body_bytes",
            body_bytes.as_ref(),
            default.body_bytes as u64,
            0,
            MAX_BODY_BYTES,
        ) as usize,
        head_bytes: errors.bytes(
            "limits.head_bytes",
            head_bytes.as_ref(),
            default.head_bytes as u64,
            KIB,
            MAX_HEAD_BYTES,
        ) as usize,
        total_bytes: errors.bytes("limits.total_bytes", total_bytes.as_ref(), total, MIB, GIB) as usize,
        flows,
        idle_ns: u64::try_from(idle.as_nanos()).unwrap_or(u64::MAX),
        ..default
    }
}

fn target_configs(targets: Vec<TargetSettings>, errors: &mut Errors) -> Vec<TargetConfig> {
    let mut names = HashSet::new();
    let mut configs = Vec::new();
    for (index, target) in targets.into_iter().enumerate() {
        let setting = format!("targets[{index}]");
        let TargetSettings { name, cgroup, systemd_unit, pid, ports } = target;
        if name.is_empty() || name.len() > 253 || name.chars().any(char::is_control) {
            errors.add(&format!("{setting}.name"), "must be 1 to 253 characters");
        } else if !names.insert(name.clone()) {
            errors.add(&format!("{setting}.name"), format_args!("{name:?} is the name of another target"));
        }
        let selector = match (cgroup, systemd_unit, pid) {
            (Some(path), None, None) => Some(Selector::Cgroup(path)),
            (None, Some(unit), None) if unit.is_empty() || unit.contains('/') => {
                errors.add(&format!("{setting}.systemd_unit"), format_args!("{unit:?} is no unit's name"));
                None
            }
            (None, Some(unit), None) => Some(Selector::SystemdUnit(unit)),
            (None, None, Some(pid)) => Some(Selector::Pid(pid)),
            _ => {
                errors.add(&setting, "must have exactly one of cgroup, systemd_unit and pid");
                None
            }
        };
        let mut filter = Vec::new();
        for port in ports {
            match u16::try_from(port) {
                Ok(port) if port != 0 => filter.push(port),
                _ => errors.add(&format!("{setting}.ports"), format_args!("must be 1 to 65535, is {port}")),
            }
        }
        if filter.len() > MAX_PORTS {
            errors.add(&format!("{setting}.ports"), format_args!("must be {MAX_PORTS} at most"));
        }
        let ports = if filter.is_empty() { PortFilter::All } else { PortFilter::Only(filter) };
        configs.extend(selector.map(|selector| {
            let workload = match &selector {
                Selector::SystemdUnit(unit) => unit.clone(),
                Selector::Cgroup(_) | Selector::Pid(_) | Selector::Pod(_) => String::new(),
            };
            TargetConfig { name, selector, ports, workload }
        }));
    }
    configs
}

#[cfg(test)]
mod tests;
