//! The recorded exchanges, within caps, and which of them a request matches.
//!
//! Recordings of equal requests are one *variant*: a sequence of answers in the order of time. Variants of one
//! method and path are a *group*. Equal bodies of answers are held once.

mod lookup;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tap_proto::v1::Exchange;

pub(super) use lookup::{BodyLevel, Candidates, Nearest};

use super::{
    body::Digest,
    path,
    recording::Recording,
    request::Recorded,
    settings::{Limits, Matching},
};

/// What is answered from.
#[derive(Debug)]
pub struct Index {
    pub(super) matching: Matching,
    limits: Limits,
    groups: Vec<Group>,
    exact: HashMap<(String, String), usize>,
    templates: HashMap<(String, String), Vec<usize>>,
    hosts: HashSet<String>,
    pub(super) recordings: Vec<Stored>,
    bodies: HashMap<Digest, Bytes>,
    loaded: Loaded,
}

/// What became of the exchanges that an index was given. `taken + Σ refused` is their number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Loaded {
    pub taken: u64,
    /// Of those, recorded responses that are not served, by reason; `incomplete` and `body_dropped` are, where
    /// settings say so.
    pub not_served: BTreeMap<&'static str, u64>,
    /// Not taken: `request_missing`, or `full`.
    pub refused: BTreeMap<&'static str, u64>,
    pub requests: u64,
    pub bytes: u64,
}

#[derive(Debug)]
pub(super) struct Stored {
    pub(super) recording: Recording,
    was_served: AtomicBool,
}

#[derive(Debug)]
struct Group {
    method: String,
    path: String,
    variants: Vec<Variant>,
    by_digest: HashMap<Digest, usize>,
}

#[derive(Debug)]
struct Variant {
    recorded: Recorded,
    /// Of method, path and everything that is compared: the same in each run.
    key: Digest,
    body: Digest,
    signature: Digest,
    /// In order of time.
    recordings: Vec<u32>,
}

impl Index {
    pub fn new(matching: Matching, limits: Limits) -> Self {
        // Recordings are counted in 32 bits.
        let limits = Limits { exchanges: limits.exchanges.min(u32::MAX as usize), ..limits };
        Self {
            matching,
            limits,
            groups: Vec::new(),
            exact: HashMap::new(),
            templates: HashMap::new(),
            hosts: HashSet::new(),
            recordings: Vec::new(),
            bodies: HashMap::new(),
            loaded: Loaded::default(),
        }
    }

    /// Takes one more recorded exchange, in any order of time; whether there was room.
    pub fn insert(&mut self, exchange: Exchange) -> bool {
        let Some(recorded) = Recorded::of(&exchange, &self.matching) else {
            *self.loaded.refused.entry("request_missing").or_default() += 1;
            return true;
        };
        let request_bytes =
            exchange.request.as_ref().and_then(|request| request.body.as_ref()).map_or(0, size);
        let mut recording = Recording::of(exchange);
        let shared = self.bodies.get(&Digest::from(Sha256::digest(&recording.body))).cloned();
        let body_bytes = recording.body.len();
        let mut bytes = recording.bytes();
        if let Some(body) = &shared {
            bytes -= body.len();
        }
        // A request that is there already takes less than this; that its bytes count anyway keeps it simple.
        bytes += recorded.bytes(request_bytes);
        let is_full = self.recordings.len() >= self.limits.exchanges
            || self.loaded.bytes.saturating_add(bytes as u64) > self.limits.bytes as u64;
        if is_full {
            *self.loaded.refused.entry("full").or_default() += 1;
            return false;
        }
        match shared {
            Some(body) => recording.body = body,
            None if body_bytes > 0 => {
                self.bodies.insert(Sha256::digest(&recording.body).into(), recording.body.clone());
            }
            None => {}
        }
        self.loaded.taken += 1;
        self.loaded.bytes += bytes as u64;
        if let Some(problem) = recording.problem {
            *self.loaded.not_served.entry(problem.as_str()).or_default() += 1;
        }
        if !recorded.target.host.is_empty() {
            self.hosts.insert(recorded.target.host.clone());
        }
        self.place(recorded, recording);
        true
    }

    fn place(&mut self, recorded: Recorded, recording: Recording) {
        let (method, path) = (recorded.target.method.clone(), recorded.target.path.clone());
        let group = *self.exact.entry((method.clone(), path.clone())).or_insert_with(|| {
            let template = path::template(&path, &self.matching.paths);
            self.templates.entry((method.clone(), template)).or_default().push(self.groups.len());
            let group = Group { method, path, variants: Vec::new(), by_digest: HashMap::new() };
            self.groups.push(group);
            self.groups.len() - 1
        });
        let group = &mut self.groups[group];
        let digest = recorded.digest();
        let variant = *group.by_digest.entry(digest).or_insert_with(|| {
            self.loaded.requests += 1;
            let mut key = Sha256::new();
            key.update(format!("{:?}", (&group.method, &group.path)));
            key.update(digest);
            group.variants.push(Variant {
                key: key.finalize().into(),
                body: recorded.target.body.digest(&recorded.mask),
                signature: recorded.target.body.signature(),
                recorded,
                recordings: Vec::new(),
            });
            group.variants.len() - 1
        });
        let time = recording.time;
        let recordings = &self.recordings;
        let order = &mut group.variants[variant].recordings;
        let at = order.partition_point(|&earlier| recordings[earlier as usize].recording.time <= time);
        order.insert(at, self.recordings.len() as u32);
        self.recordings.push(Stored { recording, was_served: AtomicBool::new(false) });
    }

    /// What became of the exchanges.
    pub fn loaded(&self) -> &Loaded {
        &self.loaded
    }

    /// The hosts of the recorded requests, without ports.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        self.hosts.iter().map(String::as_str)
    }

    /// Recordings that no request got so far.
    pub(super) fn never_served(&self) -> u64 {
        self.recordings.iter().filter(|stored| !stored.was_served.load(Ordering::Relaxed)).count() as u64
    }

    /// The recording, which is being served.
    pub(super) fn serve(&self, recording: u32) -> &Recording {
        let stored = &self.recordings[recording as usize];
        stored.was_served.store(true, Ordering::Relaxed);
        &stored.recording
    }
}

fn size(body: &tap_proto::v1::Body) -> usize {
    use tap_proto::v1::body::Content;
    match &body.content {
        Some(Content::Text(text)) => text.len(),
        Some(Content::Binary(bytes)) => bytes.len(),
        None => 0,
    }
}

#[cfg(test)]
mod tests;
