//! Sampling by hash: what shares a key is kept or left out together, on every node and at every later time.
//!
//! The hash is the first eight bytes, big-endian, of the SHA-256 of the key's bytes; an exchange is kept where
//! `hash mod 1,000,000 < percent × 10,000`. So whoever has the key can say by hand whether it is in a sample, and a larger
//! percentage keeps everything that a smaller one keeps. docs/policies.md gives the keys and test vectors: they never change.

use std::net::SocketAddr;

use sha2::{Digest as _, Sha256};
use tap_flow::{Exchange, Headers, Role};

use crate::resource::{SampleKey, SampleSpec};

/// A percentage has four decimal places.
const BUCKETS: u64 = 1_000_000;

/// Digits of a trace id; shorter ones (B3 allows 16) have zeros in front.
const TRACE_ID_DIGITS: usize = 32;

/// A checked sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
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

/// The hash of a key.
pub fn hash(key: &[u8]) -> u64 {
    let digest: [u8; 32] = Sha256::digest(key).into();
    let [a, b, c, d, e, f, g, h, ..] = digest;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

impl Sample {
    /// Checks a sample; an error is the field and what is wrong with it.
    pub(crate) fn compile(sample: &SampleSpec) -> Result<Self, (&'static str, String)> {
        let SampleSpec { percent, key, header } = sample;
        if !(0.0..=100.0).contains(percent) {
            return Err(("percent", format!("must be 0 to 100, is {percent}")));
        }
        let key = match (key, header) {
            (SampleKey::Header, Some(name)) if is_token(name) => Key::Header(name.clone()),
            (SampleKey::Header, Some(name)) => {
                return Err(("header", format!("{name:?} is no header's name")));
            }
            (SampleKey::Header, None) => return Err(("header", "is needed where key is header".to_owned())),
            (_, Some(_)) => return Err(("header", "belongs to key: header".to_owned())),
            (SampleKey::Connection, None) => Key::Connection,
            (SampleKey::TraceId, None) => Key::TraceId,
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "0 to 1,000,000, as was checked"
        )]
        let kept = (percent * (BUCKETS / 100) as f64).round() as u64;
        Ok(Self { kept, key })
    }

    /// Whether the exchange, as it was captured, is in the sample.
    pub fn keeps(&self, exchange: &Exchange) -> bool {
        if self.kept >= BUCKETS {
            return true;
        }
        self.hash(exchange) % BUCKETS < self.kept
    }

    fn hash(&self, exchange: &Exchange) -> u64 {
        let headers = exchange.request.as_ref().map(|request| &request.headers);
        let found = match (&self.key, headers) {
            (Key::Connection, _) | (_, None) => None,
            (Key::TraceId, Some(headers)) => trace_id(headers).map(|id| hash(id.as_bytes())),
            (Key::Header(name), Some(headers)) => {
                headers.get(name).filter(|value| !value.is_empty()).map(hash)
            }
        };
        found.unwrap_or_else(|| hash(client(exchange).as_bytes()))
    }
}

/// A connection's key: its client's end, which both ends see alike, with a Service between them too.
fn client(exchange: &Exchange) -> String {
    let address = match exchange.role {
        Role::Inbound => exchange.flow.remote,
        Role::Outbound => exchange.flow.local,
    };
    SocketAddr::new(address.ip().to_canonical(), address.port()).to_string()
}

/// The id of the trace to which a request belongs, as 32 lower-case hexadecimal digits: of `traceparent` (W3C), else
/// of `b3`, else of `x-b3-traceid` (both B3).
fn trace_id(headers: &Headers) -> Option<String> {
    let text = |name| headers.get(name).and_then(|value| std::str::from_utf8(value).ok());
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

fn is_token(name: &str) -> bool {
    (1..=256).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}
