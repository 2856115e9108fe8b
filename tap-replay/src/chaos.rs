//! Faults on purpose, for replays and mocks: latency, errors, broken connections, bodies that are slow, cut
//! short or wrong.
//!
//! [`Settings`] say which exchanges get which faults; [`Chaos::draw`] decides for one. The decision depends on
//! the seed, the rule's name, the exchange's key and how often that key occurred, and on nothing else: neither
//! the order of exchanges, nor how many are under way, nor the other rules change it. So a run with the same
//! seed over the same exchanges has the same faults. The one exception is a rule's time window.
//!
//! What a fault does to a body is [`FaultyBody`]'s, to a server's connection [`Breakable`]'s; delays and endings
//! are carried out by who sends or answers. Every fault is counted under its rule and kind. Settings are
//! described in docs/chaos.md.

mod body;
mod breakable;
mod latency;
mod link;
mod quantity;
pub(crate) mod request;
mod settings;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::{HeaderMap, HeaderValue, StatusCode};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest as _, Sha256};
use tap_expr::{Condition, View};

pub use body::{Cut, FaultyBody};
pub use breakable::{Breakable, Breaker};
pub use settings::{Settings, SettingsError};

use latency::Latency;
use link::Link;

/// Longest delay of one exchange, whatever its rules add up to: longer than any client waits.
pub const MAX_DELAY: Duration = Duration::from_secs(600);

/// Separates these hashes from all others over the same input.
const DOMAIN: &[u8] = b"podtap chaos v1\0";

/// Which end of a connection the faults happen at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// A replay: the faults are those of a bad client or network.
    Client,
    /// A mock: the faults are those of a bad server.
    Server,
}

/// The kinds of faults. Their words are part of reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Latency,
    Error,
    Close,
    Reset,
    SlowBody,
    Bandwidth,
    Truncate,
    Corrupt,
    ContentType,
}

/// What decides on faults, and counts them.
#[derive(Debug)]
pub struct Chaos {
    seed: u64,
    rules: Vec<Rule>,
}

/// How often a rule's fault of one kind happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultCount {
    pub rule: String,
    pub kind: Kind,
    pub count: u64,
}

/// What is to happen to one exchange. The default is nothing.
#[derive(Debug, Default)]
pub struct Faults {
    /// Before a request is sent, or answered.
    pub delay: Duration,
    /// What happens instead of a whole answer, or of a whole request.
    pub ending: Option<Ending>,
    pub body: BodyFaults,
}

/// How an exchange ends early.
#[derive(Clone, Debug, PartialEq)]
pub enum Ending {
    /// A server answers with this instead. Never drawn for [`Side::Client`].
    Error(Arc<ErrorAnswer>),
    /// The connection is closed: by a server without an answer, by a client without a request.
    Close,
    /// The connection is reset.
    Reset(ResetAt),
}

/// When a connection is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResetAt {
    /// Before anything of the message is written.
    Before,
    /// Within the body, after half of it; before anything where there is none.
    Body,
}

/// What a server answers instead.
#[derive(Debug, PartialEq)]
pub struct ErrorAnswer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: bytes::Bytes,
}

/// What happens to the body of a message, and to what its head says of it.
#[derive(Debug, Default)]
pub struct BodyFaults {
    /// Bytes per second, of this body alone.
    pub(crate) rate: Option<Counted<u64>>,
    /// Shared with all bodies of its rule.
    pub(crate) link: Option<Counted<Arc<Link>>>,
    pub(crate) cut: Option<Counted<CutAt>>,
    pub(crate) corruption: Option<Counted<Corruption>>,
    /// Cut in the middle because its connection is broken there; that is counted already.
    pub(crate) breaks_halfway: bool,
    content_type: Option<Counted<HeaderValue>>,
}

/// Where a body is cut.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum CutAt {
    Byte(u64),
    /// Of the length, from 0 to 1; where that is unknown, at the end of the first chunk.
    Share(f64),
}

/// How many bytes are changed, and the generator of which.
#[derive(Debug)]
pub(crate) struct Corruption {
    pub(crate) bytes: u32,
    pub(crate) random: ChaCha8Rng,
}

