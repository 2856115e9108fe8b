//! Tokens of phone numbers: the country and the marks stay, and what follows is given to nobody. In North America that
//! is an area code with a 9 in the middle, which the plan keeps in reserve, with the exchange 555; elsewhere a number that goes on
//! with two zeros.

use super::{MAX_DIGITS, PHONE, digits::Stream};
use crate::{
    detect::{country_code_length, is_north_american},
    key::Key,
};

/// Fewest digits of a number with its country's code.
const MIN_INTERNATIONAL: usize = 8;

/// Fewest digits of one without. A shorter number is an extension, and has no room for what tells a token.
const MIN_NATIONAL: usize = 6;

/// The token of a number with its country's code, or of one in the North American form; `None` for another text.
pub(super) fn international(key: &Key, value: &str) -> Option<String> {
    let digits = digits_of(value)?;
    let after_plus = value.trim_start_matches(['(', ' ']).starts_with('+');
    if after_plus && (MIN_INTERNATIONAL..=15).contains(&digits.len()) {
        let code = country_code_length(&digits)?;
        return Some(replace(key, value, &digits, code));
    }
    let marked = value.starts_with('(') || value.matches(['-', '.']).count() >= 2;
    if digits.len() == 10
        && marked
        && value.matches(['-', '.', ' ', ')']).count() <= 4
        && has_groups(value, &[3, 3, 4])
    {
        return is_american(&digits).then(|| replace(key, value, &digits, 0));
    }
    None
}

/// The token of any number that was found to be one of a phone.
pub(super) fn token(key: &Key, value: &str) -> Option<String> {
    if let Some(token) = international(key, value) {
        return Some(token);
    }
    let digits = digits_of(value).filter(|digits| digits.len() >= MIN_NATIONAL)?;
    if let Some(rest) = digits.strip_prefix(&[0, 0])
        && rest.len() >= MIN_INTERNATIONAL
        && let Some(code) = country_code_length(rest)
    {
        return Some(replace(key, value, &digits, 2 + code));
    }
    let code = usize::from(digits.len() == 11 && digits[0] == 1);
    Some(replace(key, value, &digits, code))
}

/// Replaces the digits behind the country's code, which is so long.
fn replace(key: &Key, value: &str, digits: &[u8], code: usize) -> String {
    let national = &digits[code..];
    let american = code <= 1 && is_american(national) && (code == 0 || digits[0] == 1);
    // One number is one, with and without its country's code where that is known.
    let canonical: Vec<u8> = if american {
        [&[1], national].concat()
    } else if digits.starts_with(&[0, 0]) {
        digits[2..].to_vec()
    } else {
        digits.to_vec()
    };
    if is_token(national, american, code) {
        return value.to_owned();
    }
    let mut stream = Stream::new(key, PHONE, &canonical);
    let mut token = digits.to_vec();
    for (at, digit) in token[code..].iter_mut().enumerate() {
        *digit = match (american, at) {
            (true, 0) => stream.between(2, 9),
            (true, 1) => 9,
            (true, 3..=5) => 5,
            // A trunk zero stays one.
            (false, 0 | 1) => 0,
            (false, 2) if code == 0 && national[0] == 0 => 0,
            _ => stream.between(0, 9),
        };
    }
    let mut token = token.into_iter();
    let character =
        |char: char| if char.is_ascii_digit() { char::from(b'0' + token.next().unwrap_or(0)) } else { char };
    value.chars().map(character).collect()
}

fn is_token(national: &[u8], american: bool, code: usize) -> bool {
    if american {
        return national[1] == 9 && national[3..6] == [5, 5, 5];
    }
    let zeros = if code == 0 && national.first() == Some(&0) { 3 } else { 2 };
    national.len() > zeros && national[..zeros].iter().all(|digit| *digit == 0)
}

/// A North American number, or a token of one.
fn is_american(national: &[u8]) -> bool {
    is_north_american(national)
        || (national.len() == 10 && national[0] >= 2 && national[1] == 9 && national[3..6] == [5, 5, 5])
}

/// The values of the digits of a text that is digits and marks.
fn digits_of(value: &str) -> Option<Vec<u8>> {
    let marks = value.chars().all(|char| char.is_ascii_digit() || " +-().,/\u{a0}".contains(char));
    let digits: Vec<u8> = value.bytes().filter(u8::is_ascii_digit).map(|digit| digit - b'0').collect();
    (marks && value.len() <= MAX_DIGITS && digits.len() >= 2).then_some(digits)
}

fn has_groups(value: &str, lengths: &[usize]) -> bool {
    let groups = value.split(|char: char| !char.is_ascii_digit()).filter(|group| !group.is_empty());
    groups.map(str::len).eq(lengths.iter().copied())
}
