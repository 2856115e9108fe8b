//! The key of the tokens, and the keyed function that they are made with.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Shortest key. Whoever can try keys can try values.
pub const MIN_KEY_BYTES: usize = 16;

/// The secret that tokens are made with: equal keys give equal tokens, on every node and at any time.
#[derive(Clone)]
pub struct Key(Hmac<Sha256>);

/// Why bytes are no key. Never shows them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("the redaction key is {length} bytes long; at least {MIN_KEY_BYTES} are needed")]
    TooShort { length: usize },
}

impl Key {
    /// A key of these bytes: random ones for a run of its own, or [`Self::parse`]d ones to share.
    pub fn new(bytes: &[u8]) -> Result<Self, KeyError> {
        if bytes.len() < MIN_KEY_BYTES {
            return Err(KeyError::TooShort { length: bytes.len() });
        }
        Hmac::new_from_slice(bytes).map(Self).map_err(|_| KeyError::TooShort { length: bytes.len() })
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
        let mut mac = self.0.clone();
        mac.update(&[kind]);
        mac.update(value);
        Digest(mac.finalize().into_bytes().into())
    }
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
