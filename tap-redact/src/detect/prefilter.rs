//! What must be there for a detector to find anything among the words of a text: conditions that are cheap to test and
//! that no finding can do without. Most texts of clean data meet none.
//!
//! They are about numbers: their digits stand close together, and where a number is short a word must say what it is.
//! A test holds them against the detectors themselves.

use super::{iban, phone, text::MIN_SECRET};
use crate::signs::{self, COLON, DASH, HEX_OR_POINT, LETTER, MARK, NUMERAL, POINT, SECRET, Signs};

/// `1.2.3.4` is the shortest of what is told by its digits.
const MIN_DIGITS: usize = 4;

/// Digits of what needs no word beside it, an address of four numbers aside: `AB 12 34 56 C`.
const MIN_PLAIN_DIGITS: usize = 6;

/// Two check digits, and five of the account.
const MIN_IBAN_DIGITS: usize = 7;

/// Decimals of a coordinate.
const MIN_DECIMALS: usize = 3;

/// Letters of the shortest word that says what a short number is: `dob`, `lat`.
const MIN_WORD: usize = 3;

/// A MAC address in pairs, and in the style with points.
const PAIRED_MAC: usize = 17;
const DOTTED_MAC: usize = 14;

/// A word that is longer is no number of anybody.
const LONGEST_WORD: usize = 34;

/// `2026-11-21`
const DATE: usize = 10;

/// `2026-11-21T14:05:00.123456789+01:00`
const LONGEST_TIME: usize = 35;

/// Whether a walk over the words of a text may find something. `is_announced`: whether the name of its field says
/// what a number in it may be.
pub(super) fn may_hold_words(text: &[u8], signs: Signs, is_announced: impl Fn() -> bool) -> bool {
    let digits = signs.digits();
    if digits == 0 && !signs.has(COLON | DASH) {
        return false;
    }
    if is_time(text) || is_long_word(text) {
        return is_announced();
    }
    // Eight groups, or less and a pair.
    if signs.has(COLON) && (count(text, b':') >= 5 || memchr::memmem::find(text, b"::").is_some()) {
        return true;
    }
    if signs.has(DASH) && text.len() >= PAIRED_MAC && count(text, b'-') >= 5 {
        return true;
    }
    may_hold_number(text, digits, &is_announced)
        || (digits > 0
            && signs.has(POINT)
            && text.len() >= DOTTED_MAC
            && signs::find_row(text, HEX_OR_POINT, DOTTED_MAC).is_some())
        || (digits > 0 && text.len() >= MIN_SECRET && may_hold_secret(text, &is_announced))
}

/// Whether anything may be found in the literal of a JSON number.
pub(super) fn may_be_number(literal: &[u8], is_announced: impl Fn() -> bool) -> bool {
    let unsigned = literal.strip_prefix(b"-").unwrap_or(literal);
    let whole = unsigned.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let decimals = match &unsigned[whole..] {
        [] => 0,
        [b'.', decimals @ ..] if decimals.iter().all(u8::is_ascii_digit) => decimals.len(),
        // With an exponent, or no number at all.
        _ => return unsigned.len() >= MIN_DIGITS,
    };
    if whole + decimals < phone::MIN_DIGITS && decimals < MIN_DECIMALS {
        return false;
    }
    (decimals == 0 && PLAIN_NUMBERS.contains(&whole)) || is_announced()
}

/// How many digits numbers have that need no word to say what they are.
const PLAIN_NUMBERS: [usize; 5] = [11, 13, 15, 16, 18];

fn count(text: &[u8], byte: u8) -> usize {
    memchr::memchr_iter(byte, text).count()
}

/// Whether digits, of which there are so many, stand together as those of a number do.
fn may_hold_number(text: &[u8], digits: usize, is_announced: &impl Fn() -> bool) -> bool {
    let mut words = WordBefore { text, read: 0, letters: 0 };
    let mut at = 0;
    let mut left = digits;
    while left >= MIN_DIGITS {
        let Some(distance) = text[at..].iter().position(|byte| signs::is(*byte, NUMERAL)) else { break };
        at += distance;
        if left >= MIN_IBAN_DIGITS && iban::may_begin(text, at) {
            return true;
        }
        let group = Group::at(text, at);
        if group.digits >= MIN_PLAIN_DIGITS || (group.digits >= MIN_DIGITS && group.points >= 3) {
            return true;
        }
        let needs_word = group.digits >= MIN_DIGITS && (group.has_year || group.has_decimals);
        if needs_word && (words.is_before(at) || is_announced()) {
            return true;
        }
        at = group.end;
        left -= group.digits;
    }
    false
}

