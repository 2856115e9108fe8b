//! JSON Web Tokens: signed (RFC 7515), encrypted (RFC 7516) and unsigned ones.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{Context, Detector, Found, Text};

/// Of the header, in base64: `{"alg":"none"}` at least.
const MIN_HEADER: usize = 16;

/// As much of a header as is decoded to see what it is; a multiple of four.
const DECODED_HEADER: usize = 1024;

/// What our own tokens begin with: `{ "alg" : "none" }`, which no library writes so.
pub(crate) const TOKEN_HEADER: &[u8] = b"eyAiYWxnIiA6ICJub25lIiB9.";

/// Whether a value is a web token, and nothing else.
pub(crate) fn is_jwt(value: &str) -> bool {
    let mut found = Found { enabled: [Detector::Jwt].into_iter().collect(), findings: Vec::new() };
    if value.starts_with("eyJ") {
        find_at(&Text::new(value, Context::new(None)), 0, &mut found);
    }
    found.findings.first().is_some_and(|finding| finding.range == (0..value.len()))
}

/// A token whose header begins at `start` with `eyJ`: `{"` in base64.
pub(super) fn find_at(text: &Text<'_>, start: usize, found: &mut Found) {
    if text.before(start).is_some_and(is_part) {
        return;
    }
    let header = text.run(start, usize::MAX, is_part);
    let payload_at = start + header + 1;
    if header < MIN_HEADER
        || text.byte(payload_at - 1) != Some(b'.')
        || !is_header(&text[start..start + header])
    {
        return;
    }
    let rest = text.run(payload_at, usize::MAX, |byte| is_part(byte) || byte == b'.');
    found.push(Detector::Jwt, start..payload_at + rest);
}

fn is_part(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

/// Whether this is the base64 of an object that names an algorithm or a type.
fn is_header(encoded: &[u8]) -> bool {
    let mut decoded = [0; DECODED_HEADER];
    let encoded = if encoded.len() > DECODED_HEADER { &encoded[..DECODED_HEADER] } else { encoded };
    let Ok(length) = URL_SAFE_NO_PAD.decode_slice(encoded, &mut decoded) else { return false };
    let header = &decoded[..length];
    let has = |name: &[u8]| memchr::memmem::find(header, name).is_some();
    header.starts_with(b"{") && (has(b"\"alg\"") || has(b"\"enc\"") || has(b"\"typ\"") || has(b"\"kid\""))
}
