//! `cargo xtask fuzz`: every fuzz target for a bounded time.

use std::fs;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::{process, workspace::Workspace};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How long each target runs.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Only this target.
    target: Option<String>,
}

/// Runs the targets below fuzz/fuzz_targets one after another; a crash of one ends it.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    if process::find("cargo-fuzz").is_none() {
        println!("fuzz: cargo-fuzz is missing");
        process::run(
            workspace.cargo().args(["install", "cargo-fuzz", "--locked"]).env_remove("CARGO_TARGET_DIR"),
        )?;
    }
    let all = targets(workspace)?;
    let chosen: Vec<_> = match &options.target {
        Some(target) if all.contains(target) => vec![target],
        Some(target) => bail!("no fuzz target {target}; there are {}", all.join(", ")),
        None => all.iter().collect(),
    };
    for target in chosen {
        // What is found goes to the first directory, which git ignores; the committed seeds are read only.
        let corpus = format!("fuzz/corpus/{target}");
        fs::create_dir_all(workspace.root().join(&corpus)).with_context(|| format!("create {corpus}"))?;
        // By rustup's name for it: cargo-fuzz asks for unstable flags.
        let mut fuzz = std::process::Command::new("cargo");
        fuzz.arg("+nightly").args(["fuzz", "run", target, &corpus, &format!("fuzz/seeds/{target}")]);
        fuzz.current_dir(workspace.root()).env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
        fuzz.args([
            "--",
            &format!("-max_total_time={}", options.seconds),
            "-timeout=10",
            "-rss_limit_mb=2048",
            "-dict=fuzz/http.dict",
        ]);
        process::run(&mut fuzz).with_context(|| format!("fuzz target {target}"))?;
    }
    Ok(())
}

/// The names of the targets, sorted.
fn targets(workspace: &Workspace) -> Result<Vec<String>> {
    let directory = workspace.root().join("fuzz/fuzz_targets");
    let mut names = Vec::new();
    for entry in fs::read_dir(&directory).with_context(|| format!("list {}", directory.display()))? {
        let path = entry.context("read a directory entry")?.path();
        if path.extension().is_some_and(|extension| extension == "rs")
            && let Some(stem) = path.file_stem()
        {
            names.push(stem.to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}
