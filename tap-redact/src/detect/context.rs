//! Context: words that make a value what it may be, in the field's name or just before the value.

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind};

use super::{FieldName, card, geo, national_id, phone, secret, time};

/// How far before a value a word counts.
const REACH: usize = 40;

/// Longest part of a field's name that is looked at: its end.
const FIELD_REACH: usize = 64;

/// Where a text stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context<'f> {
    field: &'f [u8],
}

impl<'f> Context<'f> {
    pub(super) fn new(field: Option<FieldName<'f>>) -> Self {
        let field = field.map_or(&[][..], |field| field.0);
        Self { field: &field[field.len().saturating_sub(FIELD_REACH)..] }
    }

    /// Whether one of the words, in lower case, is in the field's name or shortly before `at` in the text. A word of up
    /// to four letters must stand alone.
    pub(super) fn has(&self, text: &[u8], at: usize, words: &[&str]) -> bool {
        let before = &text[at.saturating_sub(REACH)..at];
        self.names(words) || any_is_in(before, words)
    }

    /// Whether the field's name has any word of any detector.
    pub(super) fn announces(&self) -> bool {
        let mut letters = [0; FIELD_REACH];
        let mut length = 0;
        for byte in self.field.iter().filter(|byte| byte.is_ascii_alphanumeric() || !byte.is_ascii()) {
            letters[length] = byte.to_ascii_lowercase();
            length += 1;
        }
        length > 0
            && ANY_WORD.as_ref().is_none_or(|words| words.is_match(&letters[..length]))
            && (LISTS.iter().any(|words| self.names(words))
                || national_id::words().any(|words| self.names(words)))
    }

    /// Whether one of the words is in the field's name.
    pub(super) fn names(&self, words: &[&str]) -> bool {
        any_is_in(self.field, words)
    }
}

/// All words of all detectors at once, without what may separate their letters: most names have none.
static ANY_WORD: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| {
    let words = LISTS.iter().copied().chain(national_id::words()).flatten().map(|word| word.replace(' ', ""));
    // They are constants, far below the automaton's limits; without it, each is looked for.
    AhoCorasick::builder().kind(Some(AhoCorasickKind::DFA)).prefilter(false).build(words).ok()
});

/// The words of detectors that are about more than one country.
const LISTS: [&[&str]; 5] = [phone::WORDS, time::BIRTH, secret::WORDS, geo::NAMES, card::WORDS];

/// Whether one of the words is in the text. Most texts lack a letter of most words.
fn any_is_in(text: &[u8], words: &[&str]) -> bool {
    let letters = letters(text);
    let lacks = |byte: &u8| LETTER_BITS[usize::from(*byte)] & !letters != 0;
    let may_be_in = |word: &[u8]| !word.iter().any(lacks);
    letters != 0 && words.iter().any(|word| may_be_in(word.as_bytes()) && is_in(text, word))
}

/// The letters that a text has.
fn letters(text: &[u8]) -> u32 {
    text.iter().fold(0, |letters, byte| letters | LETTER_BITS[usize::from(*byte)])
}

/// A bit for each letter of ASCII in either case, and one for all bytes beyond ASCII.
static LETTER_BITS: [u32; 256] = {
    let mut bits = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        bits[byte] = match byte as u8 {
            letter @ (b'A'..=b'Z' | b'a'..=b'z') => 1 << (letter.to_ascii_lowercase() - b'a'),
            0x80.. => 1 << 31,
            _ => 0,
        };
        byte += 1;
    }
    bits
};

/// Whether the word is in the text, without regard to the case of ASCII, to separators within (`date_of_birth`,
/// `dateOfBirth`) and to accents where the word has none.
fn is_in(text: &[u8], word: &str) -> bool {
    let word = word.as_bytes();
    let first = word.first().copied().unwrap_or_default();
    let starts = (0..text.len()).filter(|start| text[*start].to_ascii_lowercase() == first);
    starts.into_iter().any(|start| match matched(&text[start..], word) {
        Some(length) if word.len() <= 4 => starts_word(text, start) && ends_word(text, start + length),
        found => found.is_some(),
    })
}

/// How much of the text's start is the word, if it is.
fn matched(text: &[u8], word: &[u8]) -> Option<usize> {
    let mut at = 0;
    for (index, letter) in word.iter().enumerate() {
        if index > 0 && *letter != b' ' {
            while text.get(at).is_some_and(|byte| matches!(byte, b'_' | b'-' | b' ' | b'.')) {
                at += 1;
            }
        } else if *letter == b' ' {
            continue;
        }
        if text.get(at)?.to_ascii_lowercase() != *letter {
            return None;
        }
        at += 1;
    }
    Some(at)
}

/// Whether a word starts here: after what is no letter, or with a capital after a small letter.
fn starts_word(text: &[u8], start: usize) -> bool {
    let before = start.checked_sub(1).map(|at| text[at]);
    !before.is_some_and(|byte| byte.is_ascii_alphabetic())
        || (before.is_some_and(|byte| byte.is_ascii_lowercase()) && text[start].is_ascii_uppercase())
}

fn ends_word(text: &[u8], end: usize) -> bool {
    let after = text.get(end);
    !after.is_some_and(u8::is_ascii_alphabetic)
        || (after.is_some_and(u8::is_ascii_uppercase) && text[end - 1].is_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_however_they_are_joined() {
        let has = |text: &str, word| Context::new(None).has(text.as_bytes(), text.len(), &[word]);
        for text in ["date of birth: ", "dateOfBirth=", "DATE_OF_BIRTH ", "my date-of-birth "] {
            assert!(has(text, "dateofbirth"), "{text}");
        }
        assert!(has("Tel. ", "tel") && has("userTel: ", "tel") && has("SSN#", "ssn"));
        assert!(!has("hotel ", "tel") && !has("telling ", "tel") && !has("", "tel"));
        assert!(!has(&format!("tel {}", "x ".repeat(40)), "tel"), "too far");
    }

    #[test]
    fn the_name_of_the_field_counts() {
        let context = Context::new(Some(FieldName(b"customer_bsn")));
        assert!(context.has(b"", 0, &["bsn"]));
        assert!(!context.has(b"", 0, &["iban"]));
    }
}
