//! A recorded response, as it is served.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use tap_proto::v1::{self, Exchange, completeness::State};

use super::request::{content, value};

/// Headers that speak of the recorded connection or of how the recorded message was framed.
pub(super) const NOT_COPIED: [HeaderName; 8] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    HeaderName::from_static("keep-alive"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("proxy-connection"),
];
/// What an exchange takes beside its bodies, roughly.
const OVERHEAD_BYTES: usize = 1_024;

/// A response with what is known of its exchange.
#[derive(Debug)]
pub(super) struct Recording {
    /// Without the request and without the response's content.
    pub(super) exchange: Exchange,
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// Of the body of the answer to a HEAD, or where the body is not whole: what `Content-Length` said.
    pub(super) announced: Option<u64>,
    pub(super) latency: Option<Duration>,
    /// In nanoseconds since the epoch.
    pub(super) time: i128,
    pub(super) problem: Option<Problem>,
}

/// Why a recorded response is not served. The words are those of misses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    ResponseMissing,
    /// Served where incomplete ones are.
    Incomplete,
    BodyDropped,
    Upgrade,
    /// HTTP can't carry it as recorded.
    Unsendable,
}

impl Problem {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::ResponseMissing => "response_missing",
            Self::Incomplete => "incomplete",
            Self::BodyDropped => "body_dropped",
            Self::Upgrade => "upgrade",
            Self::Unsendable => "unsendable",
        }
    }

    /// Whether there is something to serve all the same.
    fn is_servable(self) -> bool {
        matches!(self, Self::Incomplete | Self::BodyDropped)
    }
}

impl Recording {
    pub(super) fn of(mut exchange: Exchange) -> Self {
        let method = exchange.request.take().map(|request| request.method).unwrap_or_default();
        // What they say of the request was taken from them; nothing reads the rest.
        exchange.redactions = Vec::new();
        let mut recording = Self {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            announced: None,
            latency: latency(&exchange),
            time: exchange
                .time
                .as_ref()
                .map_or(0, |time| i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos)),
            problem: None,
            exchange,
        };
        recording.problem = recording.take_response(&method).err();
        recording
    }

    fn take_response(&mut self, method: &str) -> Result<(), Problem> {
        let response = self.exchange.response.as_mut().ok_or(Problem::ResponseMissing)?;
        let state = response.completeness.as_ref().map_or(State::Unspecified, |state| state.state());
        if response.status == 0 || !matches!(state, State::Complete | State::Truncated | State::Gap) {
            return Err(Problem::ResponseMissing);
        }
        if response.status == 101 || method == "CONNECT" {
            return Err(Problem::Upgrade);
        }
        let status = u16::try_from(response.status).ok().and_then(|status| StatusCode::from_u16(status).ok());
        self.status = status.filter(|status| !status.is_informational()).ok_or(Problem::Unsendable)?;
        self.headers = headers(response)?;
        let has_no_body = method == "HEAD" || matches!(response.status, 204 | 304);
        self.announced = announced(response);
        let recorded = content(response.body.as_ref());
        if let Some(body) = &mut response.body {
            body.content = None;
        }
        match recorded {
            _ if has_no_body => Ok(()),
            Some(content) => {
                self.body = content;
                if state == State::Complete { Ok(()) } else { Err(Problem::Incomplete) }
            }
            None if response.body.as_ref().is_some_and(|body| !body.dropped.is_empty()) => {
                Err(Problem::BodyDropped)
            }
            None => Err(Problem::Incomplete),
        }
    }

    /// Whether it can be served.
    pub(super) fn is_served(&self, incomplete: bool) -> bool {
        self.problem.is_none_or(|problem| incomplete && problem.is_servable())
    }

    /// Memory that it takes, roughly.
    pub(super) fn bytes(&self) -> usize {
        let fields = self.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 64);
        let labels = self.exchange.labels.iter().map(|(name, value)| name.len() + value.len() + 64);
        let trailers = self.exchange.response.iter().flat_map(|response| &response.trailers);
        let trailers =
            trailers.map(|header| header.name.len() + header.value.len() + header.raw_value.len() + 96);
        // Headers once as they are served, once as conditions read them.
        OVERHEAD_BYTES
            + self.body.len()
            + 2 * fields.sum::<usize>()
            + labels.sum::<usize>()
            + trailers.sum::<usize>()
    }
}

fn headers(response: &v1::Response) -> Result<HeaderMap, Problem> {
    let is_decoded = response.body.as_ref().is_some_and(|body| !body.decoded_from.is_empty());
    let connection = response.headers.iter().filter(|header| header.name.eq_ignore_ascii_case("connection"));
    let options: Vec<&str> = connection.flat_map(|header| header.value.split(',')).map(str::trim).collect();
    let mut headers = HeaderMap::new();
    for recorded in &response.headers {
        let name = HeaderName::from_bytes(recorded.name.as_bytes()).map_err(|_| Problem::Unsendable)?;
        let ends_here = NOT_COPIED.contains(&name)
            || options.iter().any(|option| option.eq_ignore_ascii_case(name.as_str()))
            || is_decoded && name == header::CONTENT_ENCODING;
        if !ends_here {
            let value = HeaderValue::from_bytes(value(recorded)).map_err(|_| Problem::Unsendable)?;
            headers.try_append(name, value).map_err(|_| Problem::Unsendable)?;
        }
    }
    Ok(headers)
}

/// The length that the head announced, where the body was not decoded since.
fn announced(response: &v1::Response) -> Option<u64> {
    let header = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"))?;
    let is_decoded = response.body.as_ref().is_some_and(|body| !body.decoded_from.is_empty());
    header.value.trim().parse().ok().filter(|_| !is_decoded)
}

/// From the last byte of the request to the first of the response.
fn latency(exchange: &Exchange) -> Option<Duration> {
    let waited = exchange.timing.as_ref().filter(|timing| timing.request_end_ns > 0);
    let waited = waited.and_then(|timing| timing.response_start_ns.checked_sub(timing.request_end_ns));
    let whole = exchange.duration.as_ref().and_then(|duration| Duration::try_from(*duration).ok());
    waited.map(Duration::from_nanos).or(whole)
}
