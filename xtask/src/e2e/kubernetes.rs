//! Kubernetes for tests, built once for this user from Debian's source package.

use std::{env, fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result};

use crate::{
    process::{as_root, find, is_root, output, run},
    workspace::{Workspace, cache_directory},
};

/// What this machine can do, or why not more.
#[derive(Debug)]
pub(crate) enum Kubernetes {
    /// Clusters, and API servers alone.
    Cluster,
    /// API servers alone.
    ApiServer(&'static str),
    Nothing(&'static str),
}

/// Where the tool keeps what it has built.
pub(crate) fn cache() -> PathBuf {
    cache_directory().join("cluster")
}

/// Builds it where it is missing, which takes some minutes, and where this machine can.
///
/// Only what no package could mend is a reason to go without: a build that fails is an error.
pub(crate) fn ensure(workspace: &Workspace) -> Result<Kubernetes> {
    if let Some(why) = obstacle() {
        return Ok(Kubernetes::Nothing(why));
    }
    let tool = workspace.root().join("tests/cluster/cluster");
    let mut command = as_root("env")?;
    command.arg(format!("CLUSTER_CACHE={}", cache().display())).arg(tool).arg("build");
    run(&mut command).context("build Kubernetes for tests")?;
    Ok(if has_hybrid_cgroups() {
        Kubernetes::Cluster
    } else {
        Kubernetes::ApiServer(
            "a cluster can be made only where cgroup v1 controllers and cgroup2 are both mounted below \
             /sys/fs/cgroup",
        )
    })
}

fn obstacle() -> Option<&'static str> {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    if !release.lines().any(|line| line == "ID=debian") {
        return Some("Kubernetes for tests is built from Debian's sources, and this is not Debian");
    }
    if env::consts::ARCH != "x86_64" {
        return Some("Kubernetes for tests was made for amd64 only");
    }
    if !is_root() && find("sudo").is_none() {
        return Some("a cluster needs root, and there is no sudo");
    }
    None
}

fn has_hybrid_cgroups() -> bool {
    let kind = output(Command::new("stat").args(["-fc", "%T", "/sys/fs/cgroup"]));
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    kind.as_deref() == Some("tmpfs") && mounts.lines().any(|line| line.split(' ').nth(2) == Some("cgroup2"))
}
