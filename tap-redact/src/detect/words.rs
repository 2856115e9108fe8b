//! The walk over a text's words: what each may begin is tried there.

use super::{Found, Text, api_key, card, geo, iban, ip, national_id, phone, secret, time};

pub(super) fn find(text: &Text<'_>, found: &mut Found) {
    let mut at = 0;
    // A secret is looked for once where it begins, not again at each word within.
    let mut secrets_from = 0;
    while at < text.len() {
        if !text[at].is_ascii_alphanumeric() {
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
        for byte in text[start..].iter().take_while(|byte| byte.is_ascii_alphanumeric()) {
            word.end += 1;
            word.digits += usize::from(byte.is_ascii_digit());
            word.hex &= byte.is_ascii_hexdigit();
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
            let grouped = length <= 2 && matches!(text.byte(end), Some(b' ' | b'-'));
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
        geo::find_at(text, start, found)
            .or_else(|| time::find_at(text, start, found))
            .or_else(|| phone::international_at(text, start, found))
            .or_else(|| card::find_at(text, start, found))
            .or_else(|| national_id::find_at(text, start, found))
            .or_else(|| phone::national_at(text, start, found))
            .or_else(|| api_key::telegram_at(text, start, end, found))
    }
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
