//! What the taps are told, and what they show.

use std::{path::PathBuf, sync::Arc};

use crate::{
    config::{PortFilter, Selector},
    registry::{Container, Details, RouteId},
};

/// Told to the thread of the taps.
#[derive(Debug)]
pub enum Command {
    /// Tap this, or change how it is tapped.
    Put(Box<Wanted>),
    /// Tap it no longer.
    Remove(TargetId),
    /// A pod's cgroup is there.
    PodCgroup {
        pod: Arc<str>,
        path: PathBuf,
    },
    PodCgroupGone {
        pod: Arc<str>,
    },
    /// There is no pod's cgroup at all, and why that may be.
    NoPodCgroups {
        reason: String,
    },
    /// Detach everything and end.
    Stop,
}

/// Names what is wanted. In the order in which they are tried.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TargetId {
    /// Its place in the configuration.
    Configured(usize),
    /// A pod's UID.
    Pod(Arc<str>),
}

/// Something to tap.
#[derive(Debug)]
pub struct Wanted {
    pub id: TargetId,
    pub name: String,
    pub selector: Selector,
    pub ports: PortFilter,
    pub route: RouteId,
    /// But for the containers, which are found by their cgroups.
    pub details: Details,
    pub containers: Vec<Container>,
}

/// Where a target stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TapState {
    /// It is not there.
    Awaited {
        reason: String,
        /// It has not been there for longer than it takes a pod to start.
        overdue: bool,
    },
    /// It is there and could not be tapped.
    Failed {
        reason: String,
    },
    Attached,
    /// It was a process, and has ended.
    Ended,
}

/// One target's state, for the admin port and the status of policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TapStatus {
    pub id: TargetId,
    pub name: String,
    pub state: TapState,
}

impl TargetId {
    /// Named by the configuration, and not a pod.
    pub fn is_configured(&self) -> bool {
        matches!(self, Self::Configured(_))
    }
}
