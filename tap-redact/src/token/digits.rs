//! Tokens that are digits: numbers, cards, dates; and those with letters among them.

use super::{DATE, DIGITS};
use crate::{
    detect::{self, check_digits::luhn_sum},
    key::Key,
};

/// Longest JSON number that keeps its length.
const MAX_NUMBER_BYTES: usize = 64;

/// Where more digits than these stand for an integer, the first is 1, so that an integer type which held the
/// value also holds the token.
const WIDE_INTEGER: usize = 15;

/// Digits of a social security number.
const SOCIAL_SECURITY: usize = 9;

/// How often other digits are drawn where they happen to be somebody's number. One in ten is, of most kinds.
const MAX_DRAWS: usize = 32;

/// A stream of digits that depends on all the digits of a value.
pub(super) struct Stream {
    bytes: [u8; 32],
    at: usize,
    key: Key,
}

impl Stream {
    pub(super) fn new(key: &Key, kind: u8, value: &[u8]) -> Self {
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
    pub(super) fn between(&mut self, low: u8, high: u8) -> u8 {
        low + self.byte() % (high - low + 1)
    }

    pub(super) fn digit(&mut self) -> u8 {
        self.between(b'0', b'9')
    }
}

/// Other digits and letters with the same marks between them. They decide alone, so that a card or a number is equal
/// to itself however it is written.
pub(super) fn joined(key: &Key, value: &[u8]) -> String {
    let compact: Vec<u8> = value.iter().copied().filter(u8::is_ascii_alphanumeric).collect();
    let mut token = replacement(key, &compact).into_iter();
    let character = |byte: &u8| {
        let new = if byte.is_ascii_alphanumeric() { token.next().unwrap_or(b'0') } else { *byte };
        char::from(new)
    };
    value.iter().map(character).collect()
}

/// As many digits and letters; a card for a card, and nobody's number for a number of a person.
fn replacement(key: &Key, compact: &[u8]) -> Vec<u8> {
    let mut stream = Stream::new(key, DIGITS, compact);
    if let Some(token) = card(&mut stream, compact) {
        return token;
    }
    first_of_nobody(|| draw(&mut stream, compact))
}

/// The first of what is drawn that is nobody's number; the last, where none is.
fn first_of_nobody(mut draw: impl FnMut() -> Vec<u8>) -> Vec<u8> {
    let mut token = draw();
    for _ in 1..MAX_DRAWS {
        let is_card = values(&token).is_some_and(|digits| detect::is_card(&digits));
        if !is_card && !detect::is_national_id(&token) {
            break;
        }
        token = draw();
    }
    token
}

fn draw(stream: &mut Stream, compact: &[u8]) -> Vec<u8> {
    let mut token: Vec<u8> = compact
        .iter()
        .map(|byte| match byte {
            b'0'..=b'9' => stream.digit(),
            b'a'..=b'z' => stream.between(b'a', b'z'),
            _ => stream.between(b'A', b'Z'),
        })
        .collect();
    let (Some(&old), Some(new)) = (compact.first(), token.first_mut()) else { return token };
    if old.is_ascii_digit() {
        // A leading zero means something in a phone number or a postcode, and can't be in a JSON number.
        *new = match old {
            b'0' => b'0',
            _ if compact.len() > WIDE_INTEGER => b'1',
            _ => stream.between(b'1', b'9'),
        };
    }
    // Most nine digits would be a social security number of the United States: take areas and groups that are none.
    if compact.len() == SOCIAL_SECURITY && compact.iter().all(u8::is_ascii_digit) {
        if old == b'0' {
            token[..3].copy_from_slice(b"000");
        } else {
            token[0] = b'9';
            token[3] = stream.between(b'0', b'4');
        }
    }
    token
}

fn card(stream: &mut Stream, compact: &[u8]) -> Option<Vec<u8>> {
    let digits = values(compact)?;
    let brand = detect::brand_of(&digits).filter(|_| detect::is_card(&digits))?;
    if detect::is_card_token(&digits) {
        return Some(compact.to_vec());
    }
    let mut token = brand.token_range().to_vec();
    while token.len() < digits.len() - 1 {
        token.push(stream.between(0, 9));
    }
    token.push(0);
    let check = (10 - luhn_sum(&token) % 10) % 10;
    if let Some(last) = token.last_mut() {
        *last = u8::try_from(check).unwrap_or(0);
    }
    Some(token.iter().map(|digit| digit + b'0').collect())
}

/// The values of digits; `None` where there is a letter.
fn values(compact: &[u8]) -> Option<Vec<u8>> {
    compact.iter().map(|byte| byte.is_ascii_digit().then(|| byte - b'0')).collect()
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

/// A JSON number for one that is a phone number: of more digits than a national number has, so that the token is not
/// taken for one, and of no more than a double holds exactly.
pub(super) fn phone_number(key: &Key, literal: &[u8]) -> String {
    if literal.len() < detect::MIN_PHONE_DIGITS || !literal.iter().all(u8::is_ascii_digit) {
        return number(key, literal);
    }
    let mut stream = Stream::new(key, DIGITS, literal);
    let token = first_of_nobody(|| {
        let first = stream.between(b'1', b'9');
        [first].into_iter().chain((1..PHONE_TOKEN).map(|_| stream.digit())).collect()
    });
    String::from_utf8_lossy(&token).into_owned()
}

/// Digits of a phone number's token.
const PHONE_TOKEN: usize = 15;

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
