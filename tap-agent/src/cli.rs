//! The command line.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, Parser, Subcommand};

use crate::config::{Quantity, Settings};

/// Taps cgroups of this machine, assembles their HTTP traffic into exchanges, redacts them and streams them to a collector.
///
/// Targets come from the configuration file: `targets: [{name: web, systemd_unit: nginx.service, ports: [80]}]`,
/// each with exactly one of `cgroup` (a path), `systemd_unit` and `pid` (its cgroup). On a node of a Kubernetes cluster
/// (--kubernetes-node) pods are targets too, as TapPolicies select them.
///
/// A socket belongs to the cgroup in which it was CREATED, and accepted sockets to that of their listener. So a
/// server that was moved into a cgroup after it began to listen is not seen there: restart it in that
/// cgroup, or start it with `tap-agent run`.
///
/// Needs root, or CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN; Linux 5.10 or newer; a cgroup2 mount.
#[derive(Debug, Parser)]
#[command(name = "tap-agent", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Subcommands>,
    #[command(flatten)]
    pub options: Options,
}

#[derive(Debug, Subcommand)]
pub enum Subcommands {
    /// Starts a command in a cgroup of its own and taps it; exits with its status when it has ended.
    Run(Box<Run>),
    /// Moves itself into a cgroup and becomes the command.
    #[command(hide = true, name = "join-cgroup")]
    JoinCgroup {
        cgroup: PathBuf,
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
}

#[derive(Debug, Args)]
pub struct Run {
    #[command(flatten)]
    pub options: Options,
    /// Name of the target. Default: the command's.
    #[arg(long)]
    pub name: Option<String>,
    /// Capture only connections with this port at either end; may be repeated. Default: all.
    #[arg(long = "port", value_name = "PORT")]
    pub ports: Vec<u32>,
    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

/// Each overrides the setting of the same name in the file.
#[derive(Debug, Default, Args)]
pub struct Options {
    /// Configuration file, YAML.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Name of this agent, unique among those of a table. Default: the host's name.
    #[arg(long, value_name = "NAME", env = "PODTAP_AGENT")]
    pub agent: Option<String>,
    /// The collector. Default: http://127.0.0.1:7070.
    #[arg(long, value_name = "URL", env = "PODTAP_COLLECTOR")]
    pub collector: Option<String>,
    /// Tap the pods of this node of a Kubernetes cluster, as TapPolicies select them.
    #[arg(long, value_name = "NAME", env = "PODTAP_NODE")]
    pub kubernetes_node: Option<String>,
    /// Where the host's cgroup file systems are mounted, in a container. Default: as /proc/self/mounts says.
    #[arg(long, value_name = "DIRECTORY")]
    pub cgroup_root: Option<PathBuf>,
    /// Admin port, or off. Default: 127.0.0.1:7072.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub admin_listen: Option<String>,
    /// Bytes of each ring between kernel and agent, a power of two. Default: 16MiB.
    #[arg(long, value_name = "BYTES")]
    pub ring_bytes: Option<String>,
    /// Number of rings. Default: one for each four CPUs.
    #[arg(long, value_name = "N")]
    pub ring_count: Option<usize>,
    /// Bytes kept of each body. Default: 64KiB.
    #[arg(long, value_name = "BYTES")]
    pub body_bytes: Option<String>,
    /// Bytes of exchanges kept until the collector has stored them. Default: 64MiB.
    #[arg(long, value_name = "BYTES")]
    pub spool_bytes: Option<String>,
    /// Memory that the agent may use; near it, connections are left out. Default: the limit of its cgroup.
    #[arg(long, value_name = "BYTES")]
    pub budget_memory: Option<String>,
    /// Cores that the agent may use; near it, connections are left out. Default: no bound.
    #[arg(long, value_name = "CORES")]
    pub budget_cpu: Option<f64>,
    /// File with the key of redaction's tokens. Default: a random key for each run.
    #[arg(long, value_name = "FILE", env = "PODTAP_REDACTION_KEY_FILE")]
    pub redaction_key_file: Option<PathBuf>,
    /// How long to wait at the end until the collector has stored everything. Default: 10s.
    #[arg(long, value_name = "DURATION")]
    pub drain_timeout: Option<String>,
    /// What is logged, as in RUST_LOG. Default: info, without the client of the Kubernetes API.
    #[arg(long, value_name = "FILTER", env = "PODTAP_LOG")]
    pub log: Option<String>,
    /// text or json. Default: text.
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
}

impl Options {
    /// Puts the flags over the file's settings.
    pub fn apply(self, settings: &mut Settings) {
        let Self {
            config: _,
            agent,
            collector,
            kubernetes_node,
            cgroup_root,
            admin_listen,
            ring_bytes,
            ring_count,
            body_bytes,
            spool_bytes,
            budget_memory,
            budget_cpu,
            redaction_key_file,
            drain_timeout,
            log,
            log_format,
        } = self;
        let quantity = |text: String| Quantity::Text(text);
        put(&mut settings.agent, agent);
        put(&mut settings.collector, collector);
        put(&mut settings.kubernetes.node, kubernetes_node);
        put(&mut settings.kubernetes.cgroup_root, cgroup_root);
        put(&mut settings.admin.listen, admin_listen);
        put(&mut settings.rings.bytes, ring_bytes.map(quantity));
        put(&mut settings.rings.count, ring_count);
        put(&mut settings.limits.body_bytes, body_bytes.map(quantity));
        put(&mut settings.spool.bytes, spool_bytes.map(quantity));
        put(&mut settings.budget.memory, budget_memory.map(quantity));
        put(&mut settings.budget.cpu, budget_cpu);
        put(&mut settings.redaction.key_file, redaction_key_file);
        put(&mut settings.drain_timeout, drain_timeout);
        put(&mut settings.log.filter, log);
        put(&mut settings.log.format, log_format);
    }
}

fn put<T>(setting: &mut Option<T>, flag: Option<T>) {
    if flag.is_some() {
        *setting = flag;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_override_the_file() {
        let mut settings: Settings =
            serde_yaml_ng::from_str("{collector: 'http://file:1', spool: {bytes: 1MiB}, agent: file}")
                .unwrap();
        let cli = Cli::parse_from(["tap-agent", "--collector", "http://flag:1", "--spool-bytes", "2MiB"]);
        cli.options.apply(&mut settings);
        assert_eq!(settings.collector.as_deref(), Some("http://flag:1"));
        assert_eq!(settings.spool.bytes, Some("2MiB".into()));
        assert_eq!(settings.agent.as_deref(), Some("file"));
    }

    #[test]
    fn a_command_keeps_its_own_flags() {
        let cli = Cli::parse_from(["tap-agent", "run", "--port", "80", "--", "nginx", "-g", "daemon off;"]);
        let Some(Subcommands::Run(run)) = cli.command else { panic!("not run") };
        assert_eq!(run.ports, [80]);
        assert_eq!(run.command, ["nginx", "-g", "daemon off;"]);
    }
}
