//! Python with the libraries by which others read the table: Polars, deltalake, DuckDB. A virtual environment of their
//! own, so that the system's packages stay as they are.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result};

use super::apt;
use crate::{
    process::{output, run},
    workspace::cache_directory,
};

/// Not pinned: the table must be read by what its users have.
const PACKAGES: [&str; 4] = ["polars>=1.8", "deltalake>=1.0", "duckdb", "pyarrow"];

/// Of this user's cache, installed there where it is missing. The tests look for it at this path.
pub(super) fn ensure() -> Result<PathBuf> {
    let cache = cache_directory();
    let environment = cache.join("python");
    let python = environment.join("bin").join("python3");
    if python.exists() {
        return Ok(python);
    }
    println!(
        "setup: Python's readers of Delta tables are missing (they check the table as its users read it)"
    );
    if output(Command::new("python3").args(["-c", "import ensurepip, venv"])).is_none() {
        apt::install(&[&["python3-venv"]])?;
    }
    fs::create_dir_all(&cache).with_context(|| format!("create {}", cache.display()))?;
    let made = tempfile::tempdir_in(&cache).context("create a directory for Python's packages")?;
    run(Command::new("python3").args(["-m", "venv"]).arg(made.path()))
        .context("make a virtual environment")?;
    let mut pip = Command::new(made.path().join("bin").join("python3"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(PACKAGES);
    run(&mut pip).context("get the readers of Delta tables from PyPI")?;
    // Last and at once, so that an interrupted setup leaves nothing that looks finished. The interpreter finds its
    // packages relative to itself; the programs that pip makes do not, and are not used.
    fs::rename(made.path(), &environment)
        .with_context(|| format!("move the virtual environment to {}", environment.display()))?;
    Ok(python)
}
