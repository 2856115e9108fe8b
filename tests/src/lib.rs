//! Privileged and end-to-end tests, and what they stand on: guards for processes and cgroups, launchers for
//! servers, collector and agent.
//!
//! Everything that is started or made here is undone when its guard is dropped: processes are killed by
//! their pid, cgroups emptied and removed, directories deleted. The demo uses the same guards.

#![forbid(unsafe_code)]

mod cgroup;
mod child;
mod kubernetes;
mod podtap;
mod port;
mod servers;
mod skip;
mod wait;

pub use cgroup::{Cgroup, Membership, cgroup_mount};
pub use child::Running;
pub use kubernetes::{ApiServer, ClusterTool, Kubectl, build_hint};
pub use podtap::{Agent, AgentOptions, Collector, binary};
pub use port::free_port;
pub use servers::{Conduct, Nginx, NodeServer, PythonServer, S3Front, S3Server, Shop, program};
pub use skip::skip;
pub use wait::{PATIENCE, check_interrupted, interrupt, until};
