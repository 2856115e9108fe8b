//! Phone numbers: E.164 by their country code, North American and French ones by their form, other national ones by
//! a word that says so.

use super::{Detector, Found, Text, digits::Runs};

/// E.164.
const MAX_DIGITS: usize = 15;
pub(crate) const MIN_DIGITS: usize = 7;

pub(super) const WORDS: &[&str] = &[
    "phone",
    "tel",
    "telefon",
    "telephone",
    "mobile",
    "mobil",
    "mob",
    "handy",
    "cell",
    "cellular",
    "celular",
    "fax",
    "call",
    "whatsapp",
    "msisdn",
    "sms",
    "ring",
    "ph",
    "hotline",
    "téléphone",
    "portable",
    "teléfono",
    "telefono",
    "telefone",
    "numéro",
    "rufnummer",
    "telefoon",
    "puhelin",
    "тел",
    "телефон",
    "电话",
    "電話",
    "手机",
    "전화",
];

/// Country codes of two digits; 1 and 7 have one, all others three.
const TWO_DIGIT_CODES: &[u8] = &[
    20, 27, 30, 31, 32, 33, 34, 36, 39, 40, 41, 43, 44, 45, 46, 47, 48, 49, 51, 52, 53, 54, 55, 56, 57, 58,
    60, 61, 62, 63, 64, 65, 66, 81, 82, 84, 86, 90, 91, 92, 93, 94, 95, 98,
];

/// Codes of three digits begin with these two.
const THREE_DIGIT_CODES: &[u8] =
    &[21, 22, 23, 24, 25, 26, 29, 35, 37, 38, 42, 50, 59, 67, 68, 69, 80, 85, 87, 88, 96, 97, 99];

/// Separators within a number.
const MARKS: &[u8] = b" -./()\xa0\xc2";

