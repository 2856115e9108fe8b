//! Generates `deploy/crds` from the types of tap-policy.
//!
//! By an example of that crate, so that xtask itself need not build Kubernetes' types. The result is committed; a test of
//! tap-policy demands that it is what the types say.

use std::fs;

use anyhow::{Context as _, Result, bail};

use crate::{process, workspace::Workspace};

/// Where the definition is, below the repository.
const DEFINITION: &str = "deploy/crds/podtap.dev_tappolicies.yaml";

/// Writes the definition.
pub(crate) fn generate(workspace: &Workspace) -> Result<()> {
    let mut command = workspace.cargo();
    command.args(["run", "--quiet", "--package", "tap-policy", "--example", "crd"]);
    let output = command.output().with_context(|| format!("run `{}`", process::line(&command)))?;
    if !output.status.success() {
        bail!("`{}` failed: {}", process::line(&command), String::from_utf8_lossy(&output.stderr));
    }
    let path = workspace.root().join(DEFINITION);
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
    }
    fs::write(&path, output.stdout).with_context(|| format!("write {}", path.display()))
}
