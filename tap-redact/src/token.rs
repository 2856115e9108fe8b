//! Tokens: what takes the place of a value. Equal values get equal tokens; the format is kept.
//!
//! | a value that is | becomes |
//! |---|---|
//! | an e-mail address | `u_<hex>@redacted.example`, without regard to case |
//! | a payment card, also with spaces or dashes | digits of a test range of its brand, as long, Luhn-valid |
//! | a UUID | a UUID of the same version |
//! | a date, or a time that begins with one | a valid date in the same order of parts; the time is zeroed |
//! | digits and the marks that join them (`+49 (30) 1234-5`) | other digits, the same marks |
//! | empty | empty |
//! | anything else | `tok_<base32>`, 20 digits: 100 bits |

mod digits;

use crate::key::Key;

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

/// Digits of a base32 token.
const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// The token of a text. ASCII; in need of no escape in JSON.
pub(crate) fn text(key: &Key, value: &[u8]) -> String {
    let trimmed = value.trim_ascii();
    if trimmed.is_empty() {
        return String::new();
    }
    if is_email(trimmed) {
        return email(key, trimmed);
    }
    if is_uuid(trimmed) {
        return uuid(key, trimmed);
    }
    if let Some(token) = digits::date(key, trimmed) {
        return token;
    }
    if is_joined_digits(trimmed) {
        return digits::joined(key, trimmed);
    }
    opaque(key, value)
}

/// The token of a JSON number, itself one.
pub(crate) fn number(key: &Key, literal: &[u8]) -> String {
    digits::number(key, literal)
}

/// A token without a format, for what is a secret as a whole.
pub(crate) fn opaque(key: &Key, value: &[u8]) -> String {
    let digest = key.digest(TEXT, value);
    let mut token = String::with_capacity(24);
    token.push_str("tok_");
    token.extend(digest.bytes().iter().take(20).map(|byte| char::from(BASE32[usize::from(byte & 31)])));
    token
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
    let digest = key.digest(EMAIL, &value.to_ascii_lowercase());
    format!("u_{}@redacted.example", hex(&digest.bytes()[..8]))
}

fn is_uuid(value: &[u8]) -> bool {
    value.len() == 36
        && value.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// A UUID that keeps the version and the variant, and the case of the digits.
fn uuid(key: &Key, value: &[u8]) -> String {
    let digest = key.digest(UUID, &value.to_ascii_lowercase());
    let digits = hex(&digest.bytes()[..16]);
    let mut digits = digits.chars();
    let token: String = value
        .iter()
        .enumerate()
        .map(|(at, byte)| match at {
            8 | 13 | 18 | 23 => '-',
            14 | 19 => char::from(*byte),
            _ => digits.next().unwrap_or('0'),
        })
        .collect();
    if value.iter().any(u8::is_ascii_uppercase) { token.to_ascii_uppercase() } else { token }
}

/// Whether the value is digits, and nothing but what joins digits in phone numbers, cards and amounts.
fn is_joined_digits(value: &[u8]) -> bool {
    value.len() <= MAX_DIGITS
        && value.iter().any(u8::is_ascii_digit)
        && value.iter().all(|byte| byte.is_ascii_digit() || b" +-().,/".contains(byte))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
