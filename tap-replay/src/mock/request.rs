//! A request as it is matched, recorded or asked.

use bytes::Bytes;
use http::{HeaderMap, header};
use tap_proto::v1::{self, Exchange, body::Content, completeness::State};

use super::{
    body::{Digest, Shape},
    mask::{FieldPath, Mask},
    settings::{Matching, QueryMatch},
};

const PATH_PLACE: &str = "request.target.path";
const TARGET_PLACE: &str = "request.target.";
const BODY_PLACE: &str = "request.body";
/// What a record says that ran out of entries: anything may have been redacted.
const ANYWHERE: &str = "*";
/// An agent records 65 entries. Of a file with more, anything may have been redacted, too.
const MAX_REDACTIONS: usize = 128;
/// What a recorded request takes beside its texts, roughly.
const OVERHEAD_BYTES: usize = 1_024;
/// The values of JSON take several times its text.
const VALUES_PER_BYTE: usize = 4;

/// What both kinds have.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) method: String,
    /// Lower case, without the port; empty where unknown.
    pub(super) host: String,
    pub(super) path: String,
    /// Decoded, in order, without those that are ignored.
    pub(super) query: Vec<(String, String)>,
    pub(super) body: Shape,
}

/// A request that was recorded.
#[derive(Debug)]
pub(super) struct Recorded {
    pub(super) target: Target,
    /// Parameters whose values are not known.
    pub(super) redacted_query: Vec<String>,
    /// Of the headers that are compared, in their order: the value, or why there is none.
    pub(super) headers: Vec<Selected>,
    pub(super) mask: Mask,
}

/// The value of a header that is compared.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Selected {
    Absent,
    /// Redacted: any value is as good.
    Any,
    Value(Vec<u8>),
}

/// A request that came.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) target: Target,
    /// As sent, for conditions and recordings.
    pub(super) query: String,
    pub(super) headers: HeaderMap,
    pub(super) content: Bytes,
}

impl Recorded {
    /// What is compared of a recorded request; `None` where its head was not seen.
    pub(super) fn of(exchange: &Exchange, matching: &Matching) -> Option<Self> {
        let request = exchange.request.as_ref()?;
        if request.method.is_empty() || request.path.is_empty() {
            return None;
        }
        let redactions = exchange.redactions.iter().take(MAX_REDACTIONS);
        let places: Vec<&str> = redactions.map(|redaction| redaction.place.as_str()).collect();
        let anywhere = exchange.redactions.len() > MAX_REDACTIONS || places.contains(&ANYWHERE);
        let redacted_query = places
            .iter()
            .filter(|place| **place != PATH_PLACE)
            .filter_map(|place| place.strip_prefix(TARGET_PLACE))
            .map(|name| name.split('.').next().unwrap_or_default())
            .chain(anywhere.then_some(ANYWHERE))
            .map(str::to_owned)
            .collect();

        let headers = matching.headers.iter().map(|name| {
            let place = format!("request.headers.{name}");
            let is_redacted = |known: &&str| {
                **known == place || known.strip_prefix(&place).is_some_and(|rest| rest.starts_with('.'))
            };
            let mut values =
                request.headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name.as_str()));
            match values.next() {
                None => Selected::Absent,
                Some(_) if anywhere || places.iter().any(is_redacted) => Selected::Any,
                Some(header) => Selected::Value(value(header).to_vec()),
            }
        });
        let headers = headers.collect();

        let (fields, unknown) = redacted_fields(&places);
        let mask = Mask::new([fields, matching.ignore_fields.clone()].concat());
        let is_whole = request.completeness.as_ref().is_some_and(|state| state.state() == State::Complete);
        let body = match content(request.body.as_ref()) {
            Some(content) if is_whole && !unknown && !anywhere => {
                let content_type =
                    request.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-type"));
                let shape = Shape::of(content, content_type.map(|header| header.value.as_str()));
                // Fields can be left out of what has fields alone.
                let has_redactions = places.iter().any(|place| place.starts_with(BODY_PLACE));
                if has_redactions && !matches!(shape, Shape::Structured(_)) { Shape::Unknown } else { shape }
            }
            _ => Shape::Unknown,
        };
        let target = Target {
            method: request.method.clone(),
            host: without_port(&request.host).to_owned(),
            path: request.path.clone(),
            query: pairs(&request.query, matching),
            body,
        };
        Some(Self { target, redacted_query, headers, mask })
    }

    /// Memory that it takes, roughly: the text of the target, decoded and as keys, and the body as values.
    pub(super) fn bytes(&self, body: usize) -> usize {
        let Self { target, redacted_query, headers: _, mask: _ } = self;
        let query: usize = target.query.iter().map(|(name, value)| name.len() + value.len() + 64).sum();
        let redacted: usize = redacted_query.iter().map(|name| name.len() + 32).sum();
        OVERHEAD_BYTES + 4 * target.path.len() + query + redacted + VALUES_PER_BYTE * body
    }

    /// Equal where one request is as good as the other in every comparison, except for the path and the method.
    pub(super) fn digest(&self) -> Digest {
        use sha2::{Digest as _, Sha256};
        let Self { target: Target { method: _, host, path: _, query, body }, redacted_query, headers, mask } =
            self;
        let mut hash = Sha256::new();
        // Debug of plain lists of strings has delimiters and escapes: no two are the same text.
        hash.update(format!("{:?}", (host, query, redacted_query, headers, mask)));
        hash.update(body.digest(mask));
        hash.finalize().into()
    }
}

