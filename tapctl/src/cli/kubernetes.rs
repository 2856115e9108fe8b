//! A replay as a Job of a cluster.

use std::{path::PathBuf, time::Duration};

use clap::Args;

/// What tapctl's own version is packed as, where nothing else is said.
const IMAGE: &str = concat!("docker.io/podtap/tapctl:", env!("CARGO_PKG_VERSION"));

#[derive(Args, Clone, Debug, Default)]
pub struct InCluster {
    /// Send from a Job of the cluster that kubectl is set to, in --shards pods; wait for it, add up their reports, and
    /// remove it. With --dry-run: print what would be applied.
    #[arg(
        long,
        conflicts_with_all = ["remote", "local", "file", "hook"],
        help_heading = "Kubernetes"
    )]
    pub kubernetes: bool,
    /// Of kubectl's configuration.
    #[arg(long, value_name = "CONTEXT", requires = "kubernetes", help_heading = "Kubernetes")]
    pub kubernetes_context: Option<String>,
    /// Where the Job runs.
    #[arg(
        long,
        value_name = "NAMESPACE",
        requires = "kubernetes",
        default_value = "podtap-system",
        help_heading = "Kubernetes"
    )]
    pub kubernetes_namespace: String,
    #[arg(
        long,
        value_name = "IMAGE",
        requires = "kubernetes",
        default_value = IMAGE,
        help_heading = "Kubernetes"
    )]
    pub kubernetes_image: String,
    /// The collector, as the Job's pods reach it.
    #[arg(
        long,
        value_name = "URL",
        requires = "kubernetes",
        default_value = "http://podtap-collector.podtap-system:7070",
        help_heading = "Kubernetes"
    )]
    pub kubernetes_collector: String,
    /// Mount this Secret at /secrets/NAME, for --client-key and key_file; may be repeated.
    #[arg(
        long = "kubernetes-secret",
        value_name = "NAME",
        requires = "kubernetes",
        help_heading = "Kubernetes"
    )]
    pub kubernetes_secrets: Vec<String>,
    /// Fields of the pods and their container, in YAML: `pod: {nodeSelector: …}`, `container: {resources: …}`.
    #[arg(long, value_name = "FILE", requires = "kubernetes", help_heading = "Kubernetes")]
    pub kubernetes_settings: Option<PathBuf>,
    /// Give up where not all pods have started after this.
    #[arg(long, value_name = "DURATION", requires = "kubernetes", default_value = "5m", value_parser = humantime::parse_duration, help_heading = "Kubernetes")]
    pub kubernetes_wait: Duration,
    /// Leave the Job when it has ended; it is removed an hour later.
    #[arg(long, requires = "kubernetes", help_heading = "Kubernetes")]
    pub keep: bool,

    /// Seal the report with the key in this file, and print it in lines for a log: what a Job's pods do.
    #[arg(long, value_name = "FILE", hide = true)]
    pub sealed_report: Option<PathBuf>,
}
