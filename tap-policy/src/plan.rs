//! What all policies that select one pod mean together.
//!
//! An exchange is kept where at least one policy keeps it: its direction, port, container, sample and filter all fit. Of
//! what is recorded of it the union counts (the largest body that a keeping policy allows, the labels of all), of what
//! protects the strictest (redaction of every policy that selects the pod, whether it keeps the exchange or not). So a
//! policy that is added can only add exchanges and protection.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use tap_flow::{Exchange, Role};
use tap_proto::{REPLAY_MARKER, v1};

use crate::{
    body::BodyPolicy,
    compile::{MAX_PORTS, Policy},
    resource::{Direction, Replayed},
    sample::AsCaptured,
};

/// Policies that count for one pod, the oldest first: an exchange's selection is one bit for each.
pub const MAX_POLICIES: usize = 64;

/// The policies of one pod.
pub struct Plan {
    /// The oldest first; not empty.
    policies: Vec<Arc<Policy>>,
    /// Those that have mirrors.
    mirroring: u64,
}

/// What is kept of an exchange, and by which policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    pub body: BodyPolicy,
    pub policies: Selected,
}

/// The policies that keep an exchange so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selected(u64);

/// Why no policy keeps an exchange: the last test at which one failed that passed those before. In their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unkept {
    Replayed,
    Direction,
    Port,
    Container,
    Sample,
    Filter,
}

impl Unkept {
    pub const ALL: [Self; 6] =
        [Self::Replayed, Self::Direction, Self::Port, Self::Container, Self::Sample, Self::Filter];

    /// The word of the ledger.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Replayed => "replayed",
            Self::Direction => "direction",
            Self::Port => "port",
            Self::Container => "container",
            Self::Sample => "sample",
            Self::Filter => "filter",
        }
    }
}

impl Plan {
    /// The plan of a pod that these policies select, in any order; `None` for no policy. Beyond [`MAX_POLICIES`] the
    /// youngest are left out.
    pub fn new(mut policies: Vec<Arc<Policy>>) -> Option<Self> {
        policies.sort_by(|a, b| a.age().cmp(&b.age()));
        policies.truncate(MAX_POLICIES);
        let mirroring = policies.iter().enumerate().filter(|(_, policy)| !policy.mirrors.is_empty());
        let mirroring = mirroring.fold(0, |bits, (index, _)| bits | 1 << index);
        (!policies.is_empty()).then_some(Self { policies, mirroring })
    }

    /// The oldest first.
    pub fn policies(&self) -> &[Arc<Policy>] {
        &self.policies
    }

    /// The ports outside of which nothing needs to be copied: the union, if every policy names some and they are not too
    /// many for the kernel's filter. Empty for all.
    pub fn ports(&self) -> BTreeSet<u16> {
        if self.policies.iter().any(|policy| policy.ports.is_empty()) {
            return BTreeSet::new();
        }
        let union: BTreeSet<u16> = self.policies.iter().flat_map(|policy| &policy.ports).copied().collect();
        if union.len() > MAX_PORTS { BTreeSet::new() } else { union }
    }

    /// The pod's labels that some policy records.
    pub fn labels(&self, pod: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let wanted = self.policies.iter().flat_map(|policy| &policy.labels);
        wanted
            .filter_map(|label| pod.get_key_value(label))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }

    /// Where the pod's exchanges go: as the oldest policy says; `None` for the agent's own collector.
    pub fn collector(&self) -> Option<&str> {
        self.policies.first()?.collector.as_deref()
    }

    /// The redaction of every policy that names some: all apply, the strictest to each value.
    pub fn redactions(&self) -> impl Iterator<Item = &tap_redact::Settings> {
        self.policies.iter().filter_map(|policy| policy.redaction.as_ref())
    }

    /// Whether some policy asks for a container: then one has to be found for each exchange.
    pub fn asks_for_containers(&self) -> bool {
        self.policies.iter().any(|policy| !policy.containers.is_empty())
    }