/// `+49 30 1234567`, where `start` is the first digit after the plus; where it ends.
pub(super) fn international_at(text: &Text<'_>, start: usize, found: &mut Found) -> Option<usize> {
    let plus = start.checked_sub(1).filter(|at| text[*at] == b'+');
    // `(+49)`, `+(49)`
    let plus = plus.or_else(|| start.checked_sub(2).filter(|at| text[*at..start] == *b"+("));
    let (from, from_digits) = match plus {
        Some(plus) => (plus, 0),
        None if text[start..].starts_with(b"00") && text.may_start(start) => (start, 2),
        None => return None,
    };
    if text.before(from).is_some_and(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    let mut runs = Runs::read(text, start, MARKS, 3, MAX_DIGITS + from_digits);
    loop {
        let end = runs.end();
        let digits = runs.digits().get(from_digits..).unwrap_or_default();
        if digits.len() <= MIN_DIGITS {
            return None;
        }
        let whole = !text.byte(end).is_some_and(|byte| byte.is_ascii_alphanumeric());
        if whole && is_international(digits) {
            // With zeros alone before it a number needs a word: it may be any number.
            let told = from_digits == 0 || text.context.has(text, start, WORDS);
            return (told && found.push(Detector::Phone, from..end)).then_some(end);
        }
        if whole && from_digits == 0 && is_international_token(digits) {
            return Some(end);
        }
        if !runs.drop_last() {
            return None;
        }
    }
}

/// A number without its country's code, from the word of digits at `start` on; where it ends.
pub(super) fn national_at(text: &Text<'_>, start: usize, found: &mut Found) -> Option<usize> {
    if !text.may_start(start) {
        return None;
    }
    let opened = text.before(start) == Some(b'(');
    let mut runs = Runs::read(text, start, MARKS, 3, MAX_DIGITS - 1);
    // Looked up at most once: words cost more than digits.
    let mut announced = None;
    loop {
        let end = runs.end();
        if runs.digits().len() < MIN_DIGITS {
            return None;
        }
        let whole = text.stands_alone(start, end);
        if whole && has_known_form(text, &runs, opened)
            || whole
                && is_national(&runs)
                && *announced.get_or_insert_with(|| text.context.has(text, start, WORDS))
        {
            let from = start - usize::from(opened && text[start..end].contains(&b')'));
            return found.push(Detector::Phone, from..end).then_some(end);
        }
        if !runs.drop_last() {
            return None;
        }
    }
}

/// The length of the country code that digits, as values, begin with.
pub(crate) fn country_code_length(digits: &[u8]) -> Option<usize> {
    let [first, second, ..] = *digits else { return None };
    let two = first * 10 + second;
    match first {
        1 | 7 => Some(1),
        _ if TWO_DIGIT_CODES.contains(&two) => Some(2),
        _ if THREE_DIGIT_CODES.contains(&two) => Some(3),
        _ => None,
    }
}

fn is_international(digits: &[u8]) -> bool {
    let Some(code) = country_code_length(digits) else { return false };
    let national = &digits[code..];
    match digits[0] {
        1 => is_north_american(national),
        7 => national.len() == 10 && national[0] >= 3,
        // A trunk zero is often written though it is not dialled; two are a token.
        _ => (5..=13).contains(&national.len()) && !national.starts_with(&[0, 0]),
    }
}

/// What follows the country's code is given to nobody: a token.
fn is_international_token(digits: &[u8]) -> bool {
    let Some(code) = country_code_length(digits) else { return false };
    match &digits[code..] {
        [area, 9, _, 5, 5, 5, rest @ ..] if digits[0] == 1 => *area >= 2 && rest.len() == 4,
        national => digits[0] != 1 && national.starts_with(&[0, 0]),
    }
}

/// Area code and exchange as the plan has them. An area code with a 9 in the middle is in reserve for longer
/// numbers: tokens have one.
pub(crate) fn is_north_american(national: &[u8]) -> bool {
    national.len() == 10 && national[0] >= 2 && national[1] != 9 && national[3] >= 2
}

fn is_national(runs: &Runs) -> bool {
    let digits = runs.digits();
    let long_runs = runs.lengths().all(|length| length <= 12);
    let token = digits.starts_with(&[0, 0, 0])
        || (digits.len() == 10 && digits[0] >= 2 && digits[1] == 9 && digits[3..6] == [5, 5, 5]);
    long_runs && !token && (digits.len() >= 8 || runs.count() > 1 || digits[0] != 0) && !is_short_date(runs)
}

/// Eight digits as 2-2-4 or 4-2-2.
fn is_short_date(runs: &Runs) -> bool {
    runs.count() == 3 && matches!((runs.run(0).1, runs.run(1).1, runs.run(2).1), (2, 2, 4) | (4, 2, 2))
}

/// Forms that nothing else has: `(212) 555-0123`, `212-555-0123`, `01 23 45 67 89`, `07700 900123`.
fn has_known_form(text: &Text<'_>, runs: &Runs, opened: bool) -> bool {
    let digits = runs.digits();
    let lengths = (runs.run(0).1, runs.run(1).1, runs.run(2).1, runs.run(3).1);
    let mark_after = |index: usize| {
        let (at, length) = runs.run(index);
        text.byte(at + length)
    };
    let pairs = || runs.lengths().all(|length| length == 2);
    match runs.count() {
        3 if lengths.0 == 3 && lengths.1 == 3 && lengths.2 == 4 => {
            let joined =
                matches!((mark_after(0), mark_after(1)), (Some(b'-'), Some(b'-')) | (Some(b'.'), Some(b'.')));
            is_north_american(digits) && (joined || opened && mark_after(0) == Some(b')'))
        }
        4 if (lengths.0, lengths.1, lengths.2, lengths.3) == (1, 3, 3, 4) => {
            digits[0] == 1
                && is_north_american(&digits[1..])
                && matches!(mark_after(0), Some(b'-' | b' ' | b'.'))
        }
        5 if pairs() => {
            digits[0] == 0
                && digits[1] != 0
                && mark_after(0) == mark_after(1)
                && mark_after(1) == mark_after(2)
        }
        2 => lengths.0 == 5 && lengths.1 == 6 && digits.starts_with(&[0, 7]) && mark_after(0) == Some(b' '),
        3 => {
            (lengths.0, lengths.1, lengths.2) == (5, 3, 3)
                && digits.starts_with(&[0, 7])
                && mark_after(0) == Some(b' ')
        }
        _ => false,
    }
}