/// Whether letters enough for a word come before a place; places come in order, so that time is linear.
struct WordBefore<'t> {
    text: &'t [u8],
    read: usize,
    letters: usize,
}

impl WordBefore<'_> {
    fn is_before(&mut self, at: usize) -> bool {
        let more = &self.text[self.read..at];
        if self.letters < MIN_WORD {
            self.letters += more.iter().filter(|byte| signs::is(**byte, LETTER) || !byte.is_ascii()).count();
        }
        self.read = at;
        self.letters >= MIN_WORD
    }
}

/// Digits with marks between.
struct Group {
    end: usize,
    digits: usize,
    points: usize,
    /// A run of digits begins like a year of somebody's birth.
    has_year: bool,
    has_decimals: bool,
}

impl Group {
    fn at(text: &[u8], start: usize) -> Self {
        let mut group = Self { end: start, digits: 0, points: 0, has_year: false, has_decimals: false };
        let mut run = 0;
        let mut is_fraction = false;
        for byte in &text[start..] {
            if signs::is(*byte, NUMERAL) {
                if run == 0 {
                    group.has_year |= matches!(text.get(group.end..group.end + 2), Some(b"19" | b"20"));
                }
                run += 1;
                group.digits += 1;
                group.has_decimals |= is_fraction && run >= MIN_DECIMALS;
            } else if signs::is(*byte, MARK) {
                run = 0;
                is_fraction = *byte == b'.';
                group.points += usize::from(is_fraction);
            } else {
                break;
            }
            group.end += 1;
        }
        group
    }
}

/// Whether there is a row of characters as secrets have, and a word that may announce it, or a number with letters that
/// needs none.
fn may_hold_secret(text: &[u8], is_announced: &impl Fn() -> bool) -> bool {
    let mut words = WordBefore { text, read: 0, letters: 0 };
    let mut from = 0;
    while let Some(start) = signs::find_row(&text[from..], SECRET, MIN_SECRET) {
        let start = from + start;
        let end = text[start..]
            .iter()
            .position(|byte| !signs::is(*byte, SECRET))
            .map_or(text.len(), |end| start + end);
        let word_before = words.is_before(start);
        // `name=value` in one row: the name announces the value.
        let row = &text[start..end];
        if word_before
            || row.contains(&b'=')
            || row.split(|byte| !byte.is_ascii_alphanumeric()).any(is_lettered)
        {
            return true;
        }
        from = end;
    }
    from > 0 && is_announced()
}

/// Whether a word has the form of a number with letters for which few digits are enough.
fn is_lettered(word: &[u8]) -> bool {
    match word.len() {
        // The Italian one.
        16 => word[..6].iter().all(u8::is_ascii_uppercase),
        // A key that is told by its first two letters.
        LONGEST_WORD => matches!(&word[..2], b"AC" | b"SK"),
        _ => false,
    }
}

/// Whether a text is a date, with a time or without (RFC 3339): as such it is a finding only where a name says so.
pub(super) fn is_time(text: &[u8]) -> bool {
    if !(DATE..=LONGEST_TIME).contains(&text.len()) || text[4] != b'-' || !fits(&text[..DATE], b"9999-99-99")
    {
        return false;
    }
    let rest = &text[DATE..];
    if rest.is_empty() {
        return true;
    }
    if rest.len() < 9 || !matches!(rest[0], b'T' | b't' | b' ') || !fits(&rest[1..9], b"99:99:99") {
        return false;
    }
    let mut zone = &rest[9..];
    if let Some((b'.', fraction)) = zone.split_first() {
        let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if !(1..=9).contains(&digits) {
            return false;
        }
        zone = &fraction[digits..];
    }
    match zone {
        [] | [b'Z' | b'z'] => true,
        [b'+' | b'-', offset @ ..] => fits(offset, b"99:99") || fits(offset, b"9999"),
        _ => false,
    }
}

