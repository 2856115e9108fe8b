//! Context: words that make a value what it may be, in the field's name or just before the value.

use super::FieldName;

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

    /// Whether one of the words is in the field's name.
    pub(super) fn names(&self, words: &[&str]) -> bool {
        any_is_in(self.field, words)
    }
}

/// Whether one of the words is in the text. Most texts lack the first or the last letter of most words.
fn any_is_in(text: &[u8], words: &[&str]) -> bool {
    let letters = text.iter().fold(0, |letters, byte| letters | letter_bit(*byte));
    let has_ends = |word: &str| {
        let (first, last) = (word.as_bytes().first(), word.as_bytes().last());
        first.into_iter().chain(last).all(|byte| letters & letter_bit(*byte) != 0)
    };
    letters != 0 && words.iter().any(|word| has_ends(word) && is_in(text, word))
}

/// A bit for each letter of ASCII in either case, and one for all bytes beyond ASCII.
fn letter_bit(byte: u8) -> u32 {
    match byte {
        b'A'..=b'Z' | b'a'..=b'z' => 1 << (byte.to_ascii_lowercase() - b'a'),
        0x80.. => 1 << 31,
        _ => 0,
    }
}

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