impl Asked {
    pub(super) fn new(head: &http::request::Parts, host: &str, content: Bytes, matching: &Matching) -> Self {
        let query = head.uri.query().unwrap_or_default();
        let content_type = head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let target = Target {
            method: head.method.as_str().to_owned(),
            host: without_port(host).to_owned(),
            path: head.uri.path().to_owned(),
            query: pairs(query, matching),
            body: Shape::of(content.clone(), content_type),
        };
        Self { target, query: query.to_owned(), headers: head.headers.clone(), content }
    }

    /// As an exchange without a response, for conditions.
    pub(super) fn to_exchange(&self, host: &str) -> Exchange {
        let headers = self.headers.iter().map(|(name, value)| to_proto(name.as_str(), value.as_bytes()));
        let content = match std::str::from_utf8(&self.content) {
            Ok(text) => Content::Text(text.to_owned()),
            Err(_) => Content::Binary(self.content.clone()),
        };
        Exchange {
            role: v1::Role::Outbound.into(),
            request: Some(v1::Request {
                method: self.target.method.clone(),
                scheme: "http".to_owned(),
                host: host.to_owned(),
                path: self.target.path.clone(),
                query: self.query.clone(),
                version: "HTTP/1.1".to_owned(),
                headers: headers.collect(),
                body: (!self.content.is_empty()).then(|| v1::Body {
                    size: self.content.len() as u64,
                    content: Some(content),
                    ..v1::Body::default()
                }),
                trailers: Vec::new(),
                completeness: Some(complete()),
            }),
            ..Exchange::default()
        }
    }
}

/// The parameters as they are compared.
fn pairs(query: &str, matching: &Matching) -> Vec<(String, String)> {
    if matching.query == QueryMatch::Ignored {
        return Vec::new();
    }
    url::form_urlencoded::parse(query.as_bytes())
        .filter(|(name, _)| !matching.ignore_query.iter().any(|ignored| ignored == name))
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect()
}

/// The fields of the request's body that were redacted, and whether more of it was than fields tell.
fn redacted_fields(places: &[&str]) -> (Vec<FieldPath>, bool) {
    let mut unknown = false;
    let mut fields = Vec::new();
    for place in places.iter().filter_map(|place| place.strip_prefix(BODY_PLACE)) {
        match place.strip_prefix('.').and_then(FieldPath::of_record) {
            Some(field) => fields.push(field),
            None => unknown = true,
        }
    }
    (fields, unknown)
}

/// The content of a body; `None` where it was not kept.
pub(super) fn content(body: Option<&v1::Body>) -> Option<Bytes> {
    let Some(body) = body else { return Some(Bytes::new()) };
    match &body.content {
        _ if !body.dropped.is_empty() => None,
        Some(Content::Text(text)) => Some(Bytes::copy_from_slice(text.as_bytes())),
        Some(Content::Binary(bytes)) => Some(bytes.clone()),
        None => (body.size == 0).then(Bytes::new),
    }
}

/// The bytes of the wire, where they were not UTF-8.
pub(super) fn value(header: &v1::Header) -> &[u8] {
    if header.raw_value.is_empty() { header.value.as_bytes() } else { &header.raw_value }
}

pub(super) fn to_proto(name: &str, value: &[u8]) -> v1::Header {
    let (value, raw_value) = match std::str::from_utf8(value) {
        Ok(value) => (value.to_owned(), Vec::new()),
        Err(_) => (String::from_utf8_lossy(value).into_owned(), value.to_vec()),
    };
    v1::Header { name: name.to_owned(), value, raw_value }
}

pub(super) fn complete() -> v1::Completeness {
    v1::Completeness { state: State::Complete.into(), ..v1::Completeness::default() }
}

/// `host` of `host:port` and `[::1]:port`.
pub(super) fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}
