//! Secrets told by their entropy, where a word before them or the field's name announces one.

use super::{Detector, Found, Text, jwt, text::MIN_SECRET};

/// A longer run is no secret but content: it is bounded so that time is.
const MAX_SECRET: usize = 512;

/// Bits for each character. English words with dashes and a year have about 3.4, random base 62 of 20 characters 4.
const MIN_ENTROPY: f64 = 3.5;

/// Hexadecimal digits have 4 at most.
const MIN_HEX_ENTROPY: f64 = 2.8;
const MIN_HEX: usize = 24;

pub(super) const WORDS: &[&str] = &[
    "secret",
    "password",
    "passwd",
    "passphrase",
    "passwort",
    "kennwort",
    "contraseña",
    "motdepasse",
    "apikey",
    "accesskey",
    "token",
    "auth",
    "authorization",
    "bearer",
    "credential",
    "signature",
    "privatekey",
    "signingkey",
    "encryptionkey",
    "clientkey",
    "pwd",
    "sessionkey",
    "sessionid",
    "hmac",
];

/// Whether a secret is announced before `at`.
fn is_expected(text: &Text<'_>, at: usize) -> bool {
    text.context.has(text, at, WORDS)
}

/// Where the run of secrets' characters at `start` ends, and whether it was found to be a secret.
pub(super) fn find_at(text: &Text<'_>, start: usize, found: &mut Found) -> (usize, bool) {
    let length =
        text.run(start, MAX_SECRET + 1, |byte| byte.is_ascii_alphanumeric() || b"_-+/=.~".contains(&byte));
    let end = start + length;
    if !found.wants(Detector::HighEntropy) || !(MIN_SECRET..=MAX_SECRET).contains(&length) {
        return (end, false);
    }
    let run = &text[start..end];
    // `name=value` in one run: the value is looked at on its own.
    if let Some(mark) = run.iter().position(|byte| *byte == b'=')
        && run[mark..].iter().any(|byte| *byte != b'=')
    {
        return (start + mark + 1, false);
    }
    let trimmed = run.len() - run.iter().rev().take_while(|byte| matches!(byte, b'.' | b'-')).count();
    let run = &run[..trimmed];
    let secret = is_random(run) && is_expected(text, start);
    (end, secret && found.push(Detector::HighEntropy, start..start + trimmed))
}

fn is_random(run: &[u8]) -> bool {
    if (run.starts_with(TOKEN) && run.len() == TOKEN.len() + 20) || run.starts_with(jwt::TOKEN_HEADER) {
        return false;
    }
    let digits = run.iter().filter(|byte| byte.is_ascii_digit()).count();
    let letters = run.iter().filter(|byte| byte.is_ascii_alphabetic()).count();
    if digits == 0 || letters == 0 || digits + letters < MIN_SECRET {
        return false;
    }
    let hex = run.iter().all(|byte| byte.is_ascii_hexdigit() || *byte == b'-');
    if hex { run.len() >= MIN_HEX && entropy(run) >= MIN_HEX_ENTROPY } else { entropy(run) >= MIN_ENTROPY }
}

/// What tokens of texts begin with.
pub(crate) const TOKEN: &[u8] = b"tok_";

/// Shannon's, over the run's own characters.
fn entropy(run: &[u8]) -> f64 {
    let mut counts = [0_u16; 128];
    for byte in run {
        counts[usize::from(byte & 127)] += 1;
    }
    let length = run.len() as f64;
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| {
            let share = f64::from(*count) / length;
            -share * share.log2()
        })
        .sum()
}
