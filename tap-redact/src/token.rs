//! Tokens: what takes the place of a value. Equal values get equal tokens; the format is kept.
//!
//! Equal is what has the same canonical form, and the key decides the rest: the same token on every node, in every
//! place, at any time.
//!
//! | a value that is | becomes | canonical form |
//! |---|---|---|
//! | an e-mail address | `u_<hex>@redacted.example` | lower case |
//! | a payment card, also with spaces or dashes | digits of a test range of its brand, as long, Luhn-valid | digits |
//! | an IBAN | of the same country and length, valid check digits, a bank code that no bank has | upper case, no spaces |
//! | a phone number with its country's code, or a North American one | the country stays; then a number that is given to nobody | digits after the `+` |
//! | a state's number of a person | the same marks, other digits and letters, and invalid as such | digits and letters |
//! | an IP address | one for documentation (RFC 5737, RFC 3849) | the address |
//! | a MAC address | a locally administered one, `02:00:5e:…` | the address |
//! | a UUID | a UUID of the same version | lower case |
//! | a date, or a time that begins with one | a valid date in the same order of parts; the time is zeroed | as it is |
//! | coordinates | other ones near 0° 0′, as precise | as they are |
//! | a JSON Web Token | an unsigned one with a token for its subject | as it is |
//! | digits and the marks that join them (`30/1234-5`) | other digits, the same marks | digits |
//! | empty | empty | |
//! | anything else | `tok_<base32>`, 16 digits (80 bits) and 4 that check them | as it is |
//!
//! A token of this key is its own token, so that redaction of what is redacted changes nothing; dates, single coordinates and
//! plain digits are the exception: nothing in them has room for a mark.

mod coordinates;
mod digits;
mod iban;
mod jwt;
mod network;
mod phone;
mod uuid;

use std::fmt::Write as _;

use crate::{
    detect::{self, Detector},
    key::Key,
};

/// Longest value that keeps the format of its digits. A longer one is no number that anybody types.
const MAX_DIGITS: usize = 64;

/// Longest e-mail address, by RFC 5321.
const MAX_EMAIL_BYTES: usize = 254;

/// Kinds of value, apart from one another in the keyed function.
const TEXT: u8 = b't';
const EMAIL: u8 = b'e';
const DIGITS: u8 = b'd';
const UUID: u8 = b'u';
const DATE: u8 = b'D';
const IBAN: u8 = b'i';
const PHONE: u8 = b'p';
const ADDRESS: u8 = b'a';
const HARDWARE_ADDRESS: u8 = b'm';
const COORDINATES: u8 = b'g';
const HASH: u8 = b'h';
/// Of a token's random part, for its check.
const CHECK: u8 = b'c';

const PREFIX: &str = "tok_";

/// Random digits of a text's token, and digits that check them.
const RANDOM: usize = 16;
const CHECKS: usize = 4;

/// Digits of a base32 token.
const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Appends the token of what a detector found.
pub(crate) fn render(key: &Key, detector: Detector, value: &str, out: &mut String) {
    let bytes = value.as_bytes();
    if bytes.trim_ascii().is_empty() {
        return;
    }
    let token = match detector {
        Detector::Email if value.contains('@') => email(key, bytes),
        Detector::Jwt => jwt::token(key, value),
        Detector::Geo => coordinates::token(key, value),
        Detector::Phone => phone::token(key, value).unwrap_or_else(|| text(key, bytes)),
        Detector::UrlCredentials => return credentials(key, value, out),
        Detector::HighEntropy | Detector::PrivateKey | Detector::ApiKey(_) => opaque(key, bytes),
        _ => text(key, bytes),
    };
    out.push_str(&token);
}

/// The token of a text whose format is told by its look. ASCII, if the text is no token; in need of no escape in JSON.
pub(crate) fn text(key: &Key, value: &[u8]) -> String {
    let trimmed = value.trim_ascii();
    if trimmed.is_empty() {
        return String::new();
    }
    let formatted = std::str::from_utf8(trimmed).ok().and_then(|trimmed| formatted(key, trimmed));
    formatted.unwrap_or_else(|| opaque(key, value))
}

/// The token in the value's format, if it has one that is kept.
fn formatted(key: &Key, value: &str) -> Option<String> {
    let bytes = value.as_bytes();
    if is_email(bytes) {
        return Some(email(key, bytes));
    }
    if uuid::is_uuid(bytes) {
        return Some(uuid::token(key, bytes));
    }
    if let Some(token) = digits::date(key, bytes) {
        return Some(token);
    }
    if detect::is_iban(value) {
        return Some(iban::token(key, value));
    }
    if let Some(token) = network::token(key, value) {
        return Some(token);
    }
    if let Some(token) = phone::international(key, value) {
        return Some(token);
    }
    if is_joined_digits(bytes) || detect::has_national_form(value) {
        return Some(digits::joined(key, bytes));
    }
    (detect::is_jwt(value) || jwt::is_token(key, value)).then(|| jwt::token(key, value))
}

