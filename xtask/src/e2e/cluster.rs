//! A cluster of two nodes on this machine, for as long as its guard lives.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};

use super::kubernetes::cache;
use crate::{
    process::{as_root, run},
    workspace::{Workspace, cache_directory},
};

/// One for all clones: a second cluster at the same time would not be reachable from this machine.
const DIRECTORY: &str = "/tmp/podtap-e2e";

/// Taken down on drop.
#[derive(Debug)]
pub(super) struct OwnCluster {
    tool: PathBuf,
    // Held while the cluster is there, and let go by the kernel if this process is killed.
    _lock: File,
}

impl OwnCluster {
    /// Waits for the cluster of another run to be gone, removes what a killed run has left, and makes a new one.
    pub(super) fn up(workspace: &Workspace) -> Result<Self> {
        let lock = cache_directory().join("e2e.lock");
        let lock = File::create(&lock).with_context(|| format!("create {}", lock.display()))?;
        if lock.try_lock().is_err() {
            println!("another run has a cluster on this machine: waiting until it is gone");
            lock.lock().context("wait for the other run")?;
        }
        let cluster = Self { tool: workspace.root().join("tests/cluster/cluster"), _lock: lock };
        cluster.run("down", &[])?;
        cluster.run("up", &["--nodes", "2"]).context("start a cluster")?;
        Ok(cluster)
    }

    pub(super) fn directory(&self) -> &'static Path {
        Path::new(DIRECTORY)
    }

    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.directory().join("kubeconfig")
    }

    /// Gives an image archive to all nodes.
    pub(super) fn load(&self, archive: &Path) -> Result<()> {
        self.run("load", &[&archive.to_string_lossy()])
    }

    /// Until Ctrl-C.
    pub(super) fn keep(&self) {
        println!("the cluster stays until Ctrl-C: export KUBECONFIG={}", self.kubeconfig().display());
        while podtap_tests::check_interrupted().is_ok() {
            thread::sleep(Duration::from_millis(200));
        }
    }

    fn run(&self, word: &str, arguments: &[&str]) -> Result<()> {
        run(self.command(word)?.args(arguments))
    }

    fn command(&self, word: &str) -> Result<Command> {
        let mut command = as_root("env")?;
        command.arg(format!("CLUSTER_CACHE={}", cache().display()));
        command.arg(&self.tool).args([word, "--dir", DIRECTORY]);
        Ok(command)
    }
}

impl Drop for OwnCluster {
    fn drop(&mut self) {
        if let Err(error) = self.run("down", &[]) {
            eprintln!("the cluster in {DIRECTORY} stays behind, until the next run: {error:#}");
        }
    }
}
