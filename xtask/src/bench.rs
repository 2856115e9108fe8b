//! `cargo xtask bench`: the benchmarks of every package that has some. `cargo xtask bench mirror`: mirrors beside their peers.

mod mirror;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::{process, workspace::Workspace};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Only the benchmarks of this name, in every package that has one; or of all benchmarks the scenarios whose name
    /// contains this; or `mirror`, which is one of its own.
    filter: Option<String>,
}

/// A file of a package's `benches` directory.
#[derive(Debug)]
pub(crate) struct Benchmark {
    pub(crate) manifest: PathBuf,
    pub(crate) name: String,
}

/// Runs `cargo bench` for each benchmark that is asked for.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    if options.filter.as_deref() == Some("mirror") {
        return mirror::run(workspace);
    }
    let all = benchmarks(workspace)?;
    let is_named = |name: &str| all.iter().any(|benchmark| benchmark.name == name);
    let (name, scenario) = match options.filter.as_deref() {
        Some(filter) if is_named(filter) => (Some(filter), None),
        filter => (None, filter),
    };
    for Benchmark { manifest, name: of } in all.iter().filter(|it| name.is_none_or(|name| it.name == name)) {
        let mut command = workspace.cargo();
        command.arg("bench").arg("--manifest-path").arg(manifest).args(["--bench", of]);
        if let Some(scenario) = scenario {
            command.args(["--", scenario]);
        }
        process::run(&mut command)?;
    }
    Ok(())
}

/// All benchmarks of the repository, in order of their packages and names.
pub(crate) fn benchmarks(workspace: &Workspace) -> Result<Vec<Benchmark>> {
    let mut benchmarks = Vec::new();
    for package in entries(workspace.root())? {
        let manifest = package.join("Cargo.toml");
        let directory = package.join("benches");
        if !manifest.is_file() || !directory.is_dir() {
            continue;
        }
        for file in
            entries(&directory)?.into_iter().filter(|file| file.extension().is_some_and(|it| it == "rs"))
        {
            let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            benchmarks.push(Benchmark { manifest: manifest.clone(), name });
        }
    }
    if benchmarks.is_empty() {
        bail!("no package has benchmarks");
    }
    Ok(benchmarks)
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let read =
        || fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>();
    let mut entries = read().with_context(|| format!("list {}", directory.display()))?;
    entries.sort();
    Ok(entries)
}
