//! Tokens that are digits: numbers, cards, dates.

use super::{DATE, DIGITS};
use crate::key::Key;

/// Longest JSON number that keeps its length.
const MAX_NUMBER_BYTES: usize = 64;

/// Where more digits than these stand for an integer, the first is 1, so that an integer type which held the
/// value also holds the token.
const WIDE_INTEGER: usize = 15;

/// Test ranges of the brands, by a card's first digit.
fn test_range(first: u8) -> &'static [u8] {
    match first {
        b'3' => b"378282",
        b'5' | b'2' => b"555555",
        b'6' => b"601111",
        _ => b"400000",
    }
}

/// A stream of digits that depends on all the digits of a value.
struct Stream {
    bytes: [u8; 32],
    at: usize,
    key: Key,
}

impl Stream {
    fn new(key: &Key, kind: u8, value: &[u8]) -> Self {
        Self { bytes: *key.digest(kind, value).bytes(), at: 0, key: key.clone() }
    }

    fn byte(&mut self) -> u8 {
        if self.at == self.bytes.len() {
            self.bytes = *self.key.digest(b'+', &self.bytes).bytes();
            self.at = 0;
        }
        self.at += 1;
        self.bytes[self.at - 1]
    }

    /// `low..=high`
    fn between(&mut self, low: u8, high: u8) -> u8 {
        low + self.byte() % (high - low + 1)
    }

    fn digit(&mut self) -> u8 {
        self.between(b'0', b'9')
    }
}

/// Other digits with the same marks between them. The digits decide alone, so that a card or a phone number is
/// equal to itself however it is written.
pub(super) fn joined(key: &Key, value: &[u8]) -> String {
    let digits: Vec<u8> = value.iter().copied().filter(u8::is_ascii_digit).collect();
    let mut token = replacement(key, &digits).into_iter();
    value
        .iter()
        .map(
            |&byte| {
                if byte.is_ascii_digit() {
                    char::from(token.next().unwrap_or(b'0'))
                } else {
                    char::from(byte)
                }
            },
        )
        .collect()
}

/// As many digits; a card for a card.
fn replacement(key: &Key, digits: &[u8]) -> Vec<u8> {
    let mut stream = Stream::new(key, DIGITS, digits);
    if is_card(digits) {
        return card(&mut stream, digits);
    }
    let mut token: Vec<u8> = digits.iter().map(|_| stream.digit()).collect();
    if let (Some(new), Some(old)) = (token.first_mut(), digits.first()) {
        // A leading zero means something in a phone number or a postcode, and can't be in a JSON number.
        *new = match old {
            b'0' => b'0',
            _ if digits.len() > WIDE_INTEGER => b'1',
            _ => stream.between(b'1', b'9'),
        };
    }
    token
}

fn is_card(digits: &[u8]) -> bool {
    (13..=19).contains(&digits.len()) && digits[0] != b'0' && luhn_sum(digits).is_multiple_of(10)
}

fn card(stream: &mut Stream, digits: &[u8]) -> Vec<u8> {
    let mut token = test_range(digits[0]).to_vec();
    while token.len() < digits.len() - 1 {
        token.push(stream.digit());
    }
    token.push(b'0');
    let check = (10 - luhn_sum(&token) % 10) % 10;
    token.pop();
    token.push(b'0' + u8::try_from(check).unwrap_or(0));
    token
}

fn luhn_sum(digits: &[u8]) -> u32 {
    digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let digit = u32::from(digit - b'0');
            if place % 2 == 0 { digit } else { digit * 2 % 10 + digit / 5 }
        })
        .sum()
}

/// A JSON number with other digits, as the same digits in a string have: sign, point and a short exponent stay.
pub(super) fn number(key: &Key, literal: &[u8]) -> String {
    let unsigned = literal.strip_prefix(b"-").unwrap_or(literal);
    let sign = if unsigned.len() < literal.len() { "-" } else { "" };
    let mantissa = unsigned.iter().position(|byte| matches!(byte, b'e' | b'E')).unwrap_or(unsigned.len());
    let (mantissa, exponent) = unsigned.split_at(mantissa);
    if mantissa.len() > MAX_NUMBER_BYTES {
        let mut stream = Stream::new(key, DIGITS, literal);
        let token: String = (0..WIDE_INTEGER - 1).map(|_| char::from(stream.digit())).collect();
        return format!("{sign}1{token}");
    }
    // Longer ones are beyond a double.
    let exponent = if exponent.len() <= 4 { exponent } else { b"" };
    format!("{sign}{}{}", joined(key, mantissa), String::from_utf8_lossy(exponent))
}

/// The order of a date's parts, by where its marks are.
enum Order {
    YearFirst,
    YearLast,
}

/// The token of a date such as 1990-01-31, 31.1.1990 or 1990-01-31T08:15:00Z; `None` for anything else.
pub(super) fn date(key: &Key, value: &[u8]) -> Option<String> {
    const MARKS: &[u8] = b"-/.";
    let date = value.get(..10)?;
    let digits_at = |places: &[usize]| places.iter().all(|&at| date[at].is_ascii_digit());
    let order = if MARKS.contains(&date[4]) && date[7] == date[4] && digits_at(&[0, 1, 2, 3, 5, 6, 8, 9]) {
        Order::YearFirst
    } else if MARKS.contains(&date[2]) && date[5] == date[2] && digits_at(&[0, 1, 3, 4, 6, 7, 8, 9]) {
        Order::YearLast
    } else {
        return None;
    };
    let time = &value[10..];
    let is_time = |byte: &u8| byte.is_ascii_digit() || b"Tt :.,+-Zz".contains(byte);
    if time.len() > 32 || !time.iter().all(is_time) || time.first().is_some_and(|b| !b"Tt ".contains(b)) {
        return None;
    }
    let mut stream = Stream::new(key, DATE, value);
    let year = 1940 + u16::from(stream.between(0, 60));
    // Days and months up to 12 are valid in either order.
    let (month, day) = (stream.between(1, 12), stream.between(1, 12));
    let token = match order {
        Order::YearFirst => {
            let mark = char::from(date[4]);
            format!("{year:04}{mark}{month:02}{mark}{day:02}")
        }
        Order::YearLast => {
            let mark = char::from(date[2]);
            format!("{day:02}{mark}{month:02}{mark}{year:04}")
        }
    };
    let time = time.iter().map(|&byte| if byte.is_ascii_digit() { '0' } else { char::from(byte) });
    Some(token.chars().chain(time).collect())
}
