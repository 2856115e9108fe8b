//! The tool that makes clusters, `tests/cluster/cluster`.

use std::{
    env,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

/// The tool, for one state directory.
#[derive(Clone, Debug)]
pub struct ClusterTool {
    program: PathBuf,
    directory: PathBuf,
}

impl ClusterTool {
    /// For the clone whose package Cargo runs: clones may share a target directory.
    pub fn new(directory: &Path) -> Result<Self> {
        let package = env::var_os("CARGO_MANIFEST_DIR").context("Cargo runs the tests")?;
        let root = Path::new(&package).parent().context("the package lies in the repository")?;
        Ok(Self::of_repository(root, directory))
    }

    pub fn of_repository(root: &Path, directory: &Path) -> Self {
        Self { program: root.join("tests/cluster/cluster"), directory: directory.to_owned() }
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Runs `cluster <words> --dir <directory> <arguments>`; gives what it prints.
    pub fn run(
        &self,
        words: &[&str],
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> Result<String> {
        let mut command = self.command(words);
        command.args(arguments);
        let output = command.output().with_context(|| format!("run {command:?}"))?;
        if !output.status.success() {
            bail!("{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// `cluster <words> --dir <directory>`, to go on with.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(words).arg("--dir").arg(&self.directory);
        command
    }

    /// Where the tool keeps the programs of Kubernetes, if it has built them.
    pub fn binaries() -> Option<PathBuf> {
        let own = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let cache = own("CLUSTER_CACHE").or_else(|| {
            let caches = own("XDG_CACHE_HOME").or_else(|| env::home_dir().map(|home| home.join(".cache")))?;
            Some(caches.join("podtap/cluster"))
        })?;
        let mut found: Vec<_> = fs::read_dir(cache)
            .ok()?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.join("kube-apiserver").exists())
            .collect();
        found.sort();
        found.pop()
    }
}

/// What to do where [`ClusterTool::binaries`] finds nothing.
pub fn build_hint() -> &'static str {
    "Kubernetes for tests is not built: `tests/cluster/cluster build` does it, on Debian and by root"
}
