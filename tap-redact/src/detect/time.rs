//! Dates of birth: dates after a word, or in a field, that says so. Other dates are passed over.

use super::{Detector, Found, Text};

pub(super) const BIRTH: &[&str] = &[
    "dob",
    "dateofbirth",
    "birthdate",
    "birthday",
    "birth",
    "born",
    "geburt",
    "geboren",
    "geb",
    "naissance",
    "nele",
    "nacimiento",
    "nascita",
    "nascimento",
    "geboorte",
    "fodelse",
    "fødsel",
    "födelse",
    "syntymä",
    "urodzenia",
    "narozen",
    "рождения",
    "生年月日",
    "出生",
    "생년월일",
    "doğum",
];

const MONTHS: &[&str] = &[
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec", "mai", "okt", "dez",
    "ene", "avr", "juin", "juil", "abr", "ago", "dic", "maj", "gen", "mag", "giu", "lug", "set", "ott",
];

/// A date that begins with the word of digits at `start`; where it ends, whether it is one of birth or not.
pub(super) fn find_at(text: &Text<'_>, start: usize, found: &mut Found) -> Option<usize> {
    let end = numeric_end(text, start).or_else(|| day_first_end(text, start))?;
    if text.byte(end).is_some_and(|byte| byte.is_ascii_digit()) || !text.may_start(start) {
        return None;
    }
    let goes_on = text.byte(end).is_some_and(|byte| matches!(byte, b'-' | b'/'))
        && text.byte(end + 1).is_some_and(|byte| byte.is_ascii_digit());
    if goes_on {
        return None;
    }
    if text.context.has(text, start, BIRTH) {
        found.push(Detector::DateOfBirth, start..end);
        return Some(end);
    }
    // Eight digits without marks may still be something else.
    (!text[start..end].iter().all(u8::is_ascii_digit)).then_some(end)
}

/// `January 31, 1990`, beginning with the month at the word from `start` to `end`.
pub(super) fn with_month_at(text: &Text<'_>, start: usize, end: usize, found: &mut Found) -> Option<usize> {
    let day = end + text.run(end, 2, |byte| matches!(byte, b' ' | b'.'));
    let before_digit = text.byte(day).is_some_and(|byte| byte.is_ascii_digit());
    if !before_digit || !found.wants(Detector::DateOfBirth) || !is_month(&text[start..end]) {
        return None;
    }
    let day_end = day + text.run(day, 3, |byte| byte.is_ascii_digit());
    let suffix = text.run(day_end, 2, |byte| byte.is_ascii_lowercase());
    let year = day_end + suffix + text.run(day_end + suffix, 2, |byte| matches!(byte, b' ' | b','));
    let year_end = year + text.run(year, 5, |byte| byte.is_ascii_digit());
    let whole = (1..=2).contains(&(day_end - day)) && is_year(&text[year..year_end]);
    (whole && text.context.has(text, start, BIRTH) && found.push(Detector::DateOfBirth, start..year_end))
        .then_some(year_end)
}

/// 1990-01-31, 31.1.1990, 1/31/1990, 19900131
fn numeric_end(text: &Text<'_>, start: usize) -> Option<usize> {
    let digits = |at: usize| text.run(at, 9, |byte| byte.is_ascii_digit());
    let first = digits(start);
    if first == 8 {
        let (year, month, day) =
            (&text[start..start + 4], &text[start + 4..start + 6], &text[start + 6..start + 8]);
        return (is_year(year) && is_month_and_day(month, day)).then_some(start + 8);
    }
    let mark = text.byte(start + first).filter(|byte| b"-/.".contains(byte))?;
    let second_at = start + first + 1;
    let second = digits(second_at);
    let third_at = second_at + second + 1;
    if !(1..=2).contains(&second) || text.byte(third_at - 1) != Some(mark) {
        return None;
    }
    let third = digits(third_at);
    let parts = (
        &text[start..start + first],
        &text[second_at..second_at + second],
        &text[third_at..third_at + third],
    );
    let is_date = match (first, third) {
        (4, 1..=2) => is_year(parts.0) && is_month_and_day(parts.1, parts.2),
        (1..=2, 4) => {
            is_year(parts.2) && (is_month_and_day(parts.1, parts.0) || is_month_and_day(parts.0, parts.1))
        }
        _ => false,
    };
    is_date.then_some(third_at + third)
}

/// `31 January 1990`
fn day_first_end(text: &Text<'_>, start: usize) -> Option<usize> {
    let day = text.run(start, 3, |byte| byte.is_ascii_digit());
    if !(1..=2).contains(&day) {
        return None;
    }
    let month = start + day + text.run(start + day, 2, |byte| matches!(byte, b' ' | b'.' | b'-'));
    let month_end = month + text.run(month, 12, |byte| byte.is_ascii_alphabetic());
    if !is_month(&text[month..month_end]) {
        return None;
    }
    let year = month_end + text.run(month_end, 2, |byte| matches!(byte, b' ' | b',' | b'.' | b'-'));
    let end = year + text.run(year, 5, |byte| byte.is_ascii_digit());
    is_year(&text[year..end]).then_some(end)
}

fn is_month(word: &[u8]) -> bool {
    word.len() >= 3
        && MONTHS.iter().any(|month| {
            word.len() >= month.len() && word[..month.len()].eq_ignore_ascii_case(month.as_bytes())
        })
}

fn is_year(digits: &[u8]) -> bool {
    digits.len() == 4 && (digits.starts_with(b"19") || digits.starts_with(b"20"))
}

fn is_month_and_day(month: &[u8], day: &[u8]) -> bool {
    let value = |digits: &[u8]| digits.iter().fold(0, |value, digit| value * 10 + u32::from(digit - b'0'));
    (1..=12).contains(&value(month)) && (1..=31).contains(&value(day))
}
