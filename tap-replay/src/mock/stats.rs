//! What a mock counts. `requests = hits + Σ misses + passed through + not passed through + in flight`.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::Serialize;

use super::{
    body::Difference,
    index::{Loaded, Nearest},
    recording::Problem,
};

/// Kinds of misses that are told apart: beyond, they are counted in one.
const MAX_MISSES: usize = 200;

/// Why nothing recorded answers a request. The words are part of answers and summaries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reason {
    /// Nothing was recorded for the method and path.
    NoExchange,
    /// Something was, but it differs.
    Differs,
    /// It matches, and its response was not captured whole.
    Incomplete,
    BodyDropped,
    ResponseMissing,
    Upgrade,
    Unsendable,
    TooLarge,
}

/// A snapshot.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Statistics {
    pub requests: u64,
    pub hits: u64,
    /// By reason.
    pub misses: BTreeMap<&'static str, u64>,
    pub passed_through: u64,
    /// The upstream gave no answer.
    pub not_passed_through: u64,
    pub in_flight: u64,
    /// Exchanges that were passed through and handed to the recorder, and those that were not, by reason.
    pub recorded: u64,
    pub not_recorded: BTreeMap<&'static str, u64>,
    /// Connections that were refused because of the cap.
    pub refused_connections: u64,
    /// Sessions whose place in a sequence is forgotten.
    pub forgotten_sessions: u64,
    /// Recorded exchanges that nobody asked for.
    pub never_served: u64,
    pub faults: Vec<FaultCount>,
    pub seed: Option<u64>,
    pub index: Loaded,
}

/// How often a rule's fault of one kind happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FaultCount {
    pub rule: String,
    pub kind: &'static str,
    pub count: u64,
}

/// Misses of one kind: paths by their templates, no values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MissCount {
    pub count: u64,
    pub reason: &'static str,
    pub method: String,
    pub path: String,
    /// METHOD PATH of the recorded request that is nearest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nearest: Option<String>,
    pub differences: Vec<Difference>,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) requests: AtomicU64,
    pub(super) hits: AtomicU64,
    pub(super) passed_through: AtomicU64,
    pub(super) not_passed_through: AtomicU64,
    pub(super) recorded: AtomicU64,
    pub(super) refused_connections: AtomicU64,
    not_recorded: Mutex<BTreeMap<&'static str, u64>>,
    misses: Mutex<Misses>,
}

#[derive(Debug, Default)]
struct Misses {
    by_reason: BTreeMap<&'static str, u64>,
    by_kind: BTreeMap<Kind, u64>,
    /// Of kinds that found no room.
    others: u64,
}

type Kind = (&'static str, String, String, Option<String>, Vec<Difference>);

impl Reason {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::NoExchange => "no_exchange",
            Self::Differs => "differs",
            Self::Incomplete => "incomplete",
            Self::BodyDropped => "body_dropped",
            Self::ResponseMissing => "response_missing",
            Self::Upgrade => "upgrade",
            Self::Unsendable => "unsendable",
            Self::TooLarge => "too_large",
        }
    }
}

impl From<Problem> for Reason {
    fn from(problem: Problem) -> Self {
        match problem {
            Problem::ResponseMissing => Self::ResponseMissing,
            Problem::Incomplete => Self::Incomplete,
            Problem::BodyDropped => Self::BodyDropped,
            Problem::Upgrade => Self::Upgrade,
            Problem::Unsendable => Self::Unsendable,
        }
    }
}

impl Statistics {
    pub fn missed(&self) -> u64 {
        self.misses.values().sum()
    }
}

impl Counters {
    pub(super) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn not_recorded(&self, reason: &'static str) {
        *lock(&self.not_recorded).entry(reason).or_default() += 1;
    }

    /// A miss; `template` is the path with what changes taken out.
    pub(super) fn missed(&self, reason: Reason, method: &str, template: String, nearest: Option<&Nearest>) {
        let mut misses = lock(&self.misses);
        *misses.by_reason.entry(reason.as_str()).or_default() += 1;
        let differences = nearest.map(|nearest| nearest.differences.clone()).unwrap_or_default();
        let nearest = nearest.map(|nearest| format!("{} {}", nearest.method, nearest.path));
        let kind = (reason.as_str(), method.to_owned(), template, nearest, differences);
        if misses.by_kind.len() < MAX_MISSES || misses.by_kind.contains_key(&kind) {
            *misses.by_kind.entry(kind).or_default() += 1;
        } else {
            misses.others += 1;
        }
    }

    /// The kinds of misses, the most frequent first, and how many misses are of other kinds.
    pub(super) fn misses(&self) -> (Vec<MissCount>, u64) {
        let misses = lock(&self.misses);
        let mut counts: Vec<_> = misses
            .by_kind
            .iter()
            .map(|((reason, method, path, nearest, differences), count)| MissCount {
                count: *count,
                reason,
                method: method.clone(),
                path: path.clone(),
                nearest: nearest.clone(),
                differences: differences.clone(),
            })
            .collect();
        counts.sort_by_key(|miss| std::cmp::Reverse(miss.count));
        (counts, misses.others)
    }

    /// The counts that are kept here.
    pub(super) fn snapshot(&self) -> Statistics {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut statistics = Statistics {
            // Read last counts no less than what it is made of.
            hits: load(&self.hits),
            misses: lock(&self.misses).by_reason.clone(),
            passed_through: load(&self.passed_through),
            not_passed_through: load(&self.not_passed_through),
            recorded: load(&self.recorded),
            not_recorded: lock(&self.not_recorded).clone(),
            refused_connections: load(&self.refused_connections),
            requests: load(&self.requests),
            ..Statistics::default()
        };
        let decided =
            statistics.hits + statistics.missed() + statistics.passed_through + statistics.not_passed_through;
        statistics.in_flight = statistics.requests.saturating_sub(decided);
        statistics
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
