//! One target of the taps, and where it stands.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tap_flow::CgroupId;

use super::{TICK, TapState, TapStatus, TargetId};
use crate::{
    cgroup::{Cgroup, Hierarchy, Process},
    config::{PortFilter, Selector},
    registry::{Container, Containers, Details, Target},
};

/// A cgroup that is awaited for longer than this is worth a word: a kubelet makes a pod's before anything else of it.
const OVERDUE: Duration = Duration::from_secs(10);

pub(super) struct Entry<A> {
    pub(super) target: Arc<Target>,
    pub(super) ports: PortFilter,
    pub(super) sought: Sought,
    pub(super) containers: Vec<Container>,
    pub(super) state: State<A>,
}

/// What a target's selector has come to mean.
#[derive(Clone, Debug)]
pub(super) enum Sought {
    Selector(Selector),
    /// A pid, once its process was found.
    Process(Process),
}

pub(super) enum State<A> {
    Awaited { reason: String, pause: Duration, next: Instant, since: Instant, overdue: bool },
    Failed { reason: String, pause: Duration, next: Instant, since: Instant },
    Attached { cgroup: Cgroup, attachment: A, since: Instant, silent: bool },
    Ended,
}

impl Sought {
    pub(super) fn is_still(&self, cgroup: &Cgroup, hierarchy: &Hierarchy) -> bool {
        let named_is_there = match self {
            Self::Process(process) => hierarchy.process(process.pid).is_ok_and(|found| found == *process),
            Self::Selector(_) => true,
        };
        named_is_there && cgroup.exists()
    }
}

impl<A> Entry<A> {
    pub(super) fn new(
        target: Arc<Target>,
        selector: Selector,
        ports: PortFilter,
        containers: Vec<Container>,
        now: Instant,
    ) -> Self {
        let reason = "not looked for yet".to_owned();
        let state = State::Awaited { reason, pause: TICK, next: now, since: now, overdue: false };
        Self { target, ports, sought: Sought::Selector(selector), containers, state }
    }

    /// Puts new details in the place of the old, with the containers as far as they are known.
    pub(super) fn set_details(&mut self, details: Details) {
        let containers = self.found_containers();
        self.target.set_details(Details { containers, ..details });
    }

    /// Looks for containers that were not there when it was last looked.
    pub(super) fn find_containers(&mut self) {
        if self.containers.len() > 1 && matches!(self.state, State::Attached { .. }) {
            let details = Details::clone(&self.target.details());
            self.set_details(details);
        }
    }

    fn found_containers(&self) -> Containers {
        match (self.containers.as_slice(), &self.state) {
            ([], _) => Containers::default(),
            ([only], _) => Containers::only(Arc::clone(&only.name)),
            (several, State::Attached { cgroup, .. }) => {
                let known = &self.target.details().containers;
                known.scanned(&cgroup.path, CgroupId(cgroup.tap.0), several)
            }
            _ => self.target.details().containers.clone(),
        }
    }

    /// How long the last pause was, and since when it is not tapped.
    pub(super) fn pause(&self, now: Instant) -> (Duration, Instant) {
        match &self.state {
            State::Awaited { pause, since, .. } | State::Failed { pause, since, .. } => (*pause, *since),
            State::Attached { .. } | State::Ended => (TICK, now),
        }
    }

    /// There is news: it is looked for at once.
    pub(super) fn hasten(&mut self, now: Instant) {
        if let State::Awaited { next, pause, .. } | State::Failed { next, pause, .. } = &mut self.state {
            *next = now;
            *pause = TICK;
        }
    }

    pub(super) fn note_delay(&mut self, now: Instant) {
        if let State::Awaited { since, overdue, .. } = &mut self.state {
            *overdue = now.duration_since(*since) >= OVERDUE;
        }
    }

    pub(super) fn detach(&mut self, now: Instant) {
        self.state = match self.sought {
            Sought::Process(_) => State::Ended,
            Sought::Selector(_) => State::Awaited {
                reason: "its cgroup was removed".to_owned(),
                pause: TICK,
                next: now,
                since: now,
                overdue: false,
            },
        };
    }

    pub(super) fn status(&self, id: &TargetId) -> TapStatus {
        let state = match &self.state {
            State::Awaited { reason, overdue, .. } => {
                TapState::Awaited { reason: reason.clone(), overdue: *overdue }
            }
            State::Failed { reason, .. } => TapState::Failed { reason: reason.clone() },
            State::Attached { .. } => TapState::Attached,
            State::Ended => TapState::Ended,
        };
        TapStatus { id: id.clone(), name: self.target.name.clone(), state }
    }
}