/// A fault with the counter of its rule and kind.
#[derive(Debug)]
pub(crate) struct Counted<T> {
    pub(crate) fault: T,
    counters: Arc<Counters>,
    kind: Kind,
}

/// A rule whose settings were checked.
#[derive(Debug)]
struct Rule {
    name: String,
    condition: Condition,
    from: Duration,
    until: Duration,
    probability: f64,
    latency: Option<Latency>,
    ending: Option<EndingRule>,
    rate: Option<u64>,
    link: Option<Arc<Link>>,
    cut: Option<CutAt>,
    corrupt: Option<u32>,
    content_type: Option<HeaderValue>,
    counters: Arc<Counters>,
}

#[derive(Debug)]
enum EndingRule {
    /// One of these, by weight; the weights are positive and finite.
    Error(Vec<(f64, Arc<ErrorAnswer>)>),
    Close,
    Reset(ResetAt),
}

#[derive(Debug, Default)]
struct Counters([AtomicU64; Kind::ALL.len()]);

impl Kind {
    pub const ALL: [Self; 9] = [
        Self::Latency,
        Self::Error,
        Self::Close,
        Self::Reset,
        Self::SlowBody,
        Self::Bandwidth,
        Self::Truncate,
        Self::Corrupt,
        Self::ContentType,
    ];

    /// The key in a rule's settings, and the word in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::Error => "error",
            Self::Close => "close",
            Self::Reset => "reset",
            Self::SlowBody => "slow_body",
            Self::Bandwidth => "bandwidth",
            Self::Truncate => "truncate",
            Self::Corrupt => "corrupt",
            Self::ContentType => "content_type",
        }
    }
}

impl Chaos {
    /// Checks `settings`; all errors are reported together. `seed` wins over theirs.
    pub fn new(settings: &Settings, seed: Option<u64>, side: Side) -> Result<Self, Vec<SettingsError>> {
        let rules = settings.rules(side)?;
        Ok(Self { seed: seed.or(settings.seed).unwrap_or_default(), rules })
    }

    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// What is to happen to `exchange`. `key` names it across runs, `occurrence` counts how often that key came
    /// before, `since_start` is compared with the rules' windows. Rules are tried in order: their delays add
    /// up, of everything else the first that says something wins. Delays and endings are counted here, faults
    /// of a body where they take effect.
    pub fn draw(&self, exchange: &dyn View, key: &[u8], occurrence: u64, since_start: Duration) -> Faults {
        let mut faults = Faults::default();
        for rule in &self.rules {
            let in_time = rule.from <= since_start && since_start < rule.until;
            if in_time && rule.condition.matches(exchange) {
                rule.draw(self.generator(rule, key, occurrence), &mut faults);
            }
        }
        faults
    }

    /// What happened so far, in the order of the rules; nothing that never happened.
    pub fn counts(&self) -> Vec<FaultCount> {
        let of_rule = |rule: &Rule| {
            let Counters(counts) = &*rule.counters;
            let name = rule.name.clone();
            let counts: Vec<u64> = counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
            Kind::ALL
                .into_iter()
                .zip(counts)
                .filter(|(_, count)| *count > 0)
                .map(move |(kind, count)| FaultCount { rule: name.clone(), kind, count })
        };
        self.rules.iter().flat_map(of_rule).collect()
    }

    /// The counts as a report has them.
    pub(crate) fn report(&self) -> Vec<tap_proto::v1::FaultCount> {
        let of = |FaultCount { rule, kind, count }| tap_proto::v1::FaultCount {
            rule,
            kind: kind.as_str().to_owned(),
            count,
        };
        self.counts().into_iter().map(of).collect()
    }

    fn generator(&self, rule: &Rule, key: &[u8], occurrence: u64) -> ChaCha8Rng {
        let mut hash = Sha256::new();
        hash.update(DOMAIN);
        hash.update(self.seed.to_le_bytes());
        // Lengths first: no two inputs give the same bytes.
        hash.update((rule.name.len() as u64).to_le_bytes());
        hash.update(rule.name.as_bytes());
        hash.update((key.len() as u64).to_le_bytes());
        hash.update(key);
        hash.update(occurrence.to_le_bytes());
        ChaCha8Rng::from_seed(hash.finalize().into())
    }
}

