//! The decision on one request.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header, request::Parts};
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use hyper::body::Body;
use tap_proto::v1::Exchange;
use tokio::{sync::mpsc, time};

use super::{
    Index, MOCK_HEADER, MissCount, Sequence, Session, Settings, Statistics, Upstream,
    answer::{self, Answer, Provenance},
    body::Digest,
    index::Candidates,
    meeting::Meeting,
    path,
    recent::Recent,
    record::{Recorder, Tee},
    recording::{NOT_COPIED, Recording},
    request::{Asked, without_port},
    stats::{Counters, FaultCount, Reason},
    upstream::{self, connection_options},
};
use crate::chaos::{Breaker, Chaos, Ending, Faults, FaultyBody, ResetAt};

/// Sessions' places in sequences, and occurrences of requests, that are remembered.
const MAX_REMEMBERED: usize = 131_072;

type Error = Box<dyn std::error::Error + Send + Sync>;
/// The body of any answer.
pub(super) type Reply = UnsyncBoxBody<Bytes, Error>;

/// A recorded server, ready to answer.
#[derive(Debug)]
pub struct Mock {
    index: Index,
    settings: Settings,
    chaos: Option<Chaos>,
    upstreams: Vec<Upstream>,
    recorder: Option<Recorder>,
    marker: HeaderValue,
    counters: Arc<Counters>,
    turns: Mutex<Recent<(u64, u64)>>,
    occurrences: Mutex<Recent<Digest>>,
    started: Instant,
    connections: AtomicU64,
}

/// What is known of a request beside what it says.
#[derive(Debug)]
pub(super) struct Surroundings {
    /// The host that answers on the listener.
    pub(super) host: Option<Arc<str>>,
    /// Counts the connections.
    pub(super) connection: u64,
    pub(super) breaker: Breaker,
}

/// The connection ends here, on purpose, without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection is broken on purpose")]
pub(super) struct Broken;

impl Mock {
    /// Requests that are passed on carry `id` as their marker. Exchanges that were passed through go to
    /// `recorded`, as long as there is room.
    pub fn new(
        index: Index,
        settings: Settings,
        chaos: Option<Chaos>,
        upstreams: Vec<Upstream>,
        id: &str,
        recorded: Option<mpsc::Sender<Exchange>>,
    ) -> Self {
        let counters = Arc::new(Counters::default());
        let recorder = recorded.map(|exchange_tx| Recorder { exchange_tx, counters: Arc::clone(&counters) });
        Self {
            index,
            settings,
            chaos,
            upstreams,
            recorder,
            marker: HeaderValue::from_str(id).unwrap_or(HeaderValue::from_static("mock")),
            counters,
            turns: Mutex::new(Recent::new(MAX_REMEMBERED)),
            occurrences: Mutex::new(Recent::new(MAX_REMEMBERED)),
            started: Instant::now(),
            connections: AtomicU64::new(0),
        }
    }

    /// What was counted so far.
    pub fn statistics(&self) -> Statistics {
        let faults = self.chaos.iter().flat_map(Chaos::counts);
        Statistics {
            forgotten_sessions: lock(&self.turns).forgotten(),
            never_served: self.index.never_served(),
            faults: faults
                .map(|count| FaultCount { rule: count.rule, kind: count.kind.as_str(), count: count.count })
                .collect(),
            seed: self.chaos.as_ref().map(Chaos::seed),
            index: self.index.loaded().clone(),
            ..self.counters.snapshot()
        }
    }

    /// The kinds of misses, the most frequent first, and how many misses are of kinds beyond the cap.
    pub fn misses(&self) -> (Vec<MissCount>, u64) {
        self.counters.misses()
    }

    /// Starts every sequence of answers from its beginning. Counts stay.
    pub fn restart_sequences(&self) {
        lock(&self.turns).clear();
        lock(&self.occurrences).clear();
    }

