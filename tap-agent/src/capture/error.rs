//! What can go wrong between the agent and the kernel, said so that the reader knows what to do.

use std::{
    error::Error,
    io,
    path::{Path, PathBuf},
};

use aya::{EbpfError, maps::MapError, programs::ProgramError};
use tap_common::{MAX_LEVELS, MAX_PORTS, MAX_TAPS};
use tap_flow::TapId;

#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    #[error(
        "this tap-agent was built without its kernel programs, as the eBPF toolchain was absent; \
         run `cargo xtask setup`, then build again"
    )]
    Stub,
    #[error("kernel {release} is too old: tapping needs Linux 5.10 or newer")]
    KernelTooOld { release: String },
    #[error(
        "not permitted to {operation}: tapping needs root, or the capabilities CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"
    )]
    NotPermitted { operation: &'static str, source: Box<dyn Error + Send + Sync> },
    #[error("capture option {name} is {value}: {expected}")]
    Option { name: &'static str, value: usize, expected: String },
    #[error("cannot load the kernel programs")]
    Load(#[source] Box<EbpfError>),
    #[error("cannot {operation}")]
    Program { operation: &'static str, source: Box<ProgramError> },
    #[error("cannot {operation}")]
    Map { operation: &'static str, source: Box<MapError> },
    #[error("the kernel programs contain no {name}; the object is of another build")]
    Missing { name: &'static str },
    #[error("cannot watch a ring")]
    Watch(#[source] io::Error),
    #[error("cannot open cgroup {}", path.display())]
    Cgroup { path: PathBuf, source: io::Error },
    #[error("{} is not in a cgroup2 file system; find its mount in /proc/self/mounts", path.display())]
    NotCgroup2 { path: PathBuf },
    #[error("cgroup {} is tapped already", path.display())]
    Tapped { path: PathBuf },
    #[error(
        "cgroup {} is above or below the tapped {}: segments would be copied twice",
        path.display(),
        tapped.display()
    )]
    Nested { path: PathBuf, tapped: PathBuf },
    #[error("{count} ports for cgroup {}: a filter holds 1 to {MAX_PORTS}", path.display())]
    Ports { path: PathBuf, count: usize },
    #[error("cannot tap cgroup {}: there are {MAX_TAPS} taps already", path.display())]
    TooManyTaps { path: PathBuf },
    #[error(
        "cannot tap cgroup {}: taps would be at more than {MAX_LEVELS} different depths of the cgroup tree",
        path.display()
    )]
    TooManyLevels { path: PathBuf },
    #[error("cannot attach to cgroup {}", path.display())]
    Attach { path: PathBuf, source: Box<ProgramError> },
    #[error("no counters for tap {}: it was never attached, or it was forgotten", tap.0)]
    UnknownTap { tap: TapId },
}

impl CaptureError {
    pub(super) fn load(source: EbpfError) -> Self {
        if is_permission_denied(&source) {
            return Self::NotPermitted { operation: "create BPF maps", source: source.into() };
        }
        Self::Load(Box::new(source))
    }

    pub(super) fn program(operation: &'static str, source: ProgramError) -> Self {
        if is_permission_denied(&source) {
            return Self::NotPermitted { operation, source: source.into() };
        }
        Self::Program { operation, source: Box::new(source) }
    }

    pub(super) fn map(operation: &'static str, source: MapError) -> Self {
        if is_permission_denied(&source) {
            return Self::NotPermitted { operation, source: source.into() };
        }
        Self::Map { operation, source: Box::new(source) }
    }

    pub(super) fn attach(path: &Path, source: ProgramError) -> Self {
        if is_permission_denied(&source) {
            return Self::NotPermitted { operation: "attach to the cgroup", source: source.into() };
        }
        Self::Attach { path: path.to_owned(), source: Box::new(source) }
    }
}

fn is_permission_denied(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
        {
            return true;
        }
        cause = error.source();
    }
    false
}
