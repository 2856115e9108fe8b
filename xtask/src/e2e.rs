//! `cargo xtask e2e`: Podtap on a real cluster, installed and used as its users do.
//!
//! With `KUBECONFIG` set, that cluster is used; else one of two nodes is made on this machine, and taken down again in
//! every case: at the end, on a failure, on Ctrl-C, and by the next run what a killed one has left.

mod cluster;
mod given;
mod images;
mod kubernetes;

use std::{
    env,
    ffi::OsString,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::Value;
use tempfile::NamedTempFile;

pub(crate) use self::kubernetes::{Kubernetes, cache, ensure as ensure_kubernetes};
use self::{cluster::OwnCluster, given::GivenCluster, images::Images};
use crate::{
    chart,
    process::{self, output},
    setup::{self, Tools},
    test::{self, Summary},
    workspace::Workspace,
};

/// The test binary of the tests package.
pub(crate) const TEST: &str = "cluster";

#[derive(Debug, Default, Args)]
pub(crate) struct Options {
    /// Run only the tests whose name contains this.
    filter: Option<String>,
    /// With KUBECONFIG: a command that gives an image archive to all nodes; the archive's path is added to it.
    /// Without it, the images are expected to be there.
    #[arg(long, value_name = "COMMAND", env = "PODTAP_E2E_LOAD")]
    load: Option<String>,
    /// Leave the cluster that was made here running at the end, to look at it, until Ctrl-C.
    #[arg(long)]
    keep: bool,
}

/// Sets up, builds, and runs the tests on a cluster.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    ctrlc::set_handler(podtap_tests::interrupt).context("handle Ctrl-C")?;
    let tools = setup::run(workspace)?;
    if given::kubeconfig().is_none() {
        match ensure_kubernetes(workspace)? {
            Kubernetes::Cluster => {}
            Kubernetes::ApiServer(why) | Kubernetes::Nothing(why) => {
                bail!("{why}; set KUBECONFIG to use another cluster");
            }
        }
    }
    let (summary, succeeded) = scenarios(workspace, &tools, options)?;
    println!("{summary}");
    if !succeeded || summary.failed > 0 {
        bail!("tests failed; see above");
    }
    Ok(())
}

/// Runs those tests that the filter selects, for which everything is built, on a cluster that is made for them.
///
/// A cluster that happens to be in the environment is not for `cargo xtask test` to install things in.
pub(crate) fn test(workspace: &Workspace, tools: &Tools, filter: Option<&str>) -> Result<(Summary, bool)> {
    ctrlc::set_handler(podtap_tests::interrupt).context("handle Ctrl-C")?;
    on_own_cluster(workspace, tools, &Options { filter: filter.map(str::to_owned), ..Options::default() })
}

fn scenarios(workspace: &Workspace, tools: &Tools, options: &Options) -> Result<(Summary, bool)> {
    let Some(kubeconfig) = given::kubeconfig() else {
        return on_own_cluster(workspace, tools, options);
    };
    let tests = build(workspace)?;
    let images = Images::build(workspace)?;
    let cluster = GivenCluster::take(workspace, kubeconfig)?;
    if let Some(load) = &options.load {
        for archive in images.archives() {
            cluster.load(load, archive)?;
        }
    }
    let mock = mock(workspace, tools)?;
    let mut command = command(workspace, tools, options, &tests)?;
    // What only the tests' own cluster allows is skipped, and said.
    command.env("KUBECONFIG", cluster.kubeconfig()).env("PODTAP_E2E_MOCK", mock.path()).env_remove("CI");
    test::summarise(&mut command)
}

fn on_own_cluster(workspace: &Workspace, tools: &Tools, options: &Options) -> Result<(Summary, bool)> {
    let tests = build(workspace)?;
    let list = output(command(workspace, tools, options, &tests)?.arg("--list"));
    let list = list.context("list the tests on a cluster")?;
    if !list.lines().any(|line| line.ends_with(": test")) {
        return Ok((Summary::default(), true));
    }
    let images = Images::build(workspace)?;
    let cluster = OwnCluster::up(workspace)?;
    for archive in images.archives() {
        cluster.load(archive)?;
    }
    let mock = mock(workspace, tools)?;
    let mut command = command(workspace, tools, options, &tests)?;
    command
        .env("KUBECONFIG", cluster.kubeconfig())
        .env("PODTAP_E2E_MOCK", mock.path())
        .env("PODTAP_E2E_CLUSTER", cluster.directory())
        .env("CI", env::var_os("CI").unwrap_or_else(|| "1".into()));
    let result = test::summarise(&mut command)?;
    if options.keep {
        cluster.keep();
    }
    Ok(result)
}

/// The chart's mock, for a test to apply: the manifests, which are all that it installs, have none.
fn mock(workspace: &Workspace, tools: &Tools) -> Result<NamedTempFile> {
    let manifest = chart::mock(workspace, &tools.helm, "/mocked/").context("render the chart's mock")?;
    let mut file = NamedTempFile::with_suffix(".yaml").context("create a file for the mock")?;
    file.write_all(manifest.as_bytes()).context("write the mock")?;
    Ok(file)
}

/// Builds the programs and these tests, with the same features as in the build of all tests; gives the tests' binary.
///
/// It is not run by `cargo test`: with that selection Cargo chooses other features, and builds much again.
fn build(workspace: &Workspace) -> Result<PathBuf> {
    let mut cargo = workspace.cargo();
    cargo
        .args(["build", "--workspace", "--exclude", "tap-ebpf", "--bins", "--test", TEST])
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit());
    println!("+ {}", process::line(&cargo));
    let output = cargo.output().context("run cargo build")?;
    if !output.status.success() {
        bail!("the build failed; see above");
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    let mut messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let executable = messages.find_map(|message| {
        let is_ours = message["target"]["name"] == TEST && message["target"]["kind"][0] == "test";
        is_ours.then(|| message["executable"].as_str().map(PathBuf::from)).flatten()
    });
    executable.context("cargo names no binary of the tests on a cluster")
}

/// Runs the tests' binary as Cargo would, as root.
fn command(workspace: &Workspace, tools: &Tools, options: &Options, tests: &Path) -> Result<Command> {
    let path = path(tools)?;
    let mut command = if process::is_root() {
        Command::new(tests)
    } else {
        let mut sudo = process::as_root("-E")?;
        let mut variable = OsString::from("PATH=");
        variable.push(&path);
        sudo.arg("env").arg(variable).arg(tests);
        sudo
    };
    let package = workspace.root().join("tests");
    command
        .args(&options.filter)
        .current_dir(&package)
        .env("CARGO_MANIFEST_DIR", &package)
        .env("PATH", path)
        .env("CLUSTER_CACHE", cache());
    Ok(command)
}

/// That of the other tests, and last the kubectl that was built with the cluster, for machines without one.
fn path(tools: &Tools) -> Result<OsString> {
    let path = tools.path()?;
    let own = podtap_tests::ClusterTool::binaries();
    env::join_paths(env::split_paths(&path).chain(own)).context("compose PATH")
}
