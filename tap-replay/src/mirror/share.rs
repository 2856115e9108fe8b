//! The stable share: what shares a key is mirrored or left out together, in every collector and at any time.
//!
//! The hash and its keys are those of sampling in docs/policies.md, which has test vectors: the first eight bytes,
//! big-endian, of the SHA-256 of the key; in the share where `hash mod 1,000,000 < percent × 10,000`. Here the keys are
//! read from what redaction left, so a header that redaction replaces has another hash than before it, and the same
//! wherever the same redaction key is used.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tap_proto::v1::{Endpoint, Exchange, Header};

/// A percentage has four decimal places.
const BUCKETS: u64 = 1_000_000;
/// Digits of a trace id; shorter ones (B3 allows 16) have zeros in front.
const TRACE_ID_DIGITS: usize = 32;

/// What decides whether an exchange is in the share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    #[default]
    Connection,
    TraceId,
    Header,
}

/// A share of the exchanges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Of [`BUCKETS`].
    kept: u64,
    key: Key,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Key {
    Connection,
    TraceId,
    Header(String),
}

impl Share {
    /// Checks a share; an error is the setting and what is wrong with it.
    pub fn new(percent: f64, by: By, header: Option<&str>) -> Result<Self, (&'static str, String)> {
        if !(0.0..=100.0).contains(&percent) {
            return Err(("percent", format!("must be 0 to 100, is {percent}")));
        }
        let key = match (by, header) {
            (By::Header, Some(name)) if http::HeaderName::from_bytes(name.as_bytes()).is_ok() => {
                Key::Header(name.to_owned())
            }
            (By::Header, Some(name)) => return Err(("header", format!("{name:?} is no header's name"))),
            (By::Header, None) => return Err(("header", "is needed where by is header".to_owned())),
            (_, Some(_)) => return Err(("header", "belongs to by: header".to_owned())),
            (By::Connection, None) => Key::Connection,
            (By::TraceId, None) => Key::TraceId,
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "0 to 1,000,000, as was checked"
        )]
        let kept = (percent * (BUCKETS / 100) as f64).round() as u64;
        Ok(Self { kept, key })
    }

    /// Whether the exchange is in the share.
    pub fn has(&self, exchange: &Exchange) -> bool {
        self.kept >= BUCKETS || self.hash(exchange) % BUCKETS < self.kept
    }

    fn hash(&self, exchange: &Exchange) -> u64 {
        let headers = exchange.request.as_ref().map_or(&[][..], |request| &request.headers);
        let found = match &self.key {
            Key::Connection => None,
            Key::TraceId => trace_id(headers).map(|id| hash(id.as_bytes())),
            Key::Header(name) => value(headers, name).filter(|value| !value.is_empty()).map(hash),
        };
        found.unwrap_or_else(|| hash(client(exchange.source.as_ref()).as_bytes()))
    }
}

fn hash(key: &[u8]) -> u64 {
    let digest: [u8; 32] = Sha256::digest(key).into();
    let [a, b, c, d, e, f, g, h, ..] = digest;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// A connection's key: its client's end as `address:port`.
fn client(source: Option<&Endpoint>) -> String {
    let Some(Endpoint { ip, port, .. }) = source else { return String::new() };
    match (ip.parse::<IpAddr>(), u16::try_from(*port)) {
        (Ok(ip), Ok(port)) => SocketAddr::new(ip.to_canonical(), port).to_string(),
        _ => format!("{ip}:{port}"),
    }
}

/// Of `traceparent` (W3C), else of `b3`, else of `x-b3-traceid` (both B3).
fn trace_id(headers: &[Header]) -> Option<String> {
    let text = |name| value(headers, name).and_then(|value| std::str::from_utf8(value).ok());
    let traceparent = text("traceparent").and_then(|value| {
        let mut parts = value.trim().split('-');
        let (version, id) = (parts.next()?, parts.next()?);
        (version.len() == 2 && id.len() == TRACE_ID_DIGITS).then_some(id)
    });
    let b3 = || text("b3").and_then(|value| value.trim().split_once('-')).map(|(id, _)| id);
    let candidates = [traceparent, b3(), text("x-b3-traceid").map(str::trim)];
    candidates.into_iter().flatten().find_map(normal_trace_id)
}

fn normal_trace_id(id: &str) -> Option<String> {
    let is_id = matches!(id.len(), 16 | TRACE_ID_DIGITS)
        && id.bytes().all(|byte| byte.is_ascii_hexdigit())
        && id.bytes().any(|byte| byte != b'0');
    is_id.then(|| format!("{:0>32}", id.to_ascii_lowercase()))
}

/// The first field of this name, as sent.
fn value<'a>(headers: &'a [Header], name: &str) -> Option<&'a [u8]> {
    let header = headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
    Some(if header.raw_value.is_empty() { header.value.as_bytes() } else { &header.raw_value })
}
