//! `cargo xtask ci`: what must hold before a change is merged.

use anyhow::{Context as _, Result};

use crate::{
    e2e, process, setup,
    test::{self, Options},
    vm,
    workspace::Workspace,
};

/// Lints, then everything that `test` does, which checks the format and the generated code as well; then the capture
/// scenarios on the oldest kernel and the newest.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    setup::run(workspace)?;
    test::check_format(workspace)?;
    process::run(workspace.cargo().args([
        "clippy",
        "--workspace",
        "--exclude",
        "tap-ebpf",
        "--lib",
        "--bins",
        "--tests",
        "--benches",
        "--examples",
        "--test",
        e2e::TEST,
        "--",
        "-D",
        "warnings",
    ]))
    .context("fix what clippy says")?;
    test::run(workspace, &Options::default())?;
    vm::oldest_and_newest(workspace)
}