/// The token of a JSON number, itself one.
pub(crate) fn number(key: &Key, literal: &[u8]) -> String {
    digits::number(key, literal)
}

/// The token of a JSON number that a detector found, or that a field of such a name holds.
pub(crate) fn render_number(key: &Key, detector: Detector, literal: &[u8]) -> String {
    match (detector, std::str::from_utf8(literal)) {
        (Detector::Geo, Ok(literal)) if literal.contains('.') => coordinates::token(key, literal),
        (Detector::Phone, _) => digits::phone_number(key, literal),
        _ => digits::number(key, literal),
    }
}

/// A token without a format, for what is a secret as a whole.
pub(crate) fn opaque(key: &Key, value: &[u8]) -> String {
    if is_opaque(key, value) {
        return String::from_utf8_lossy(value).into_owned();
    }
    let mut token = String::with_capacity(PREFIX.len() + RANDOM + CHECKS);
    token.push_str(PREFIX);
    push_base32(&mut token, &key.digest(TEXT, value).bytes()[..RANDOM]);
    push_checks(key, &mut token);
    token
}

/// The keyed digest of a value: 32 hexadecimal digits.
pub(crate) fn hash(key: &Key, value: &[u8]) -> String {
    hex(&key.digest(HASH, value).bytes()[..16])
}

fn push_base32(token: &mut String, bytes: &[u8]) {
    token.extend(bytes.iter().map(|byte| char::from(BASE32[usize::from(byte & 31)])));
}

fn push_checks(key: &Key, token: &mut String) {
    let checks = key.digest(CHECK, token.as_bytes());
    push_base32(token, &checks.bytes()[..CHECKS]);
}

/// Whether a value is a token without a format of this key or of an earlier one: of what looks like one, one in a
/// million is by chance.
fn is_opaque(key: &Key, value: &[u8]) -> bool {
    let body = PREFIX.len() + RANDOM;
    let looks = value.len() == body + CHECKS
        && value.starts_with(PREFIX.as_bytes())
        && value[PREFIX.len()..].iter().all(|byte| BASE32.contains(byte));
    looks
        && key.made(CHECK, &value[..body], |digest| {
            let mut checks = String::with_capacity(CHECKS);
            push_base32(&mut checks, &digest[..CHECKS]);
            checks.as_bytes() == &value[body..]
        })
}

/// `user:password`, each by itself.
fn credentials(key: &Key, value: &str, out: &mut String) {
    for (index, part) in value.splitn(2, ':').enumerate() {
        if index > 0 {
            out.push(':');
        }
        if !part.is_empty() {
            out.push_str(&opaque(key, part.as_bytes()));
        }
    }
}

fn is_email(value: &[u8]) -> bool {
    let Some(at) = value.iter().position(|&byte| byte == b'@') else { return false };
    let (local, domain) = (&value[..at], &value[at + 1..]);
    let domain_byte = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    let local_byte = |byte: &u8| byte.is_ascii_alphanumeric() || b".!#$%&'*+/=?^_`{|}~-".contains(byte);
    value.len() <= MAX_EMAIL_BYTES
        && !local.is_empty()
        && local.iter().all(local_byte)
        && domain.contains(&b'.')
        && domain.iter().all(domain_byte)
        && !domain.starts_with(b".")
        && !domain.ends_with(b".")
}

fn email(key: &Key, value: &[u8]) -> String {
    let lower = String::from_utf8_lossy(value).to_lowercase();
    if is_email_token(lower.as_bytes()) {
        return lower;
    }
    let digest = key.digest(EMAIL, lower.as_bytes());
    format!("u_{}@{}", hex(&digest.bytes()[..8]), String::from_utf8_lossy(detect::TOKEN_DOMAIN))
}

/// Whether an address is under the domain of tokens, and of their form: nobody has one there.
fn is_email_token(value: &[u8]) -> bool {
    let local = value.strip_suffix(detect::TOKEN_DOMAIN).and_then(|local| local.strip_suffix(b"@"));
    let digits = local.and_then(|local| local.strip_prefix(b"u_"));
    digits.is_some_and(|digits| digits.len() == 16 && digits.iter().all(u8::is_ascii_hexdigit))
}

/// Whether the value is digits, and nothing but what joins digits in phone numbers, cards and amounts.
fn is_joined_digits(value: &[u8]) -> bool {
    value.len() <= MAX_DIGITS
        && value.iter().any(u8::is_ascii_digit)
        && value.iter().all(|byte| byte.is_ascii_digit() || b" +-().,/".contains(byte))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
