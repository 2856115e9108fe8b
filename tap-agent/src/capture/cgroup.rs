//! A directory of the cgroup2 file system, and its place in the tree.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, fstatfs};
use tap_common::MAX_LEVELS;
use tap_flow::TapId;

use super::CaptureError;

/// The id of the tree's root on every 64-bit kernel: the first that kernfs gives out
/// (since 5.5; `kernfs_create_root`, fs/kernfs/dir.c).
const ROOT_ID: u64 = 1;

#[derive(Debug)]
pub(super) struct Cgroup {
    path: PathBuf,
    file: File,
    id: u64,
    /// The ids of the cgroups above, as far up as the mount shows, nearest first.
    ancestors: Vec<u64>,
}

impl Cgroup {
    pub(super) fn open(path: &Path) -> Result<Self, CaptureError> {
        let failed = |source| CaptureError::Cgroup { path: path.to_owned(), source };

        let path = fs::canonicalize(path).map_err(failed)?;
        let file = File::open(&path).map_err(failed)?;
        let file_system = fstatfs(&file).map_err(|error| failed(error.into()))?;
        if file_system.filesystem_type() != CGROUP2_SUPER_MAGIC {
            return Err(CaptureError::NotCgroup2 { path });
        }
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_dir() {
            return Err(failed(io::ErrorKind::NotADirectory.into()));
        }
        let mut ancestors = Vec::new();
        for above in path.ancestors().skip(1) {
            let above = fs::metadata(above).map_err(failed)?;
            if above.dev() != metadata.dev() {
                break;
            }
            ancestors.push(above.ino());
        }
        // A cgroup's id is its inode number (since 5.5; `cgroup_id`, include/linux/cgroup.h).
        Ok(Self { file, id: metadata.ino(), ancestors, path })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn tap(&self) -> TapId {
        TapId(self.id)
    }

    /// Whether the cgroup is somewhere below that of `tap`.
    pub(super) fn is_below(&self, tap: TapId) -> bool {
        self.ancestors.contains(&tap.0)
    }

    /// The ids of the cgroups above.
    pub(super) fn ancestors(&self) -> &[u64] {
        &self.ancestors
    }

    /// The depths in the tree at which the cgroup may be: exactly one when the mount shows the whole tree.
    ///
    /// In a cgroup namespace the mount's root may be any cgroup, and how deep that is, nothing tells.
    pub(super) fn depths(&self) -> Vec<u32> {
        let seen = self.ancestors.len() as u32;
        let root = self.ancestors.last().copied().unwrap_or(self.id);
        if root == ROOT_ID { vec![seen] } else { (seen..MAX_LEVELS as u32).collect() }
    }
}
