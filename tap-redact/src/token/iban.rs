//! Tokens of IBANs: of the same country and length, with valid check digits.

use super::{IBAN, digits::Stream};
use crate::{
    detect::{self, check_digits::mod_97},
    key::Key,
};

/// Country and check digits.
const HEAD: usize = 4;

/// Bank code, or the beginning of it: `0000` or `XXXX`, which no bank has.
const BANK: usize = 4;

/// Letters stay letters and digits digits; marks and case stay.
pub(super) fn token(key: &Key, value: &str) -> String {
    let compact: Vec<u8> =
        value.bytes().filter(u8::is_ascii_alphanumeric).map(|byte| byte.to_ascii_uppercase()).collect();
    if detect::is_iban_token(&compact) {
        return value.to_owned();
    }
    let mut stream = Stream::new(key, IBAN, &compact);
    let mut token = compact.clone();
    for (at, byte) in token.iter_mut().enumerate().skip(HEAD) {
        *byte = match (byte.is_ascii_digit(), at < HEAD + BANK) {
            (true, true) => b'0',
            (false, true) => b'X',
            (true, false) => stream.digit(),
            (false, false) => stream.between(b'A', b'Z'),
        };
    }
    token[2..HEAD].copy_from_slice(b"00");
    let rest = mod_97(token[HEAD..].iter().chain(&token[..HEAD]).copied()).unwrap_or(0);
    let checks = 98 - rest;
    token[2] = b'0' + (checks / 10) as u8;
    token[3] = b'0' + (checks % 10) as u8;
    let mut token = token.into_iter();
    let character = |char: char| match char {
        _ if !char.is_ascii_alphanumeric() => char,
        _ => {
            let new = token.next().map_or('0', char::from);
            if char.is_ascii_lowercase() { new.to_ascii_lowercase() } else { new }
        }
    };
    value.chars().map(character).collect()
}