/// Whether a text is written as a pattern in which `9` is any digit.
fn fits(text: &[u8], pattern: &[u8]) -> bool {
    text.len() == pattern.len()
        && text.iter().zip(pattern).all(|(byte, class)| match class {
            b'9' => byte.is_ascii_digit(),
            literal => byte == literal,
        })
}

/// A hash, an identifier: one word that is longer than any number of a person.
fn is_long_word(text: &[u8]) -> bool {
    text.len() > LONGEST_WORD && text.iter().all(|byte| signs::is(*byte, NUMERAL | LETTER))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::detect::{Context, DetectorSet, FieldName, Found, Text, words};

    /// What the walk over the words finds without this filter.
    fn unfiltered(text: &str, field: &str) -> usize {
        let field = (!field.is_empty()).then_some(FieldName(field.as_bytes()));
        let mut found = Found { enabled: DetectorSet::all(), findings: Vec::new() };
        words::find(&Text::new(text, Context::new(field)), &mut found);
        found.findings.len()
    }

    fn assert_agrees(text: &str, field: &str) {
        let is_announced = || crate::detect::is_announced(field.as_bytes());
        let may_hold = may_hold_words(text.as_bytes(), Signs::of(text.as_bytes()), is_announced);
        let found = unfiltered(text, field);
        assert!(may_hold || found == 0, "{found} in {text:?} of {field:?}");
    }

    fn field() -> impl Strategy<Value = &'static str> {
        let names = vec![
            "",
            "x",
            "note",
            "updated",
            "birthDate",
            "phone",
            "lat",
            "userSsn",
            "api_token",
            "card",
            "bsn",
        ];
        proptest::sample::select(names)
    }

    /// Pieces of everything that detectors know, and of what stands around it.
    fn pieces() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            "[0-9]{1,6}",
            "[A-Z]{1,3}",
            "[a-f0-9]{1,5}",
            "[A-Za-z0-9]{14,18}",
            "[ ./:,;()+-]",
            "[ .:-]",
            proptest::sample::select(
                &[
                    "19",
                    "20",
                    "1990-01-31",
                    "T14:05:00",
                    "::",
                    "fe80",
                    "DE89",
                    "GB82",
                    "NL91",
                    "born ",
                    "dob",
                    "tel ",
                    "lat ",
                    "token",
                    "ssn ",
                    "RSSMRA85T10A562S",
                    "AC",
                    "SK",
                    "January ",
                    "é",
                    "\u{a0}",
                    "@",
                    "=",
                    "%",
                    "AB 12 34 56 C",
                ][..]
            )
            .prop_map(str::to_owned),
        ];
        proptest::collection::vec(piece, 1..8).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        #[test]
        fn what_the_walk_finds_passes(text in pieces(), field in field()) {
            assert_agrees(&text, field);
        }

        #[test]
        fn numbers_pass(text in "-?[0-9]{1,19}(\\.[0-9]{1,18})?([eE][+-]?[0-9]{1,3})?|[0-9.+-]{1,20}", field in field()) {
            let may_be = may_be_number(text.as_bytes(), || crate::detect::is_announced(field.as_bytes()));
            let found = unfiltered(&text, field);
            prop_assert!(may_be || found == 0, "{} in {:?} of {:?}", found, text, field);
        }

        #[test]
        fn times_hold_nothing(text in "(19|20|21)[0-9]{2}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{1,9})?(Z|[+-][0-9]{2}:?[0-9]{2})?)?") {
            prop_assert!(is_time(text.as_bytes()));
            prop_assert_eq!(unfiltered(&text, "updated"), 0);
        }
    }

    #[test]
    fn clean_values_are_told_at_once() {
        for text in [
            "AB-0001-M",
            "Solid wood, oiled; 120 x 60 cm, ships in 3 to 5 days",
            "2026-11-21T14:05:00Z",
            "2026-11-21 14:05:00.123+01:00",
            "/api/v2/products/12",
            "10:00-14:00",
            "3.5.12",
            "a9130897f72251c02f94ce3013e4cd2f3f0894b7",
            "cxPdsNP_MvMoAA2U8ejjp17O6O7QfefP",
        ] {
            assert!(!may_hold_words(text.as_bytes(), Signs::of(text.as_bytes()), || false), "{text}");
        }
    }
}
