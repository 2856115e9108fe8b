//! `cargo xtask fuzz`: every fuzz target for a bounded time.

use std::{fs, process::Command};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::{process, workspace::Workspace};

/// HTTP's words: of use to every target without a dictionary of its own, for what they read is, or holds, HTTP.
const DICTIONARY: &str = "fuzz/http.dict";

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
        // What was found before goes on from there; the seeds are committed and only read.
        let (corpus, seeds) = (format!("fuzz/corpus/{target}"), format!("fuzz/seeds/{target}"));
        let corpus_directory = workspace.root().join(&corpus);
        fs::create_dir_all(&corpus_directory)
            .with_context(|| format!("create {}", corpus_directory.display()))?;
        // By rustup's name for it: cargo-fuzz asks for unstable flags.
        let mut fuzz = Command::new("cargo");
        fuzz.args(["+nightly", "fuzz", "run", target, &corpus]);
        if workspace.root().join(&seeds).is_dir() {
            fuzz.arg(&seeds);
        }
        fuzz.args([
            "--",
            &format!("-max_total_time={}", options.seconds),
            "-timeout=10",
            "-rss_limit_mb=2048",
        ]);
        let own = format!("fuzz/{target}.dict");
        let dictionary = if workspace.root().join(&own).is_file() { &own } else { DICTIONARY };
        fuzz.arg(format!("-dict={dictionary}"));
        // The toolchain of this run, and its target directory, are not those of the fuzz targets.
        for name in ["RUSTUP_TOOLCHAIN", "CARGO", "CARGO_TARGET_DIR"] {
            fuzz.env_remove(name);
        }
        process::run(fuzz.current_dir(workspace.root())).with_context(|| format!("fuzz target {target}"))?;
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