impl Rule {
    fn draw(&self, generator: ChaCha8Rng, faults: &mut Faults) {
        // A stream for each decision: adding a fault to a rule doesn't change its others.
        let random = |stream: u64| {
            let mut generator = generator.clone();
            generator.set_stream(stream);
            generator
        };
        let of_kind = |kind: Kind| random(1 + kind as u64);
        if random(0).random::<f64>() >= self.probability {
            return;
        }
        if let Some(latency) = &self.latency {
            let drawn = latency.draw(&mut of_kind(Kind::Latency));
            faults.delay = faults.delay.saturating_add(drawn).min(MAX_DELAY);
            self.counters.count(Kind::Latency);
        }
        if let (Some(ending), None) = (&self.ending, &faults.ending) {
            let (kind, ending) = match ending {
                EndingRule::Error(answers) => {
                    (Kind::Error, Ending::Error(weighted(answers, of_kind(Kind::Error).random())))
                }
                EndingRule::Close => (Kind::Close, Ending::Close),
                EndingRule::Reset(at) => (Kind::Reset, Ending::Reset(*at)),
            };
            faults.ending = Some(ending);
            self.counters.count(kind);
        }
        let body = &mut faults.body;
        if body.rate.is_none() {
            body.rate = self.rate.map(|rate| self.counted(rate, Kind::SlowBody));
        }
        if body.link.is_none() {
            body.link = self.link.as_ref().map(|link| self.counted(Arc::clone(link), Kind::Bandwidth));
        }
        if body.cut.is_none() {
            body.cut = self.cut.map(|cut| self.counted(cut, Kind::Truncate));
        }
        if body.corruption.is_none() {
            body.corruption = self.corrupt.map(|bytes| {
                let corruption = Corruption { bytes, random: of_kind(Kind::Corrupt) };
                self.counted(corruption, Kind::Corrupt)
            });
        }
        if body.content_type.is_none() {
            let content_type = self.content_type.clone();
            body.content_type = content_type.map(|value| self.counted(value, Kind::ContentType));
        }
    }

    fn counted<T>(&self, fault: T, kind: Kind) -> Counted<T> {
        Counted { fault, counters: Arc::clone(&self.counters), kind }
    }
}

/// The answer at `share`, between 0 and 1, of the weights' sum.
fn weighted(answers: &[(f64, Arc<ErrorAnswer>)], share: f64) -> Arc<ErrorAnswer> {
    let sum: f64 = answers.iter().map(|(weight, _)| weight).sum();
    let mut rest = share * sum;
    let drawn = answers.iter().find(|(weight, _)| {
        rest -= weight;
        rest < 0.0
    });
    // Rounding may leave nothing for the last.
    let (_, answer) = drawn.or(answers.last()).expect("checked settings have an answer");
    Arc::clone(answer)
}

impl BodyFaults {
    /// Changes what the head says of the body.
    pub fn change_head(&mut self, headers: &mut HeaderMap) {
        if let Some(content_type) = self.take_content_type() {
            headers.insert(http::header::CONTENT_TYPE, content_type);
        }
    }

    /// The `Content-Type` that the head gets; it takes effect.
    pub(crate) fn take_content_type(&mut self) -> Option<HeaderValue> {
        self.content_type.take().map(Counted::take_effect)
    }

    /// Whether nothing happens to the body's bytes.
    pub fn is_empty(&self) -> bool {
        let Self { rate, link, cut, corruption, breaks_halfway, content_type: _ } = self;
        rate.is_none() && link.is_none() && cut.is_none() && corruption.is_none() && !breaks_halfway
    }

    /// The connection breaks in the middle of the body: see [`ResetAt::Body`].
    pub fn break_halfway(&mut self) {
        self.breaks_halfway = true;
        self.cut = None;
    }
}

impl<T> Counted<T> {
    pub(crate) fn count(&self) {
        self.counters.count(self.kind);
    }

    /// The fault, which happens now.
    pub(crate) fn take_effect(self) -> T {
        self.count();
        self.fault
    }
}

impl Counters {
    fn count(&self, kind: Kind) {
        self.0[kind as usize].fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
