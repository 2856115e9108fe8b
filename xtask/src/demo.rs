//! `cargo xtask demo`: the main job on real traffic, from the tap to the replay.
//!
//! Everything that it starts or makes is held by guards, which undo it in order: at the end, on a failure
//! and on Ctrl-C alike.

mod needs;
mod show;
mod stage;
mod traffic;

use anyhow::{Context as _, Result};
use clap::Args;

use self::{show::heading, stage::Stage};
use crate::{process, setup, workspace::Workspace};

#[derive(Debug, Default, Args)]
pub(crate) struct Options {
    /// Leave everything running at the end, to go on by hand, until Ctrl-C.
    #[arg(long)]
    keep: bool,
    /// Setup and build are done: by the one who runs this again as root.
    #[arg(long, hide = true)]
    built: bool,
}

/// Sets up, builds, and shows.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    heading("What it needs");
    needs::check_kernel()?;
    if !options.built {
        heading("Set up and build");
        setup::run(workspace)?;
        process::run(workspace.cargo().args(["build", "--workspace", "--exclude", "tap-ebpf", "--bins"]))?;
    }
    if !needs::has_privileges()? {
        return again_as_root(options);
    }
    let tools = setup::run(workspace)?;
    ctrlc::set_handler(podtap_tests::interrupt).context("handle Ctrl-C")?;

    heading("Start a collector, an nginx in a cgroup of its own, and an agent that taps it");
    let stage = Stage::set()?;

    heading("Send real traffic");
    traffic::send(&stage)?;

    show::captures(&stage, &tools)?;
    show::replay(&stage)?;
    show::next_steps(&stage, &tools, options.keep)?;
    if options.keep {
        stage.keep()?;
    }
    println!("\nCleaning up: agent, collector, servers, cgroup, directories.");
    stage.strike()
}

/// Loading eBPF programs is for root; building is for the user.
fn again_as_root(options: &Options) -> Result<()> {
    println!("Loading eBPF programs and making a cgroup needs root: going on by sudo.");
    let own = std::env::current_exe().context("find the running program")?;
    let mut command = process::as_root("env")?;
    // sudo drops PATH, and HOME may be root's: tools that setup keeps are the user's.
    for name in ["PATH", "HOME", "XDG_CACHE_HOME"] {
        if let Ok(value) = std::env::var(name) {
            command.arg(format!("{name}={value}"));
        }
    }
    command.arg(own).args(["demo", "--built"]);
    if options.keep {
        command.arg("--keep");
    }
    process::run(&mut command)
}
