//! A cluster that the user gives by `KUBECONFIG`: it is left as it was.

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    process::{output, run},
    workspace::Workspace,
};

/// What the tests install there is removed on drop; their namespaces they remove themselves.
#[derive(Debug)]
pub(super) struct GivenCluster {
    kubeconfig: PathBuf,
    manifests: PathBuf,
}

/// The file that the environment names.
pub(super) fn kubeconfig() -> Option<PathBuf> {
    env::var_os("KUBECONFIG").filter(|value| !value.is_empty()).map(PathBuf::from)
}

fn kubectl(kubeconfig: &Path, word: &str) -> Command {
    let mut command = Command::new("kubectl");
    command.env("KUBECONFIG", kubeconfig).arg(word);
    command
}

impl GivenCluster {
    /// Fails where Podtap is installed there: that one is somebody's.
    pub(super) fn take(workspace: &Workspace, kubeconfig: PathBuf) -> Result<Self> {
        let manifests = workspace.root().join("deploy/manifests");
        let namespaces = output(kubectl(&kubeconfig, "get").args(["namespaces", "-o", "name"]));
        let namespaces =
            namespaces.with_context(|| format!("ask the cluster of {} by kubectl", kubeconfig.display()))?;
        if namespaces.lines().any(|name| name == "namespace/podtap-system") {
            bail!("Podtap is installed in that cluster: the tests install and remove one of their own");
        }
        Ok(Self { kubeconfig, manifests })
    }

    pub(super) fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Gives an image archive to all nodes, as the user says how.
    pub(super) fn load(&self, command: &str, archive: &Path) -> Result<()> {
        let script = format!(r#"{command} "$1""#);
        run(Command::new("sh").args(["-euc", &script, "load"]).arg(archive))
            .context("give an image to the cluster")
    }

    fn remove(&self, what: &[&OsStr]) -> Result<()> {
        run(kubectl(&self.kubeconfig, "delete").arg("--ignore-not-found").args(what))
    }
}

impl Drop for GivenCluster {
    fn drop(&mut self) {
        let installed = self.remove(&["-f".as_ref(), self.manifests.as_os_str()]);
        let probes = self.remove(&["namespace".as_ref(), "podtap-e2e".as_ref()]);
        if let Err(error) = installed.and(probes) {
            eprintln!("something stays behind in the cluster: {error:#}");
        }
    }
}
