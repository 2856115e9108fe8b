//! Numbers that states give to people: forms, dates within, check digits.
//!
//! A form is written as a pattern: `9` is a digit, `A` a capital letter, `X` either, all else stands for itself. Where a
//! form with a passed check is still likely to be something else, it needs a context word.

mod americas;
mod asia;
mod catalogue;
mod europe;

use std::sync::LazyLock;

use super::{Detector, Found, Text};
use catalogue::IDS;

/// Longest leading run of a pattern's digits or letters, and one.
const LEADS: usize = 20;

/// Most letters and digits of a number.
const MAX_LENGTH: usize = 20;

/// A country's number.
struct Id {
    country: super::Country,
    /// Words, in lower case, that announce it.
    words: &'static [&'static str],
    forms: &'static [(&'static str, Needs)],
    /// Over the letters and digits alone.
    check: fn(&[u8]) -> bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    Nothing,
    Context,
}

/// The forms that begin with so many digits, and with so many letters.
struct Index {
    digits: [Vec<(&'static Id, &'static str, Needs)>; LEADS],
    letters: [Vec<(&'static Id, &'static str, Needs)>; LEADS],
}

static INDEX: LazyLock<Index> = LazyLock::new(|| {
    let mut index =
        Index { digits: std::array::from_fn(|_| Vec::new()), letters: std::array::from_fn(|_| Vec::new()) };
    for id in IDS {
        for (pattern, needs) in id.forms {
            let first = pattern.as_bytes()[0];
            let lead = pattern.bytes().take_while(|byte| *byte == first).count().min(LEADS - 1);
            let forms = if first == b'9' { &mut index.digits } else { &mut index.letters };
            forms[lead].push((id, pattern, *needs));
        }
    }
    index
});

/// The words that announce numbers, by country.
pub(super) fn words() -> impl Iterator<Item = &'static [&'static str]> {
    IDS.iter().map(|id| id.words)
}

/// A number that begins with the word at `start`; where it ends.
pub(super) fn find_at(text: &Text<'_>, start: usize, found: &mut Found) -> Option<usize> {
    let digits = text.run(start, LEADS, |byte| byte.is_ascii_digit());
    let forms = if digits > 0 {
        INDEX.digits.get(digits)?
    } else {
        INDEX.letters.get(text.run(start, LEADS, |byte| byte.is_ascii_uppercase()))?
    };
    let mut longest = None;
    for (id, pattern, needs) in forms {
        let end = start + pattern.len();
        if longest.is_some_and(|(_, longest)| longest >= end) || !matches(pattern, text, start) {
            continue;
        }
        let mut compact = [0; MAX_LENGTH];
        let mut length = 0;
        for byte in text[start..end].iter().filter(|byte| byte.is_ascii_alphanumeric()).take(MAX_LENGTH) {
            compact[length] = *byte;
            length += 1;
        }
        let detector = Detector::NationalId(id.country);
        if found.wants(detector)
            && (id.check)(&compact[..length])
            && text.stands_alone(start, end)
            && (!pattern.contains(' ') || stands_apart(text, start, end))
            && (*needs == Needs::Nothing || text.context.has(text, start, id.words))
        {
            longest = Some((detector, end));
        }
    }
    let (detector, end) = longest?;
    found.push(detector, start..end).then_some(end)
}

fn matches(pattern: &str, text: &Text<'_>, start: usize) -> bool {
    let Some(candidate) = text.get(start..start + pattern.len()) else { return false };
    pattern.bytes().zip(candidate).all(|(class, byte)| match class {
        b'9' => byte.is_ascii_digit(),
        b'A' => byte.is_ascii_uppercase(),
        b'X' => byte.is_ascii_digit() || byte.is_ascii_uppercase(),
        literal => *byte == literal,
    })
}

/// Whether groups joined by spaces are all there are, not some of a longer row.
fn stands_apart(text: &Text<'_>, start: usize, end: usize) -> bool {
    let digit_beyond = |space: Option<u8>, beyond: Option<u8>| {
        space == Some(b' ') && beyond.is_some_and(|byte| byte.is_ascii_digit())
    };
    let before = start.checked_sub(2).and_then(|at| text.byte(at));
    !digit_beyond(text.before(start), before) && !digit_beyond(text.byte(end), text.byte(end + 1))
}

/// The values of digits; letters have those that no digit has.
fn values<const N: usize>(number: &[u8]) -> Option<[u8; N]> {
    let number: &[u8; N] = number.try_into().ok()?;
    number.iter().all(u8::is_ascii_digit).then(|| number.map(|digit| digit - b'0'))
}

/// Two digits.
fn two(digits: &[u8], at: usize) -> u32 {
    u32::from(digits[at]) * 10 + u32::from(digits[at + 1])
}

fn is_date(month: u32, day: u32) -> bool {
    let longest = match month {
        2 => 29,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    };
    (1..=longest).contains(&day)
}

fn all_equal(digits: &[u8]) -> bool {
    digits.windows(2).all(|pair| pair[0] == pair[1])
}

/// Whether letters and digits alone are some country's valid number.
pub(crate) fn is_valid(compact: &[u8]) -> bool {
    IDS.iter().any(|id| {
        let fits = |(pattern, _): &(&str, Needs)| {
            let mut classes = pattern.bytes().filter(u8::is_ascii_alphanumeric);
            let same = compact.iter().all(|byte| match classes.next() {
                Some(b'9') => byte.is_ascii_digit(),
                Some(b'A') => byte.is_ascii_uppercase(),
                Some(_) => true,
                None => false,
            });
            same && classes.next().is_none()
        };
        id.forms.iter().any(fits) && (id.check)(compact)
    })
}

/// Whether a value has the form of a number with letters, valid or not: `12345678Z`, `AB 12 34 56 C`.
pub(crate) fn has_form(value: &str) -> bool {
    let text = Text::new(value, super::Context::new(None));
    let forms = IDS.iter().flat_map(|id| id.forms);
    forms
        .filter(|(pattern, _)| pattern.len() == value.len())
        .any(|(pattern, _)| matches(pattern, &text, 0) && pattern.contains(['A', 'X']))
}
