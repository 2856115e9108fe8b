//! `cargo xtask bench`: the benchmarks of every package that has some. `cargo xtask bench mirror`: mirrors beside their peers.

mod mirror;

use std::fs;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::{process, workspace::Workspace};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Only the benchmarks whose name contains this; or `mirror`, which is one of its own.
    filter: Option<String>,
}

/// Runs `cargo bench` in each package with a `benches` directory.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    if options.filter.as_deref() == Some("mirror") {
        return mirror::run(workspace);
    }
    let mut manifests = Vec::new();
    for entry in fs::read_dir(workspace.root()).context("list the repository")? {
        let package = entry.context("read a directory entry")?.path();
        if package.join("benches").is_dir() && package.join("Cargo.toml").is_file() {
            manifests.push(package.join("Cargo.toml"));
        }
    }
    if manifests.is_empty() {
        bail!("no package has benchmarks");
    }
    manifests.sort();
    for manifest in manifests {
        let mut command = workspace.cargo();
        command.arg("bench").arg("--manifest-path").arg(&manifest).arg("--benches").args(&options.filter);
        process::run(&mut command)?;
    }
    Ok(())
}
