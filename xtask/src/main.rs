//! The one door: every task of the repository is `cargo xtask <command>`.
//!
//! One module per command; the `///` of its [`Command`] variant is the help.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a command line tool speaks to its user")]

mod bench;
mod chart;
mod ci;
mod crd;
mod demo;
mod e2e;
mod fuzz;
mod image;
mod process;
mod profile;
mod proto;
mod setup;
mod test;
mod vm;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Podtap's tasks, from setup to tests.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Detect and install what building, testing and the demo need; does nothing where nothing is missing.
    Setup,
    /// Set up, build, and show the main job on real traffic: tap, redact, store, query, replay.
    Demo(demo::Options),
    /// Set up, then run every test that this machine can run: format, unit, privileged, end to end.
    Test(test::Options),
    /// Run the tests on a cluster: that of KUBECONFIG, or one of two nodes that is made for them on this machine.
    E2e(e2e::Options),
    /// Run the capture scenarios on other kernels, each in a virtual machine.
    Vm(vm::Options),
    /// What must hold before a change is merged: format, lints, clean generated code, then `test`, and `vm` for the
    /// oldest kernel and the newest.
    Ci,
    /// Run the fuzz targets, each for a bounded time.
    Fuzz(fuzz::Options),
    /// Run the benchmarks.
    Bench(bench::Options),
    /// Show where a benchmark's time goes.
    Profile(profile::Options),
    /// Regenerate deploy/crds from the types of tap-policy.
    Crd,
    /// Regenerate the Rust of the wire contract from proto/tap/v1.
    Proto,
    /// Render deploy/manifests from the Helm chart, and check the chart.
    Chart(chart::Options),
    /// Build container images as OCI archives, without a container engine.
    Image(image::Options),
}

fn main() -> ExitCode {
    let workspace = Workspace::find();
    let result = match Cli::parse().command {
        Command::Setup => setup::run(&workspace).map(drop),
        Command::Demo(options) => demo::run(&workspace, &options),
        Command::Test(options) => test::run(&workspace, &options),
        Command::E2e(options) => e2e::run(&workspace, &options),
        Command::Vm(options) => vm::run(&workspace, &options),
        Command::Ci => ci::run(&workspace),
        Command::Fuzz(options) => fuzz::run(&workspace, &options),
        Command::Bench(options) => bench::run(&workspace, &options),
        Command::Profile(options) => profile::run(&workspace, &options),
        Command::Crd => crd::generate(&workspace),
        Command::Proto => proto::generate(workspace.root()),
        Command::Chart(options) => chart::run(&workspace, &options),
        Command::Image(options) => image::run(&workspace, &options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
