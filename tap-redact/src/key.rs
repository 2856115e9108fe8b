//! The keys of the tokens, and the keyed function that they are made with.
//!
//! A key has an id, which is in the record of each exchange: given with it, or derived from it. It tells which of
//! several keys made a token, and nothing about the key.
//!
//! A keyring is one key, or lines of `id = hexadecimal digits`, the first of which is in use:
//!
//! ```text
//! # since November
//! 2026-11 = 7b1f…
//! 2026-08 = 90ac…
//! ```
//!
//! Rotation puts a line before the others. Tokens change with it; those of an earlier key are still known for tokens
//! and left alone, for as long as its line stays.

use std::{fmt, sync::Arc};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::{Detector, token};

/// Shortest key. Whoever can try keys can try values.
pub const MIN_KEY_BYTES: usize = 16;

/// Longest id of a key.
const MAX_ID_BYTES: usize = 32;

/// Most keys of a ring. Each costs a look at what may be a token.
const MAX_KEYS: usize = 8;

/// The secret that tokens are made with: equal keys give equal tokens, on every node and at any time.
#[derive(Clone)]
pub struct Key {
    mac: Hmac<Sha256>,
    id: Arc<str>,
    /// Those whose tokens are known, too.
    earlier: Arc<[Hmac<Sha256>]>,
}

/// The key in use, and those before it.
#[derive(Clone, Debug)]
pub struct Keyring {
    current: Key,
    previous: Vec<Key>,
}

/// Why bytes are no key. Never shows them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("the redaction key is {length} bytes long; at least {MIN_KEY_BYTES} are needed")]
    TooShort { length: usize },
    #[error(
        "line {line} of the redaction keys: the key is {length} bytes long; at least {MIN_KEY_BYTES} are needed"
    )]
    ShortLine { line: usize, length: usize },
    #[error("line {line} of the redaction keys: the id is that of an earlier line")]
    SameId { line: usize },
    #[error("{count} redaction keys are more than {MAX_KEYS}")]
    TooMany { count: usize },
}

impl Key {
    /// A key of these bytes: random ones for a run of its own, or [`Self::parse`]d ones to share.
    pub fn new(bytes: &[u8]) -> Result<Self, KeyError> {
        if bytes.len() < MIN_KEY_BYTES {
            return Err(KeyError::TooShort { length: bytes.len() });
        }
        let mac =
            Hmac::<Sha256>::new_from_slice(bytes).map_err(|_| KeyError::TooShort { length: bytes.len() })?;
        let id = mac.clone().chain_update(b"podtap key id").finalize().into_bytes();
        let id = id.iter().take(4).map(|byte| format!("{byte:02x}")).collect::<String>();
        Ok(Self { mac, id: id.into(), earlier: Arc::new([]) })
    }

    /// Names the key that tokens are made with: eight hexadecimal digits of a keyed digest, unless it was named.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn shared_id(&self) -> Arc<str> {
        Arc::clone(&self.id)
    }

    /// The token that redaction puts in the place of this value, where this detector finds it: so can what was captured be
    /// searched for what is known.
    pub fn token(&self, detector: Detector, value: &str) -> String {
        let mut out = String::new();
        token::render(self, detector, value, &mut out);
        out
    }

    /// A key from the content of a file or an environment variable: hexadecimal digits if it is nothing else,
    /// the bytes themselves otherwise; white space around it does not count.
    pub fn parse(content: &[u8]) -> Result<Self, KeyError> {
        let content = content.trim_ascii();
        match unhex(content) {
            Some(bytes) => Self::new(&bytes),
            None => Self::new(content),
        }
    }

    /// The keyed digest of a value of one kind.
    pub(crate) fn digest(&self, kind: u8, value: &[u8]) -> Digest {
        digest(&self.mac, kind, value)
    }

    /// Whether, of this key or of an earlier one, the digest of a value begins with what `matches` compares it to.
    pub(crate) fn made(&self, kind: u8, value: &[u8], matches: impl Fn(&[u8; 32]) -> bool) -> bool {
        let macs = std::iter::once(&self.mac).chain(self.earlier.iter());
        macs.into_iter().any(|mac| matches(digest(mac, kind, value).bytes()))
    }
}

impl Keyring {
    /// A ring from the content of a file: lines of keys, or one key as in [`Key::parse`].
    pub fn parse(content: &[u8]) -> Result<Self, KeyError> {
        let Some(lines) = key_lines(content) else { return Key::parse(content).map(Self::from) };
        if lines.len() > MAX_KEYS {
            return Err(KeyError::TooMany { count: lines.len() });
        }
        let mut keys: Vec<Key> = Vec::with_capacity(lines.len());
        for (line, id, bytes) in lines {
            let key = Key::new(&bytes).map_err(|_| KeyError::ShortLine { line, length: bytes.len() })?;
            if keys.iter().any(|known| *known.id == *id) {
                return Err(KeyError::SameId { line });
            }
            keys.push(Key { id: id.into(), ..key });
        }
        let mut current = keys.remove(0);
        current.earlier = keys.iter().map(|key| key.mac.clone()).collect();
        Ok(Self { current, previous: keys })
    }

    /// The key that tokens are made with.
    pub fn current(&self) -> &Key {
        &self.current
    }

    /// Those that they were made with, the latest first.
    pub fn previous(&self) -> &[Key] {
        &self.previous
    }
}

impl From<Key> for Keyring {
    fn from(current: Key) -> Self {
        Self { current, previous: Vec::new() }
    }
}

/// The lines of a ring: where they are, ids and keys; `None` where the content is not such lines.
fn key_lines(content: &[u8]) -> Option<Vec<(usize, &str, Vec<u8>)>> {
    let text = std::str::from_utf8(content).ok()?;
    let is_id_byte = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (id, digits) = line.split_once('=')?;
        let (id, bytes) = (id.trim(), unhex(digits.trim().as_bytes())?);
        if !(1..=MAX_ID_BYTES).contains(&id.len()) || !id.bytes().all(is_id_byte) {
            return None;
        }
        lines.push((index + 1, id, bytes));
    }
    (!lines.is_empty()).then_some(lines)
}

fn digest(mac: &Hmac<Sha256>, kind: u8, value: &[u8]) -> Digest {
    let mut mac = mac.clone();
    mac.update(&[kind]);
    mac.update(value);
    Digest(mac.finalize().into_bytes().into())
}

/// Bytes to render a token from: as good as random to whoever has no key.
pub(crate) struct Digest([u8; 32]);

impl Digest {
    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    if text.is_empty() || !text.len().is_multiple_of(2) {
        return None;
    }
    text.chunks_exact(2)
        .map(|pair| {
            let high = char::from(pair[0]).to_digit(16)?;
            let low = char::from(pair[1]).to_digit(16)?;
            u8::try_from(high * 16 + low).ok()
        })
        .collect()
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}