    pub(super) fn next_connection(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn refused_connection(&self) {
        Counters::add(&self.counters.refused_connections);
    }

    /// The answer to a request; `content` is `None` where there was too much of it.
    pub(super) async fn answer(
        &self,
        head: Parts,
        content: Option<Bytes>,
        surroundings: &Surroundings,
    ) -> Result<Response<Reply>, Broken> {
        Counters::add(&self.counters.requests);
        let host = host_of(&head);
        let host = surroundings.host.as_deref().unwrap_or(&host);
        let Some(content) = content else {
            let asked = Asked::new(&head, host, Bytes::new(), &self.index.matching);
            return Ok(whole(self.miss(Reason::TooLarge, &asked, None)));
        };
        let asked = Asked::new(&head, host, content, &self.index.matching);
        let required = match &surroundings.host {
            Some(host) => Some(without_port(host)),
            None => self.index.known_host(without_port(host)),
        };
        let reason = match self.index.find(&asked, required) {
            Some(candidates) => match self.choose(&candidates, &asked, surroundings) {
                Ok((recording, turn)) => {
                    Counters::add(&self.counters.hits);
                    let Candidates { by_template, body, .. } = candidates;
                    let how = Provenance { by_template, body, turn };
                    let answer = answer::hit(recording, &head.method, self.settings.shift_dates, how);
                    let faults = self.faults(candidates.key, &asked, host, Some(recording));
                    let latency = self.settings.latency.of(recording.latency);
                    time::sleep(latency.saturating_add(faults.delay)).await;
                    return faulty(answer, Full::new, faults, &surroundings.breaker);
                }
                Err(reason) => reason,
            },
            None => Reason::Differs,
        };
        if let Some(upstream) = self.upstream(host) {
            return self.pass_through(upstream, head, &asked, host, surroundings).await;
        }
        Ok(whole(self.miss(reason, &asked, required)))
    }

    /// The recording whose turn it is, with its place and the length of the sequence.
    fn choose(
        &self,
        candidates: &Candidates<'_>,
        asked: &Asked,
        surroundings: &Surroundings,
    ) -> Result<(&Recording, (u64, usize)), Reason> {
        let is_served = |recording: &&u32| {
            let recording = &self.index.recordings[**recording as usize].recording;
            recording.is_served(self.settings.serve_incomplete)
        };
        let served = candidates.recordings.iter().filter(is_served).count();
        if served == 0 {
            let last =
                candidates.recordings.last().map(|last| &self.index.recordings[*last as usize].recording);
            return Err(last.and_then(|last| last.problem).map_or(Reason::Incomplete, Reason::from));
        }
        let mut sequence = DefaultHasher::new();
        (candidates.key, served).hash(&mut sequence);
        let session = session(&self.settings.session, &asked.headers, surroundings.connection);
        let turn = lock(&self.turns).next((session, sequence.finish()));
        let place = match self.settings.sequence {
            Sequence::Last => turn.min(served as u64 - 1),
            Sequence::Cycle => turn % served as u64,
        };
        let chosen = candidates.recordings.iter().filter(is_served).nth(place as usize);
        let recording = self.index.serve(*chosen.expect("the place is among those served"));
        Ok((recording, (place + 1, served)))
    }

    fn faults(&self, key: Digest, asked: &Asked, host: &str, recorded: Option<&Recording>) -> Faults {
        let Some(chaos) = &self.chaos else { return Faults::default() };
        let occurrence = lock(&self.occurrences).next(key);
        let meeting = Meeting { asked: &asked.to_exchange(host), recorded };
        chaos.draw(&meeting, &key, occurrence, self.started.elapsed())
    }

    fn miss(&self, mut reason: Reason, asked: &Asked, host: Option<&str>) -> Answer {
        let nearest = self.index.nearest(asked, host);
        let target = &asked.target;
        if reason == Reason::Differs
            && nearest.as_ref().is_none_or(|nearest| {
                nearest.differences.iter().any(|difference| ["method", "path"].contains(&&*difference.place))
            })
        {
            reason = Reason::NoExchange;
        }
        let template = path::template(&target.path, &self.index.matching.paths);
        self.counters.missed(reason, &target.method, template, nearest.as_ref());
        let status = if reason == Reason::TooLarge {
            StatusCode::PAYLOAD_TOO_LARGE
        } else {
            self.settings.miss_status
        };
        answer::miss(status, reason, (&target.method, &target.host, &target.path), nearest.as_ref())
    }

    /// Where requests for `host` are passed on: an upstream of its own before the one for all.
    fn upstream(&self, host: &str) -> Option<&Upstream> {
        let name = without_port(host);
        let own = self
            .upstreams
            .iter()
            .find(|upstream| upstream.for_host.as_deref().is_some_and(|host| without_port(host) == name));
        own.or_else(|| self.upstreams.iter().find(|upstream| upstream.for_host.is_none()))
    }

    async fn pass_through(
        &self,
        upstream: &Upstream,
        head: Parts,
        asked: &Asked,
        host: &str,
        surroundings: &Surroundings,
    ) -> Result<Response<Reply>, Broken> {
        let begun = Instant::now();
        let time = prost_types::Timestamp::from(std::time::SystemTime::now());
        let faults = self.faults(passed_key(asked), asked, host, None);
        time::sleep(faults.delay).await;
        let sent = upstream.send(&head, asked.content.clone(), &self.marker).await;
        let (mut head, body) = match sent {
            Ok(answer) => answer.into_parts(),
            Err(failure) => {
                Counters::add(&self.counters.not_passed_through);
                // The cause is a connection's; it quotes no message.
                let origin = format!("passthrough; failed={}", failure_word(&failure));
                return Ok(whole(answer::plain(StatusCode::BAD_GATEWAY, &origin)));
            }
        };
        Counters::add(&self.counters.passed_through);
        let recording = self.recorder.as_ref().map(|recorder| {
            let mut exchange = asked.to_exchange(host);
            exchange.time = Some(time);
            if let Some(request) = &mut exchange.request {
                request.scheme = upstream.scheme().to_owned();
                if let Ok(authority) = upstream.authority().to_str() {
                    // What was asked names the mock; what was recorded is the dependency.
                    request.host = authority.to_ascii_lowercase();
                }
            }
            recorder.begin(exchange, begun, head.status, &head.headers)
        });
        let options: Vec<HeaderName> = connection_options(&head.headers)
            .into_iter()
            .filter_map(|option| HeaderName::from_bytes(option.as_bytes()).ok())
            .collect();
        for name in NOT_COPIED.iter().filter(|name| **name != header::CONTENT_LENGTH).chain(&options) {
            head.headers.remove(name);
        }
        head.headers.insert(MOCK_HEADER, HeaderValue::from_static("passthrough"));
        let answer = Response::from_parts(head, Tee::new(body, recording));
        faulty(answer, |tee| tee, faults, &surroundings.breaker)
    }
}

/// An answer with its faults. `body` makes of what the answer holds its body.
fn faulty<T, B>(
    answer: Response<T>,
    body: impl FnOnce(T) -> B,
    faults: Faults,
    breaker: &Breaker,
) -> Result<Response<Reply>, Broken>
where
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<Error> + std::error::Error + Send + Sync + 'static,
{
    let Faults { delay: _, ending, body: mut faults } = faults;
    let (mut head, content) = answer.into_parts();
    let body = body(content);
    let mut on_cut: Option<Box<dyn FnOnce() + Send + Sync>> = None;
    match ending {
        None => {}
        Some(Ending::Error(error)) => {
            let origin = head.headers.remove(MOCK_HEADER);
            let mut origin =
                origin.and_then(|origin| origin.to_str().ok().map(str::to_owned)).unwrap_or_default();
            origin += "; fault=error";
            let mut answer = Response::new(error.body.clone());
            *answer.status_mut() = error.status;
            *answer.headers_mut() = error.headers.clone();
            answer.headers_mut().insert(MOCK_HEADER, answer::words(&origin));
            return Ok(whole(answer));
        }
        Some(Ending::Reset(ResetAt::Body))
            if !body.is_end_stream() && body.size_hint().exact() != Some(0) =>
        {
            faults.break_halfway();
            let breaker = breaker.clone();
            on_cut = Some(Box::new(move || breaker.reset()));
        }
        Some(Ending::Reset(_)) => {
            breaker.reset();
            return Err(Broken);
        }
        Some(Ending::Close) => return Err(Broken),
    }
    faults.change_head(&mut head.headers);
    let body = if faults.is_empty() {
        body.map_err(Into::into).boxed_unsync()
    } else {
        FaultyBody::new(body, faults, on_cut).map_err(Into::into).boxed_unsync()
    };
    Ok(Response::from_parts(head, body))
}

fn whole(answer: Answer) -> Response<Reply> {
    answer.map(|body| Full::new(body).map_err(|never| match never {}).boxed_unsync())
}

/// The host that a request names, in lower case: in its target, as a proxy's client does, or in `Host`.
fn host_of(head: &Parts) -> String {
    let in_target = head.uri.authority().map(|authority| authority.as_str());
    let in_header = || head.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    in_target.or_else(in_header).unwrap_or_default().to_ascii_lowercase()
}

fn session(session: &Session, headers: &HeaderMap, connection: u64) -> u64 {
    let mut hash = DefaultHasher::new();
    match session {
        Session::All => {}
        Session::Connection => connection.hash(&mut hash),
        Session::Header(name) => headers.get(name).map(HeaderValue::as_bytes).hash(&mut hash),
        Session::Cookie(name) => {
            let cookies = headers.get_all(header::COOKIE).iter().filter_map(|cookies| cookies.to_str().ok());
            let mut pairs =
                cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.split_once('='));
            pairs.find(|(other, _)| other.trim() == name).map(|(_, value)| value.trim()).hash(&mut hash);
        }
    }
    hash.finish()
}

/// What names a request that nothing recorded answers.
fn passed_key(asked: &Asked) -> Digest {
    use sha2::{Digest as _, Sha256};
    let target = &asked.target;
    Sha256::digest(format!("{:?}", (&target.method, &target.host, &target.path))).into()
}

fn failure_word(failure: &upstream::Failure) -> String {
    failure.to_string().replace(' ', "_")
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
