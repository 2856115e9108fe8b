//! Who was at an address, and when. Pure: time is an argument, in milliseconds of the wall clock.
//!
//! Addresses are used again: a pod's IP soon belongs to another pod, and exchanges arrive late, after minutes in an
//! agent's spool. So every address has *tenancies*: whose it was, from when until when. The question is asked for the
//! time of the exchange, and the answer is a name only where exactly one tenancy holds that time; clocks differ, so
//! a tenancy is taken to be [`SKEW`] longer at both ends. Two that hold it give no answer: a wrong name is worse
//! than none.
//!
//! Objects come as a watch gives them: applied, removed, or listed anew, where what is not in the list any more has
//! ended. Tenancies that ended are kept for [`KEEP`], [`MAX_TENANCIES`] bounds them all.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    net::IpAddr,
    sync::Arc,
};

/// Milliseconds since 1970.
pub(crate) type Millis = i64;

/// By how much the clocks of nodes, API server and collector may differ, and the API's rounding to seconds.
pub(crate) const SKEW: Millis = 2_000;

/// How late an exchange may come and still find who was there: an agent's spool holds some minutes.
pub(crate) const KEEP: Millis = 15 * 60_000;

/// Of all addresses together: 150,000 pods, the most that Kubernetes is made for, with two addresses each, and what
/// of them ended. About 100 MiB.
pub(crate) const MAX_TENANCIES: usize = 400_000;

/// Of one object: a service's ports at its addresses.
pub(crate) const MAX_PLACES: usize = 512;

/// What an address can belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Pod,
    Service,
    Node,
}

/// Where a peer can be met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Place {
    /// Every port of the address.
    Address(IpAddr),
    /// A server's port at an address that others share: of a node, of a load balancer.
    Socket(IpAddr, u16),
    /// A service's port at the address of every node.
    NodePort(u16),
}

/// The names of one end of a connection; empty where they don't apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) kind: Kind,
    pub(crate) namespace: Box<str>,
    pub(crate) pod: Box<str>,
    pub(crate) service: Box<str>,
    pub(crate) workload: Box<str>,
}

/// An object of the cluster as it is now.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) uid: Arc<str>,
    pub(crate) peer: Peer,
    pub(crate) places: Vec<Place>,
    /// When it can first have been there; absent where that is not known: then it is when it was first seen.
    pub(crate) from: Option<Millis>,
    /// When it ended, where it has: a pod that has run to completion still exists.
    pub(crate) until: Option<Millis>,
}

/// The answer to who was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    Peer(&'a Peer),
    /// Several may have been.
    Ambiguous,
    Unknown,
}

#[derive(Debug, Default)]
pub(crate) struct Index {
    tenancies: HashMap<Place, Vec<Tenancy>>,
    count: usize,
    /// Where a tenancy ended, and when, about in the order of time: what is to be forgotten is found without looking
    /// at all of them.
    ended: VecDeque<(Millis, Place)>,
    objects: HashMap<Arc<str>, Object>,
    /// Of each kind: which listing is the newest.
    listings: HashMap<Kind, u64>,
    refused: u64,
}

#[derive(Debug)]
struct Tenancy {
    uid: Arc<str>,
    peer: Arc<Peer>,
    from: Millis,
    until: Option<Millis>,
}

/// What exists, as far as it was told.
#[derive(Debug)]
struct Object {
    kind: Kind,
    listing: u64,
    places: Vec<Place>,
}

impl Index {
    /// The object is as `claim` says, at `now`.
    pub(crate) fn apply(&mut self, claim: Claim, now: Millis) {
        let Claim { uid, peer, mut places, from, until } = claim;
        if places.len() > MAX_PLACES {
            self.refused += (places.len() - MAX_PLACES) as u64;
            places.truncate(MAX_PLACES);
        }
        let listing = self.listings.get(&peer.kind).copied().unwrap_or_default();
        let before = self.objects.remove(&uid).map(|object| object.places).unwrap_or_default();
        let kept: HashSet<Place> = places.iter().copied().collect();
        for place in before.into_iter().filter(|place| !kept.contains(place)) {
            self.end(place, &uid, until.unwrap_or(now));
        }
        // Without a place there is nothing that a later listing would have to end.
        if places.is_empty() {
            return;
        }
        let peer = Arc::new(peer);
        let kind = peer.kind;
        places.retain(|place| self.occupy(*place, &uid, &peer, from, until, now));
        places.shrink_to_fit();
        self.objects.insert(uid, Object { kind, listing, places });
    }

    /// The object is gone.
    pub(crate) fn remove(&mut self, uid: &str, at: Millis) {
        let Some(object) = self.objects.remove(uid) else { return };
        for place in object.places {
            self.end(place, uid, at);
        }
    }

    /// All objects of a kind are about to be applied.
    pub(crate) fn begin_listing(&mut self, kind: Kind) {
        *self.listings.entry(kind).or_default() += 1;
    }

