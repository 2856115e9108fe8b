//! Settings: a YAML file and flags, raw, become one validated [`Config`]. All errors are reported together.
//!
//! The file's sections are the first words of the flags' names: `commit.interval` is `--commit-interval`. A flag
//! wins over the file.

use std::{collections::BTreeMap, fmt, fs, net::SocketAddr, path::PathBuf, time::Duration};

use clap::Parser;
use serde::Deserialize;
use tap_admin::LogFormat;
use tap_replay::mirror;
use tap_store::Retention;
use url::Url;

use crate::replays::AllowedTarget;

mod mirrors;
mod retention;
mod values;

pub use retention::{NamespaceSettings, RetentionSettings};
pub use values::parse_store;

use values::{
    MIB, parse_address, parse_interval, parse_kubernetes_name, parse_log_filter, parse_size_within,
    text_or_number, without_credentials,
};

/// Loopback: the data port has no authentication. In a cluster, where the network is somebody's policy, set
/// `[::]:7070`.
const DEFAULT_LISTEN: &str = "127.0.0.1:7070";
const DEFAULT_ADMIN_LISTEN: &str = "127.0.0.1:7071";
const DEFAULT_STORE: &str = "podtap-data";
const DEFAULT_COMMIT_INTERVAL: &str = "1s";
/// Large enough that a commit's fixed cost is small beside it, small enough to hold twice in memory.
const DEFAULT_COMMIT_BYTES: &str = "16MiB";
const DEFAULT_QUEUE_BYTES: &str = "64MiB";
const DEFAULT_LEASE: &str = "podtap-collector";
const COMMIT_BYTES_RANGE: std::ops::RangeInclusive<u64> = MIB..=1024 * MIB;
const QUEUE_BYTES_LIMIT: u64 = 16 * 1024 * MIB;

/// The collector of Podtap: takes exchanges from agents, keeps them in a Delta Lake table, answers queries,
/// replays.
///
/// Every option but --config can be set in the file too: `commit: {interval: 2s}`.
#[derive(Clone, Debug, Default, Parser)]
#[command(name = "tap-collector", version)]
pub struct Settings {
    /// A YAML file of settings; flags win over it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Where gRPC is served: agents, queries, replay. There is no authentication [default: 127.0.0.1:7070]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<String>,

    /// Where /metrics, /ready, /live and /log-level are served [default: 127.0.0.1:7071]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub admin_listen: Option<String>,

    /// The table's place: a directory, file:///DIRECTORY or s3://BUCKET/PREFIX [default: podtap-data]
    #[arg(long, value_name = "URL")]
    pub store: Option<String>,

    /// Only read the table: agents are refused, mirrors send what other collectors commit. Needs no right but to
    /// list and get
    #[arg(long)]
    pub read_only: bool,

    /// Commit at least this often while there is something to commit [default: 1s]
    #[arg(long, value_name = "DURATION")]
    pub commit_interval: Option<String>,

    /// Commit earlier once this much is waiting [default: 16MiB]
    #[arg(long, value_name = "SIZE")]
    pub commit_bytes: Option<String>,

    /// Stop reading from agents while this much is waiting [default: 64MiB]
    #[arg(long, value_name = "SIZE")]
    pub queue_bytes: Option<String>,

    /// Remove exchanges whose time is longer ago [default: none are removed]
    #[arg(long, value_name = "DURATION")]
    pub retention_max_age: Option<String>,

    /// Remove the oldest exchanges while the table is larger [default: no bound]
    #[arg(long, value_name = "SIZE")]
    pub retention_max_bytes: Option<String>,

    /// Keep files for this long that the table does not name any more, for pages and tails under way; 1d at
    /// most [default: 1d]
    #[arg(long, value_name = "DURATION")]
    pub retention_grace: Option<String>,

    /// The ages of namespaces; only in the file
    #[arg(skip)]
    pub retention_namespaces: BTreeMap<String, NamespaceSettings>,