    /// Tests an exchange as it was captured: whether Podtap sent it, direction, port, container, sample.
    pub fn before_redaction(&self, exchange: &Exchange, container: Option<&str>) -> Result<Selected, Unkept> {
        let mut selected = 0;
        let mut closest = Unkept::Replayed;
        let replayed = is_replayed(exchange);
        for (index, policy) in self.policies.iter().enumerate() {
            match policy.before_redaction(exchange, container, replayed) {
                Ok(()) => selected |= 1 << index,
                Err(unkept) => closest = closest.max(unkept),
            }
        }
        if selected == 0 { Err(closest) } else { Ok(Selected(selected)) }
    }

    /// Whether no selected policy keeps content of bodies or asks for it: then there is no need to redact any.
    pub fn ignores_bodies(&self, selected: Selected) -> bool {
        self.selected(selected).all(|policy| policy.filter.is_none() && policy.body <= BodyPolicy::Metadata)
    }

    /// Tests an exchange as redaction left it against the filters of the selected policies; returns what may be
    /// kept of its bodies, and by which of them.
    pub fn after_redaction(&self, selected: Selected, exchange: &v1::Exchange) -> Result<Kept, Unkept> {
        let keeping = self
            .numbered(selected)
            .filter(|(_, policy)| policy.filter.as_ref().is_none_or(|filter| filter.matches(exchange)));
        let kept = keeping.fold(None, |kept: Option<Kept>, (index, policy)| {
            let (body, bits) =
                kept.map_or((policy.body, 0), |kept| (kept.body.max(policy.body), kept.policies.0));
            Some(Kept { body, policies: Selected(bits | 1 << index) })
        });
        kept.ok_or(Unkept::Filter)
    }

    /// The names of those of the policies that mirror what they keep: mostly none.
    pub fn mirrors(&self, keeping: Selected) -> Vec<String> {
        self.selected(Selected(keeping.0 & self.mirroring)).map(|policy| policy.name.clone()).collect()
    }

    fn selected(&self, selected: Selected) -> impl Iterator<Item = &Policy> {
        self.numbered(selected).map(|(_, policy)| policy)
    }

    fn numbered(&self, selected: Selected) -> impl Iterator<Item = (usize, &Policy)> {
        let Selected(bits) = selected;
        let policies = self.policies.iter().enumerate();
        policies
            .filter(move |(index, _)| bits >> index & 1 == 1)
            .map(|(index, policy)| (index, policy.as_ref()))
    }
}

impl Policy {
    fn before_redaction(
        &self,
        exchange: &Exchange,
        container: Option<&str>,
        replayed: bool,
    ) -> Result<(), Unkept> {
        if replayed && self.replayed == Replayed::Drop {
            return Err(Unkept::Replayed);
        }
        let (fits, server) = match exchange.role {
            Role::Inbound => (self.direction != Direction::Outbound, exchange.flow.local),
            Role::Outbound => (self.direction != Direction::Inbound, exchange.flow.remote),
        };
        if !fits {
            return Err(Unkept::Direction);
        }
        if !self.ports.is_empty() && !self.ports.contains(&server.port()) {
            return Err(Unkept::Port);
        }
        // What is of no known container is of none that was asked for.
        if !self.containers.is_empty() && !container.is_some_and(|name| self.containers.contains(name)) {
            return Err(Unkept::Container);
        }
        if self.sample.as_ref().is_some_and(|sample| !sample.has(&AsCaptured(exchange))) {
            return Err(Unkept::Sample);
        }
        Ok(())
    }
}

/// Whether Podtap itself sent the request: it carries the marker. Before redaction, which may change any header.
pub fn is_replayed(exchange: &Exchange) -> bool {
    exchange.request.as_ref().is_some_and(|request| request.headers.get(REPLAY_MARKER).is_some())
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.policies.iter().map(|policy| policy.full_name());
        f.debug_tuple("Plan").field(&names.collect::<Vec<_>>()).finish()
    }
}
