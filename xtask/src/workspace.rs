//! The repository and the directories that its tasks use.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// Where things are.
#[derive(Debug)]
pub(crate) struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// The workspace for which Cargo runs this. Not the one it was built from: clones may share a target directory, and
    /// with it this binary.
    pub(crate) fn find() -> Self {
        let package =
            env::var_os("CARGO_MANIFEST_DIR").map_or(env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
        Self { root: package.parent().expect("xtask lies in the repository").to_owned() }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// `cargo`, run in the repository by the toolchain that runs this.
    ///
    /// `PODTAP_EBPF=build` makes a missing eBPF toolchain an error; a plain `cargo build` makes do with a
    /// stub object.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.current_dir(&self.root).env("PODTAP_EBPF", "build");
        for (name, _) in env::vars_os() {
            if name.to_str().is_some_and(is_of_own_package) {
                command.env_remove(name);
            }
        }
        command
    }
}

/// Whether Cargo sets this variable to tell a program of its package.
///
/// Some build scripts are run again when such a variable changes, and what depends on them is built again: with
/// them, a build by xtask and one by hand, or those of two clones, would undo each other.
fn is_of_own_package(name: &str) -> bool {
    name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
}

/// What `setup` keeps for this user, beside Cargo's own caches: ~/.cache/podtap.
pub(crate) fn cache_directory() -> PathBuf {
    env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".cache")))
        .unwrap_or_else(env::temp_dir)
        .join("podtap")
}
