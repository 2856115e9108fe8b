//! A stable share of the exchanges: what has one key is in it together or not at all, in every process and at any time.
//!
//! The hash is the first eight bytes, big-endian, of the SHA-256 of the key's bytes; an exchange is in the share where
//! `hash mod 1,000,000 < percent × 10,000`. So whoever has the key can say by hand whether it is in, and a larger
//! percentage has everything that a smaller one has. docs/policies.md gives the keys and test vectors: they never change.

use sha2::{Digest as _, Sha256};

/// A percentage has four decimal places.
const BUCKETS: u64 = 1_000_000;

/// Digits of a trace id; shorter ones (B3 allows 16) have zeros in front.
const TRACE_ID_DIGITS: usize = 32;

/// Longest name of a header that is a key.
const MAX_NAME_BYTES: usize = 256;

/// What the keys are read from.
pub trait Keyed {
    /// The first header of this name that the request has, as sent.
    fn request_header(&self, name: &str) -> Option<&[u8]>;

    /// The client's end of the connection as `address:port`, which both ends see alike.
    fn client(&self) -> String;
}

/// What exchanges have in common that are in a share together. Without it, their connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShareKey {
    Connection,
    TraceId,
    /// The value of this header.
    Header(String),
}

/// A checked share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Of [`BUCKETS`].
    kept: u64,
    key: ShareKey,
}

/// Why there is no such share.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ShareError {
    #[error("must be 0 to 100, is {0}")]
    Percent(f64),
    #[error("{0:?} is no header's name")]
    Header(String),
}

impl ShareError {
    /// The setting that is wrong.
    pub fn setting(&self) -> &'static str {
        match self {
            Self::Percent(_) => "percent",
            Self::Header(_) => "header",
        }
    }
}

impl Share {
    pub fn new(percent: f64, key: ShareKey) -> Result<Self, ShareError> {
        if !(0.0..=100.0).contains(&percent) {
            return Err(ShareError::Percent(percent));
        }
        if let ShareKey::Header(name) = &key
            && !is_field_name(name)
        {
            return Err(ShareError::Header(name.clone()));
        }
        // 0 to 1,000,000, as was checked.
        let kept = (percent * (BUCKETS / 100) as f64).round() as u64;
        Ok(Self { kept, key })
    }

    /// Whether the exchange is in the share.
    pub fn has(&self, exchange: &impl Keyed) -> bool {
        self.kept >= BUCKETS || self.hash(exchange) % BUCKETS < self.kept
    }

    fn hash(&self, exchange: &impl Keyed) -> u64 {
        let found = match &self.key {
            ShareKey::Connection => None,
            ShareKey::TraceId => trace_id(exchange).map(|id| hash(id.as_bytes())),
            ShareKey::Header(name) => {
                exchange.request_header(name).filter(|value| !value.is_empty()).map(hash)
            }
        };
        found.unwrap_or_else(|| hash(exchange.client().as_bytes()))
    }
}

/// The hash of a key.
pub fn hash(key: &[u8]) -> u64 {
    let digest: [u8; 32] = Sha256::digest(key).into();
    let [a, b, c, d, e, f, g, h, ..] = digest;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// The id of the trace to which a request belongs, as 32 lower-case hexadecimal digits: of `traceparent` (W3C), else
/// of `b3`, else of `x-b3-traceid` (both B3).
fn trace_id(exchange: &impl Keyed) -> Option<String> {
    let text = |name| exchange.request_header(name).and_then(|value| std::str::from_utf8(value).ok());
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

fn is_field_name(name: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}
