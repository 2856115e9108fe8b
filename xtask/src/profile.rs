//! `cargo xtask profile`: where a benchmark's time goes, by `perf`.
//!
//! Leaves in target/profile the samples, a table of functions, and a flame graph where `inferno` is installed. The samples of
//! both what is measured and its baseline are in it: the table tells them apart by their callers.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::Value;

use crate::{
    bench::{Benchmark, benchmarks},
    process,
    workspace::Workspace,
};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The benchmark, e.g. `pipeline`; PACKAGE/NAME where several packages have one of this name.
    benchmark: String,
    /// Only the scenarios whose name contains this.
    scenario: Option<String>,
    /// Samples a second.
    #[arg(long, default_value_t = 999)]
    frequency: u32,
}

/// Functions that the table on the terminal shows.
const SHOWN: usize = 30;

/// Builds the benchmark, runs it under `perf record`, and writes what came of it.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let Some(perf) = process::find("perf") else {
        bail!("perf is missing: install linux-perf (Debian) or linux-tools (Ubuntu)");
    };
    let benchmark = chosen(workspace, &options.benchmark)?;
    let executable = build(workspace, &benchmark)?;
    let directory = workspace.root().join("target/profile");
    fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
    let file = |extension: &str| directory.join(format!("{}.{extension}", benchmark.name));
    let samples = file("data");
    process::run(
        Command::new(&perf)
            .args(["record", "-F", &options.frequency.to_string(), "--call-graph", "dwarf,16384", "-o"])
            .arg(&samples)
            .arg("--")
            .arg(&executable)
            .args(&options.scenario)
            .current_dir(workspace.root()),
    )?;
    let table = file("txt");
    let mut report = Command::new(&perf);
    report.args(["report", "--stdio", "--no-children", "-g", "caller,0.5,callee", "-i"]).arg(&samples);
    write(&mut report, &table)?;
    let text = fs::read_to_string(&table).with_context(|| format!("read {}", table.display()))?;
    let functions = text.lines().filter(|line| line.trim_start().starts_with(|c: char| c.is_ascii_digit()));
    functions.take(SHOWN).for_each(|line| println!("{line}"));
    println!("{}", table.display());

    let (fold, draw) = (process::find("inferno-collapse-perf"), process::find("inferno-flamegraph"));
    let (Some(fold), Some(draw)) = (fold, draw) else {
        println!("no flame graph: `cargo install inferno` draws one the next time");
        return Ok(());
    };
    let (script, folded, graph) = (file("script"), file("folded"), file("svg"));
    write(Command::new(&perf).args(["script", "-i"]).arg(&samples), &script)?;
    write(Command::new(fold).arg(&script), &folded)?;
    write(Command::new(draw).arg(&folded), &graph)?;
    println!("{}", graph.display());
    Ok(())
}

fn chosen(workspace: &Workspace, wanted: &str) -> Result<Benchmark> {
    let all = benchmarks(workspace)?;
    let full_name = |it: &Benchmark| {
        let package = it.manifest.parent().and_then(Path::file_name).unwrap_or_default();
        format!("{}/{}", package.to_string_lossy(), it.name)
    };
    let names: Vec<_> = all.iter().map(full_name).collect();
    let fits = |it: &Benchmark| it.name == wanted || full_name(it) == wanted;
    let mut fitting = all.into_iter().filter(fits);
    match (fitting.next(), fitting.next()) {
        (Some(benchmark), None) => Ok(benchmark),
        (Some(_), Some(_)) => bail!("several packages have a benchmark {wanted}: {}", names.join(", ")),
        (None, _) => bail!("no benchmark {wanted}; there are {}", names.join(", ")),
    }
}

/// Builds the benchmark; returns its executable.
fn build(workspace: &Workspace, Benchmark { manifest, name }: &Benchmark) -> Result<PathBuf> {
    let mut command = workspace.cargo();
    command
        .args([
            "bench",
            "--no-run",
            "--message-format=json-render-diagnostics",
            "--bench",
            name,
            "--manifest-path",
        ])
        .arg(manifest)
        .stderr(Stdio::inherit());
    println!("+ {}", process::line(&command));
    let output = command.output().with_context(|| format!("run {}", process::line(&command)))?;
    if !output.status.success() {
        bail!("{}: {}", process::line(&command), output.status);
    }
    let messages = String::from_utf8_lossy(&output.stdout).into_owned();
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find(|message| message["target"]["name"] == name.as_str() && message["executable"].is_string())
        .and_then(|message| message["executable"].as_str().map(PathBuf::from))
        .with_context(|| format!("cargo tells of no executable of the benchmark {name}"))
}

/// Runs a command with its output in a file.
fn write(command: &mut Command, file: &Path) -> Result<()> {
    let output = File::create(file).with_context(|| format!("create {}", file.display()))?;
    let status = command
        .stdout(output)
        .stderr(Stdio::null())
        .status()
        .with_context(|| format!("run {}", process::line(command)))?;
    if !status.success() {
        bail!("{}: {status}", process::line(command));
    }
    Ok(())
}
