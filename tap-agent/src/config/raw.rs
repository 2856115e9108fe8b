//! Settings as users write them, in a file or as flags; nothing is checked here but the shape.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use serde::Deserialize;
use tap_policy::Replayed;
use tap_redact::{AllowSettings, BodySettings, OpaqueBodies, ProfileSettings, RuleSettings};

/// The settings file. Flags of the same name override it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The agent's name, unique among the agents of a table. Default: the host's name.
    pub agent: Option<String>,
    /// Where to send: `http://host:port`.
    pub collector: Option<String>,
    #[serde(default)]
    pub targets: Vec<TargetSettings>,
    #[serde(default)]
    pub kubernetes: KubernetesSettings,
    /// Requests that Podtap itself sent: `drop` or `keep`. Of `targets`; policies say it of pods.
    #[serde(default)]
    pub replayed: Replayed,
    #[serde(default)]
    pub rings: RingSettings,
    #[serde(default)]
    pub limits: LimitSettings,
    #[serde(default)]
    pub redaction: RedactionSettings,
    #[serde(default)]
    pub budget: BudgetSettings,
    #[serde(default)]
    pub spool: SpoolSettings,
    #[serde(default)]
    pub admin: AdminSettings,
    #[serde(default)]
    pub log: LogSettings,
    /// How long to wait at the end for the collector, e.g. `10s`.
    pub drain_timeout: Option<String>,
    /// Find out at the start what the hooks see on this kernel. Default: true.
    pub self_test: Option<bool>,
}

/// What to tap: exactly one of `cgroup`, `systemd_unit` and `pid`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetSettings {
    pub name: String,
    pub cgroup: Option<PathBuf>,
    pub systemd_unit: Option<String>,
    pub pid: Option<u32>,
    /// Only connections with one of these at either end. Default: all.
    #[serde(default)]
    pub ports: Vec<u32>,
}

/// Pods of a Kubernetes node, as TapPolicies select them.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KubernetesSettings {
    /// The name of this node in the cluster; its presence turns pods on.
    pub node: Option<String>,
    /// Where the host's cgroup file systems are mounted, in a container. Default: as `/proc/self/mounts` says.
    pub cgroup_root: Option<PathBuf>,
    /// Collectors that policies may name, beside the agent's own: `http://host:port`.
    #[serde(default)]
    pub collectors: Vec<String>,
}

/// The rings between kernel and agent.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RingSettings {
    pub count: Option<usize>,
    /// Of each ring.
    pub bytes: Option<Quantity>,
    /// Copied of a segment at most.
    pub segment_bytes: Option<Quantity>,
}

/// What reassembly keeps.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitSettings {
    /// Of each body.
    pub body_bytes: Option<Quantity>,
    /// Of each head.
    pub head_bytes: Option<Quantity>,
    /// Of all connections together, for each ring.
    pub total_bytes: Option<Quantity>,
    /// Connections, for each ring.
    pub flows: Option<usize>,
    /// Silence after which a connection is given up, e.g. `2m`.
    pub idle: Option<String>,
}

/// What the agent may use of its node. Near it, connections are left out, and counted.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BudgetSettings {
    /// Rings, connections and spools together. Default: the limit of the agent's cgroup.
    pub memory: Option<Quantity>,
    /// A number of cores, e.g. `0.5`. Default: none.
    pub cpu: Option<f64>,
}

/// How to redact: the key, and [`tap_redact::Settings`] field by field, as serde can't refuse unknown fields of a
/// struct that it flattens.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RedactionSettings {
    /// A file with the key of the tokens. Default: a random key for each run.
    pub key_file: Option<PathBuf>,
    pub profile: Option<String>,
    pub profiles: BTreeMap<String, ProfileSettings>,
    pub rules: Vec<RuleSettings>,
    /// Header names.
    pub headers: Vec<String>,
    /// Names of query parameters.
    pub query: Vec<String>,
    /// Names of fields of bodies.
    pub fields: Vec<String>,
    pub allow: AllowSettings,
    pub bodies: BodySettings,
    /// The former name of `bodies.opaque`.
    pub opaque_bodies: Option<OpaqueBodies>,
}

impl RedactionSettings {
    /// The key's file, and what redaction itself knows of.
    pub(super) fn into_parts(self) -> (Option<PathBuf>, tap_redact::Settings) {
        let Self { key_file, profile, profiles, rules, headers, query, fields, allow, bodies, opaque_bodies } =
            self;
        let settings = tap_redact::Settings {
            profile,
            profiles,
            rules,
            headers,
            query,
            fields,
            allow,
            bodies,
            opaque_bodies,
        };
        (key_file, settings)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpoolSettings {
    /// Of encoded exchanges, kept until the collector has stored them.
    pub bytes: Option<Quantity>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminSettings {
    /// Address and port; `off` for none.
    pub listen: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSettings {
    /// As in `RUST_LOG`: `info`, `tap_agent=debug,warn`.
    pub filter: Option<String>,
    /// `text` or `json`.
    pub format: Option<String>,
}

/// A number of bytes: `65536`, `64KiB`, `1 MB`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Quantity {
    Number(u64),
    Text(String),
}

impl Quantity {
    pub(super) fn bytes(&self) -> Result<u64, String> {
        match self {
            Self::Number(bytes) => Ok(*bytes),
            Self::Text(text) => text
                .parse()
                .map(|bytesize::ByteSize(bytes)| bytes)
                .map_err(|_| format!("{text:?} is no number of bytes, e.g. 64KiB")),
        }
    }
}

impl From<&str> for Quantity {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(bytes) => bytes.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}
