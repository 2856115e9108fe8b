//! The walk over a text's words: what each may begin is tried there.

use super::{Found, Text, api_key, card, geo, iban, ip, national_id, phone, secret, text::MIN_SECRET, time};
use crate::signs::{self, HEX, LETTER, MARK, NUMERAL, SECRET};

pub(super) fn find(text: &Text<'_>, found: &mut Found) {
    let mut at = 0;
    // A secret is looked for once where it begins, not again at each word within.
    let mut secrets_from = signs::find_row(text, SECRET, MIN_SECRET).unwrap_or(usize::MAX);
    while at < text.len() {
        if !signs::is(text[at], NUMERAL | LETTER) {
            at += 1;
            continue;
        }
        let word = Word::at(text, at);
        if let Some(end) = word.find(text, found) {
            at = end.max(word.end);
            continue;
        }
        if at >= secrets_from {
            let (end, was_found) = secret::find_at(text, at, found);
            secrets_from = end;
            if was_found {
                at = end.max(word.end);
                continue;
            }
        }
        at = word.end;
    }
}

/// A run of ASCII letters and digits.
struct Word {
    start: usize,
    end: usize,
    digits: usize,
    hex: bool,
}

impl Word {
    fn at(text: &Text<'_>, start: usize) -> Self {
        let mut word = Self { start, end: start, digits: 0, hex: true };
        for byte in text[start..].iter().take_while(|byte| signs::is(**byte, NUMERAL | LETTER)) {
            word.end += 1;
            word.digits += usize::from(signs::is(*byte, NUMERAL));
            word.hex &= signs::is(*byte, HEX);
        }
        word
    }

    /// Where what begins with this word ends, if it is something, be it only something that is no secret.
    fn find(&self, text: &Text<'_>, found: &mut Found) -> Option<usize> {
        let Self { start, end, digits, hex } = *self;
        let length = end - start;
        if hex && length <= 4 && matches!(text.byte(end), Some(b':' | b'-' | b'.')) {
            let address = ip::grouped_at(text, start, end, found);
            if address.is_some() {
                return address;
            }
        }
        if digits == 0 {
            // `AB 12 34 56 C`, `X-1234567-L`
            let grouped = length <= 2
                && matches!(text.byte(end), Some(b' ' | b'-'))
                && text.byte(end + 1).is_some_and(|byte| byte.is_ascii_digit());
            let number = if grouped { national_id::find_at(text, start, found) } else { None };
            return number.or_else(|| time::with_month_at(text, start, end, found));
        }
        if length == 8 && hex && is_uuid(&text[start..]) {
            return Some(start + UUID);
        }
        if digits == length {
            return self.number(text, found);
        }
        let keyed = if length == 34 { api_key::twilio_at(text, start, end, found) } else { None };
        keyed
            .or_else(|| iban::find_at(text, start, found))
            .or_else(|| national_id::find_at(text, start, found))
    }

    fn number(&self, text: &Text<'_>, found: &mut Found) -> Option<usize> {
        let Self { start, end, .. } = *self;
        if end - start <= 3 && text.byte(end) == Some(b'.') {
            let address = ip::v4_at(text, start, found);
            if address.is_some() {
                return address;
            }
        }
        let other = geo::find_at(text, start, found).or_else(|| time::find_at(text, start, found));
        if other.is_some() {
            return other;
        }
        // A number with letters has six digits together, all others more.
        let digits = digits_together(text, start);
        if digits < MIN_ID_DIGITS {
            return None;
        }
        let international =
            if digits >= phone::MIN_DIGITS { phone::international_at(text, start, found) } else { None };
        international
            .or_else(|| if digits >= card::MIN_DIGITS { card::find_at(text, start, found) } else { None })
            .or_else(|| national_id::find_at(text, start, found))
            .or_else(
                || if digits >= phone::MIN_DIGITS { phone::national_at(text, start, found) } else { None },
            )
            .or_else(|| api_key::telegram_at(text, start, end, found))
    }
}

/// Digits of the shortest national id.
const MIN_ID_DIGITS: usize = 6;

/// More digits together than any limit asks for.
const MANY_DIGITS: usize = 20;

/// How many digits there are from here on with nothing but marks between.
fn digits_together(text: &Text<'_>, start: usize) -> usize {
    let mut digits = 0;
    for byte in &text[start..] {
        if signs::is(*byte, NUMERAL) {
            digits += 1;
            if digits == MANY_DIGITS {
                break;
            }
        } else if !signs::is(*byte, MARK) {
            break;
        }
    }
    digits
}

const UUID: usize = 36;

/// Whether a text begins with a UUID, and with nothing longer.
fn is_uuid(text: &[u8]) -> bool {
    let shape = |(at, byte): (usize, &u8)| match at {
        8 | 13 | 18 | 23 => *byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    };
    text.len() >= UUID
        && text[..UUID].iter().enumerate().all(shape)
        && !text.get(UUID).is_some_and(u8::is_ascii_alphanumeric)
}