    /// They were: those that were not have ended, it is not known when.
    pub(crate) fn end_listing(&mut self, kind: Kind, now: Millis) {
        let listing = self.listings.get(&kind).copied().unwrap_or_default();
        let gone: Vec<Arc<str>> = self
            .objects
            .iter()
            .filter(|(_, object)| object.kind == kind && object.listing != listing)
            .map(|(uid, _)| Arc::clone(uid))
            .collect();
        for uid in gone {
            self.remove(&uid, now);
        }
    }

    /// Who was at `ip` at the time `at`. `server_port` is given for the end that was connected to: only there
    /// does the port say who listened.
    pub(crate) fn find(&self, ip: IpAddr, server_port: Option<u16>, at: Millis) -> Found<'_> {
        let Some(port) = server_port else { return self.at(Place::Address(ip), at) };
        if let listener @ Found::Peer(_) = self.at(Place::Socket(ip, port), at) {
            return listener;
        }
        let found = self.at(Place::Address(ip), at);
        if let Found::Peer(Peer { kind: Kind::Node, .. }) = found
            && let service @ Found::Peer(_) = self.at(Place::NodePort(port), at)
        {
            return service;
        }
        found
    }

    /// Whether the object exists and has a network of its own: what it calls at a loopback address is itself.
    pub(crate) fn has_own_network(&self, uid: &str) -> bool {
        let places = self.objects.get(uid).map(|object| object.places.as_slice()).unwrap_or_default();
        places.iter().any(|place| matches!(place, Place::Address(_)))
    }

    /// Forgets what ended too long ago to be asked for.
    pub(crate) fn prune(&mut self, now: Millis) {
        let oldest = now.saturating_sub(KEEP);
        while let Some((_, place)) = self.ended.pop_front_if(|(at, _)| *at < oldest) {
            let Some(tenancies) = self.tenancies.get_mut(&place) else { continue };
            let before = tenancies.len();
            tenancies.retain(|tenancy| tenancy.until.is_none_or(|until| until >= oldest));
            self.count -= before - tenancies.len();
            if tenancies.is_empty() {
                self.tenancies.remove(&place);
            }
        }
    }

    /// How many tenancies there are.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// How many were not taken, because of a cap.
    pub(crate) fn refused(&self) -> u64 {
        self.refused
    }

    fn at(&self, place: Place, at: Millis) -> Found<'_> {
        let mut found: Option<&Tenancy> = None;
        for tenancy in self.tenancies.get(&place).into_iter().flatten().filter(|tenancy| tenancy.holds(at)) {
            if found.is_some_and(|found| found.uid != tenancy.uid) {
                return Found::Ambiguous;
            }
            found = Some(tenancy);
        }
        found.map_or(Found::Unknown, |tenancy| Found::Peer(&tenancy.peer))
    }

    /// Whether there was room for it.
    fn occupy(
        &mut self,
        place: Place,
        uid: &Arc<str>,
        peer: &Arc<Peer>,
        from: Option<Millis>,
        until: Option<Millis>,
        now: Millis,
    ) -> bool {
        // Most addresses have one owner for long.
        let tenancies = self.tenancies.entry(place).or_insert_with(|| Vec::with_capacity(1));
        let own = tenancies.iter_mut().rev().find(|tenancy| tenancy.uid == *uid);
        match own {
            // One that ended begins again: a service that gives a port up and takes it back.
            Some(own) if own.until.is_none() || until.is_some() => {
                own.from = from.map_or(own.from, |from| from.min(own.from));
                // The first word on the end stands: later ones only repeat it.
                if let (None, Some(at)) = (own.until, until) {
                    own.until = until;
                    self.ended.push_back((at, place));
                }
                own.peer = Arc::clone(peer);
                true
            }
            _ if self.count < MAX_TENANCIES => {
                let from = if own.is_some() { now } else { from.or(until).unwrap_or(now) };
                tenancies.push(Tenancy { uid: Arc::clone(uid), peer: Arc::clone(peer), from, until });
                self.ended.extend(until.map(|at| (at, place)));
                self.count += 1;
                true
            }
            _ => {
                self.refused += 1;
                if tenancies.is_empty() {
                    self.tenancies.remove(&place);
                }
                false
            }
        }
    }

    fn end(&mut self, place: Place, uid: &str, at: Millis) {
        for tenancy in self.tenancies.get_mut(&place).into_iter().flatten() {
            if &*tenancy.uid == uid && tenancy.until.is_none() {
                tenancy.until = Some(at);
                self.ended.push_back((at, place));
            }
        }
    }
}

impl Tenancy {
    fn holds(&self, at: Millis) -> bool {
        self.from.saturating_sub(SKEW) <= at
            && self.until.is_none_or(|until| at <= until.saturating_add(SKEW))
    }
}

#[cfg(test)]
mod tests;
