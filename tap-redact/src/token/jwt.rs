//! Tokens of JSON Web Tokens: unsigned ones that carry nothing but a token for their subject.
//!
//! The JSON within is spaced in a way that no library writes, so that its base64 has no stretch in common with that of
//! the header and the claims that were there, and a detector does not take it for one of a person.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::opaque;
use crate::key::Key;

const HEADER: &str = "{ \"alg\" : \"none\" }";
const CLAIMS: (&str, &str) = ("{ \"sub\" : \"", "\" }");

pub(super) fn token(key: &Key, value: &str) -> String {
    if is_token(key, value) { value.to_owned() } else { with_subject(&opaque(key, value.as_bytes())) }
}

fn with_subject(subject: &str) -> String {
    let claims = format!("{}{subject}{}", CLAIMS.0, CLAIMS.1);
    format!("{}.{}.", URL_SAFE_NO_PAD.encode(HEADER), URL_SAFE_NO_PAD.encode(claims))
}

/// Whether a value is such a token of this key.
pub(super) fn is_token(key: &Key, value: &str) -> bool {
    let subject = || {
        let claims =
            value.strip_prefix(&URL_SAFE_NO_PAD.encode(HEADER))?.strip_prefix('.')?.strip_suffix('.')?;
        let claims = String::from_utf8(URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
        Some(claims.strip_prefix(CLAIMS.0)?.strip_suffix(CLAIMS.1)?.to_owned())
    };
    value.starts_with("eyAi") && subject().is_some_and(|subject| super::is_opaque(key, subject.as_bytes()))
}