    /// A target that replays may be sent at, http://HOST[:PORT][/PREFIX]; may be given again. Without any,
    /// replays are refused
    #[arg(long, value_name = "URL")]
    pub allow_replay_target: Vec<String>,

    /// A target that mirrors of TapPolicies may send to, http://HOST[:PORT][/PREFIX]; may be given again. Without
    /// any, they are refused
    #[arg(long, value_name = "URL")]
    pub allow_mirror_target: Vec<String>,

    /// The mirrors that run whatever policies say; only in the file
    #[arg(skip)]
    pub mirrors: Vec<mirror::Settings>,

    /// In a cluster: name the peers of exchanges, and write the statuses of TapPolicies
    #[arg(long)]
    pub kubernetes: bool,

    /// Where the Lease is by which replicas choose who writes [default: the namespace of the service account]
    #[arg(long, value_name = "NAMESPACE")]
    pub kubernetes_namespace: Option<String>,

    /// Its name, the same for all replicas [default: podtap-collector]
    #[arg(long, value_name = "NAME")]
    pub kubernetes_lease: Option<String>,

    /// What is logged: a level, or a filter as `warn,tap_collector=debug` [default: info]
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,

    /// text or json [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
}

/// The settings in a file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FileSettings {
    listen: Option<String>,
    admin: AdminSection,
    store: Option<String>,
    read_only: bool,
    commit: CommitSection,
    queue: QueueSection,
    retention: RetentionSettings,
    replay: ReplaySection,
    mirror: MirrorSection,
    mirrors: Vec<mirror::Settings>,
    kubernetes: KubernetesSection,
    log: LogSection,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct AdminSection {
    listen: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct CommitSection {
    interval: Option<String>,
    #[serde(deserialize_with = "text_or_number")]
    bytes: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct QueueSection {
    #[serde(deserialize_with = "text_or_number")]
    bytes: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ReplaySection {
    allow_targets: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct MirrorSection {
    allow_targets: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct KubernetesSection {
    enabled: bool,
    namespace: Option<String>,
    lease: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LogSection {
    filter: Option<String>,
    format: Option<String>,
}

/// What the collector runs with. [`Settings::validate`] makes one.
#[derive(Clone, Debug)]
pub struct Config {
    pub listen: SocketAddr,
    pub admin_listen: SocketAddr,
    pub store: Url,
    pub read_only: bool,
    pub commit_interval: Duration,
    pub commit_bytes: usize,
    pub queue_bytes: usize,
    pub retention: Retention,
    pub allow_replay_targets: Vec<AllowedTarget>,
    /// Of the mirrors of TapPolicies.
    pub allow_mirror_targets: Vec<AllowedTarget>,
    /// Checked.
    pub mirrors: Vec<mirror::Settings>,
    /// Absent outside a cluster.
    pub kubernetes: Option<KubernetesConfig>,
    pub log_filter: String,
    pub log_format: LogFormat,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubernetesConfig {
    /// Of the lease; absent for that of the service account.
    pub namespace: Option<String>,
    pub lease: String,
}

/// One setting that can't be used, by name.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("config {path}: {source}", path = path.display())]
    ReadFile { path: PathBuf, source: std::io::Error },
    #[error("config {path}: {source}", path = path.display())]
    ParseFile { path: PathBuf, source: serde_yaml_ng::Error },
    #[error("{setting} {value:?}: {reason}")]
    Value { setting: &'static str, value: String, reason: String },
}

impl Settings {
    /// Reads the file, puts the flags over it and checks everything.
    pub fn validate(self) -> Result<Config, Vec<ConfigError>> {
        let file = match &self.config {
            Some(path) => read_file(path).map_err(|error| vec![error])?,
            None => FileSettings::default(),
        };
        self.over(file).check()
    }

    /// These settings, and where one is not set, that of `file`.
    fn over(self, file: FileSettings) -> Self {
        let FileSettings {
            listen,
            admin,
            store,
            read_only,
            commit,
            queue,
            retention,
            replay,
            mirror,
            mirrors,
            kubernetes,
            log,
        } = file;
        let flags = RetentionSettings {
            max_age: self.retention_max_age,
            max_bytes: self.retention_max_bytes,
            grace: self.retention_grace,
            namespaces: self.retention_namespaces,
        };
        let retention = flags.over(retention);
        Self {
            config: self.config,
            listen: self.listen.or(listen),
            admin_listen: self.admin_listen.or(admin.listen),
            store: self.store.or(store),
            read_only: self.read_only || read_only,
            commit_interval: self.commit_interval.or(commit.interval),
            commit_bytes: self.commit_bytes.or(commit.bytes),
            queue_bytes: self.queue_bytes.or(queue.bytes),
            retention_max_age: retention.max_age,
            retention_max_bytes: retention.max_bytes,
            retention_grace: retention.grace,
            retention_namespaces: retention.namespaces,
            allow_replay_target: if self.allow_replay_target.is_empty() {
                replay.allow_targets
            } else {
                self.allow_replay_target
            },
            allow_mirror_target: if self.allow_mirror_target.is_empty() {
                mirror.allow_targets
            } else {
                self.allow_mirror_target
            },
            mirrors: if self.mirrors.is_empty() { mirrors } else { self.mirrors },
            kubernetes: self.kubernetes || kubernetes.enabled,
            kubernetes_namespace: self.kubernetes_namespace.or(kubernetes.namespace),
            kubernetes_lease: self.kubernetes_lease.or(kubernetes.lease),
            log: self.log.or(log.filter),
            log_format: self.log_format.or(log.format),
        }
    }

    fn check(self) -> Result<Config, Vec<ConfigError>> {
        let Self {
            config: _,
            listen,
            admin_listen,
            store,
            read_only,
            commit_interval,
            commit_bytes,
            queue_bytes,
            retention_max_age: max_age,
            retention_max_bytes: max_bytes,
            retention_grace: grace,
            retention_namespaces: namespaces,
            allow_replay_target,
            allow_mirror_target,
            mirrors,
            kubernetes,
            kubernetes_namespace,
            kubernetes_lease,
            log,
            log_format,
        } = self;
        let mut errors = Errors::default();
        let listen = errors.take("listen", listen, DEFAULT_LISTEN, parse_address);
        let admin_listen = errors.take("admin.listen", admin_listen, DEFAULT_ADMIN_LISTEN, parse_address);
        let store = errors.take("store", store, DEFAULT_STORE, parse_store);
        if store.is_none()
            && let Some(ConfigError::Value { value, .. }) = errors.0.last_mut()
        {
            *value = without_credentials(value);
        }
        let commit_interval =
            errors.take("commit.interval", commit_interval, DEFAULT_COMMIT_INTERVAL, parse_interval);
        let commit_bytes = errors.take("commit.bytes", commit_bytes, DEFAULT_COMMIT_BYTES, |text| {
            parse_size_within(text, COMMIT_BYTES_RANGE)
        });
        let queue_minimum = commit_bytes.unwrap_or_default() as u64;
        let queue_bytes = errors.take("queue.bytes", queue_bytes, DEFAULT_QUEUE_BYTES, |text| {
            parse_size_within(text, queue_minimum..=QUEUE_BYTES_LIMIT)
                .map_err(|reason| format!("{reason}; it must hold commit.bytes"))
        });
        let retention = RetentionSettings { max_age, max_bytes, grace, namespaces }.check(&mut errors);
        let mut allow_replay_targets = Vec::new();
        for target in allow_replay_target {
            allow_replay_targets.extend(errors.take("replay.allow_targets", Some(target), "", str::parse));
        }
        let mut allow_mirror_targets = Vec::new();
        for target in allow_mirror_target {
            allow_mirror_targets.extend(errors.take("mirror.allow_targets", Some(target), "", str::parse));
        }
        mirrors::check(&mirrors, &mut errors);
        let namespace = kubernetes_namespace.and_then(|namespace| {
            errors.take("kubernetes.namespace", Some(namespace), "", parse_kubernetes_name)
        });
        let lease = errors.take("kubernetes.lease", kubernetes_lease, DEFAULT_LEASE, parse_kubernetes_name);
        let kubernetes = lease.filter(|_| kubernetes).map(|lease| KubernetesConfig { namespace, lease });
        if read_only && kubernetes.is_some() {
            errors.0.push(ConfigError::Value {
                setting: "read_only",
                value: read_only.to_string(),
                reason: "can't be with kubernetes.enabled: statuses and names of peers are for who takes agents' streams"
                    .to_owned(),
            });
        }
        let log_filter = errors.take("log.filter", log, "info", parse_log_filter);
        let log_format = errors.take("log.format", log_format, "text", |text| {
            text.parse::<LogFormat>().map_err(|error| error.to_string())
        });
        // Each is `Some` where there is no error.
        let config = (|| {
            Some(Config {
                listen: listen?,
                admin_listen: admin_listen?,
                store: store?,
                read_only,
                commit_interval: commit_interval?,
                commit_bytes: commit_bytes?,
                queue_bytes: queue_bytes?,
                retention: retention?,
                allow_replay_targets,
                allow_mirror_targets,
                mirrors,
                kubernetes,
                log_filter: log_filter?,
                log_format: log_format?,
            })
        })();
        match config {
            Some(config) if errors.0.is_empty() => Ok(config),
            _ => Err(errors.0),
        }
    }
}

/// In the form of the settings, without credentials that a URL may carry.
impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            listen,
            admin_listen,
            store,
            read_only,
            commit_interval,
            commit_bytes,
            queue_bytes,
            retention,
            allow_replay_targets,
            allow_mirror_targets,
            mirrors,
            kubernetes,
            log_filter,
            log_format,
        } = self;
        let store = without_credentials(store.as_str());
        write!(
            f,
            "listen={listen} admin.listen={admin_listen} store={store} read_only={read_only} \
             commit.interval={commit_interval:?} commit.bytes={commit_bytes} queue.bytes={queue_bytes} {retention} \
             replay.allow_targets=[{targets}] mirror.allow_targets=[{mirror_targets}] mirrors=[{mirrors}] \
             kubernetes.enabled={enabled}",
            retention = retention::show(retention),
            targets = allow_replay_targets.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            mirror_targets =
                allow_mirror_targets.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            mirrors = mirrors.iter().map(mirror::Settings::name).collect::<Vec<_>>().join(" "),
            enabled = kubernetes.is_some(),
        )?;
        if let Some(KubernetesConfig { namespace, lease }) = kubernetes {
            let namespace = namespace.as_deref().unwrap_or_default();
            write!(f, " kubernetes.namespace={namespace} kubernetes.lease={lease}")?;
        }
        write!(f, " log.filter={log_filter} log.format={log_format}")
    }
}

#[derive(Default)]
struct Errors(Vec<ConfigError>);

impl Errors {
    /// The setting, or its default, parsed; `None` and one more error where it can't be.
    fn take<T>(
        &mut self,
        setting: &'static str,
        value: Option<String>,
        default: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let value = value.unwrap_or_else(|| default.to_owned());
        match parse(&value) {
            Ok(parsed) => Some(parsed),
            Err(reason) => {
                self.0.push(ConfigError::Value { setting, value, reason });
                None
            }
        }
    }
}

fn read_file(path: &PathBuf) -> Result<FileSettings, ConfigError> {
    let text =
        fs::read_to_string(path).map_err(|source| ConfigError::ReadFile { path: path.clone(), source })?;
    if text.trim().is_empty() {
        return Ok(FileSettings::default());
    }
    serde_yaml_ng::from_str(&text).map_err(|source| ConfigError::ParseFile { path: path.clone(), source })
}

#[cfg(test)]
mod tests;
