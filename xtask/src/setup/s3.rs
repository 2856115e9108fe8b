//! An S3 server for the tests: `s3s-fs`, which keeps buckets in a directory and is built from crates.io.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};

use crate::{
    process::{find, run},
    workspace::{Workspace, cache_directory},
};

const PACKAGE: &str = "s3s-fs";
/// As it was tried, built with the versions of its own lock file.
const VERSION: &str = "0.14.1";

/// The server on PATH, or in this user's cache, or installed there: two minutes of building, once.
pub(super) fn ensure(workspace: &Workspace) -> Result<PathBuf> {
    if let Some(server) = find(PACKAGE) {
        return Ok(server);
    }
    let root = cache_directory();
    let server = root.join("bin").join(PACKAGE);
    if server.exists() {
        return Ok(server);
    }
    println!("setup: {PACKAGE} is missing (a bucket for the tests)");
    fs::create_dir_all(&root).with_context(|| format!("create {}", root.display()))?;
    // The workspace's target directory is for the workspace's profile, and nothing of this build is wanted again.
    let target = tempfile::tempdir_in(&root).context("create a directory to build the S3 server in")?;
    let mut command = workspace.cargo();
    command
        .args(["install", PACKAGE, "--locked", "--version", VERSION, "--features", "binary", "--root"])
        .arg(&root)
        .arg("--target-dir")
        .arg(target.path());
    run(&mut command).context("build the S3 server of the tests from crates.io")?;
    Ok(server)
}
