//! IBANs (ISO 13616): the country's length, MOD 97-10.

use super::{Detector, Found, Text, check_digits::mod_97};

const MAX_LENGTH: usize = 34;

/// Lengths by country: the IBAN registry, and the countries that use IBANs without being in it.
const LENGTHS: &[(&[u8; 2], usize)] = &[
    (b"AD", 24),
    (b"AE", 23),
    (b"AL", 28),
    (b"AO", 25),
    (b"AT", 20),
    (b"AZ", 28),
    (b"BA", 20),
    (b"BE", 16),
    (b"BF", 28),
    (b"BG", 22),
    (b"BH", 22),
    (b"BI", 27),
    (b"BJ", 28),
    (b"BR", 29),
    (b"BY", 28),
    (b"CF", 27),
    (b"CG", 27),
    (b"CH", 21),
    (b"CI", 28),
    (b"CM", 27),
    (b"CR", 22),
    (b"CV", 25),
    (b"CY", 28),
    (b"CZ", 24),
    (b"DE", 22),
    (b"DJ", 27),
    (b"DK", 18),
    (b"DO", 28),
    (b"DZ", 26),
    (b"EE", 20),
    (b"EG", 29),
    (b"ES", 24),
    (b"FI", 18),
    (b"FK", 18),
    (b"FO", 18),
    (b"FR", 27),
    (b"GA", 27),
    (b"GB", 22),
    (b"GE", 22),
    (b"GI", 23),
    (b"GL", 18),
    (b"GQ", 27),
    (b"GR", 27),
    (b"GT", 28),
    (b"GW", 25),
    (b"HN", 28),
    (b"HR", 21),
    (b"HU", 28),
    (b"IE", 22),
    (b"IL", 23),
    (b"IQ", 23),
    (b"IR", 26),
    (b"IS", 26),
    (b"IT", 27),
    (b"JO", 30),
    (b"KM", 27),
    (b"KW", 30),
    (b"KZ", 20),
    (b"LB", 28),
    (b"LC", 32),
    (b"LI", 21),
    (b"LT", 20),
    (b"LU", 20),
    (b"LV", 21),
    (b"LY", 25),
    (b"MA", 28),
    (b"MC", 27),
    (b"MD", 24),
    (b"ME", 22),
    (b"MG", 27),
    (b"MK", 19),
    (b"ML", 28),
    (b"MN", 20),
    (b"MR", 27),
    (b"MT", 31),
    (b"MU", 30),
    (b"MZ", 25),
    (b"NE", 28),
    (b"NI", 28),
    (b"NL", 18),
    (b"NO", 15),
    (b"OM", 23),
    (b"PK", 24),
    (b"PL", 28),
    (b"PS", 29),
    (b"PT", 25),
    (b"QA", 29),
    (b"RO", 24),
    (b"RS", 22),
    (b"RU", 33),
    (b"SA", 24),
    (b"SC", 31),
    (b"SD", 18),
    (b"SE", 24),
    (b"SI", 19),
    (b"SK", 24),
    (b"SM", 27),
    (b"SN", 28),
    (b"SO", 23),
    (b"ST", 25),
    (b"SV", 28),
    (b"TD", 27),
    (b"TG", 28),
    (b"TL", 23),
    (b"TN", 24),
    (b"TR", 26),
    (b"UA", 29),
    (b"VA", 22),
    (b"VG", 24),
    (b"XK", 20),
    (b"YE", 30),
];

/// An IBAN that begins with the word at `start`; where it ends.
pub(super) fn find_at(text: &Text<'_>, start: usize, found: &mut Found) -> Option<usize> {
    let (compact, end) = read(text, start)?;
    if text.byte(end).is_some_and(|byte| byte.is_ascii_alphanumeric()) || !is_valid(compact.as_slice()) {
        return None;
    }
    if is_token(compact.as_slice()) {
        return Some(end);
    }
    found.push(Detector::Iban, start..end).then_some(end)
}

/// Whether the digit at `digit` may be the first check digit of an IBAN: after a country that begins a word.
pub(super) fn may_begin(text: &[u8], digit: usize) -> bool {
    let Some(start) = digit.checked_sub(2) else { return false };
    start.checked_sub(1).is_none_or(|before| !text[before].is_ascii_alphanumeric())
        && text.get(start..digit + 2).and_then(length_of).is_some()
}

/// Whether a value is an IBAN, in either case, with spaces or dashes between its groups.
pub(crate) fn is_iban(value: &str) -> bool {
    let compact: Vec<u8> =
        value.bytes().filter(u8::is_ascii_alphanumeric).map(|byte| byte.to_ascii_uppercase()).collect();
    let marks = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b' ' | b'-'));
    marks && length_of(&compact) == Some(compact.len()) && is_valid(&compact)
}

/// Whether an IBAN, compact and in upper case, is a token: no bank has a code of zeros, or of `X`.
pub(crate) fn is_token(compact: &[u8]) -> bool {
    compact
        .get(4..8)
        .is_some_and(|bank| bank.iter().all(|byte| *byte == if byte.is_ascii_digit() { b'0' } else { b'X' }))
}

struct Compact {
    bytes: [u8; MAX_LENGTH],
    length: usize,
}

impl Compact {
    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// As many letters and digits as the country's length, with single separators between, and where they end.
fn read(text: &Text<'_>, start: usize) -> Option<(Compact, usize)> {
    let length = length_of(text.get(start..start + 4)?)?;
    let mut compact = Compact { bytes: [0; MAX_LENGTH], length: 0 };
    let mut at = start;
    while compact.length < length {
        let byte = text.byte(at)?;
        if byte.is_ascii_alphanumeric() {
            compact.bytes[compact.length] = byte.to_ascii_uppercase();
            compact.length += 1;
        } else if !matches!(byte, b' ' | b'-')
            || !compact.length.is_multiple_of(4)
            || !text[at - 1].is_ascii_alphanumeric()
        {
            return None;
        }
        at += 1;
    }
    Some((compact, at))
}

/// The length for the country that a text begins with, if check digits follow it.
fn length_of(text: &[u8]) -> Option<usize> {
    let country = [text.first()?.to_ascii_uppercase(), text.get(1)?.to_ascii_uppercase()];
    let checks = text.get(2..4)?.iter().all(u8::is_ascii_digit);
    let known = LENGTHS.binary_search_by_key(&&country, |(country, _)| *country).ok()?;
    checks.then_some(LENGTHS[known].1)
}

fn is_valid(compact: &[u8]) -> bool {
    let Some((head, rest)) = compact.split_at_checked(4) else { return false };
    // Enough digits to be an account, not a word that begins like one.
    rest.iter().filter(|byte| byte.is_ascii_digit()).count() >= 5
        && mod_97(rest.iter().chain(head).copied()) == Some(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn countries_are_in_the_order_that_they_are_searched_in() {
        assert!(LENGTHS.is_sorted_by_key(|(country, _)| country));
        assert!(LENGTHS.iter().all(|(_, length)| (15..=MAX_LENGTH).contains(length)));
    }
}
