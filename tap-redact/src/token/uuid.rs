//! Tokens of UUIDs: of the same version and variant. The last eight digits check the others, so that a token is known
//! again.

use super::{CHECK, UUID, hex};
use crate::key::Key;

const LENGTH: usize = 36;

/// Where the digits that check begin.
const CHECKS: usize = 28;

pub(super) fn is_uuid(value: &[u8]) -> bool {
    value.len() == LENGTH
        && value.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// A UUID that keeps the version and the variant, and the case of the digits.
pub(super) fn token(key: &Key, value: &[u8]) -> String {
    let lower = String::from_utf8_lossy(value).to_ascii_lowercase();
    let (body, checks) = lower.split_at(CHECKS);
    let made = key.made(CHECK, body.as_bytes(), |digest| hex(&digest[..4]) == checks);
    let token = if made { lower } else { random(key, &lower) };
    if value.iter().any(u8::is_ascii_uppercase) { token.to_ascii_uppercase() } else { token }
}

fn random(key: &Key, lower: &str) -> String {
    let digits = hex(&key.digest(UUID, lower.as_bytes()).bytes()[..16]);
    let mut digits = digits.chars();
    let body: String = lower[..CHECKS]
        .chars()
        .enumerate()
        .map(|(at, char)| match at {
            8 | 13 | 18 | 23 => '-',
            14 | 19 => char,
            _ => digits.next().unwrap_or('0'),
        })
        .collect();
    checked(key, &body)
}

/// The body with its checks.
fn checked(key: &Key, body: &str) -> String {
    format!("{body}{}", hex(&key.digest(CHECK, body.as_bytes()).bytes()[..4]))
}
