//! Captured text made safe to print: it may hold terminal control sequences, or characters that change how
//! what follows is read.

use std::fmt::Write as _;

/// `text` on one line: line breaks and tabs are escaped, too.
pub fn text(text: &str) -> String {
    escaped(text, |_| false)
}

/// `text` with its line feeds and tabs.
pub fn lines(text: &str) -> String {
    escaped(text, |character| matches!(character, '\n' | '\t'))
}

/// JSON text in which no character needs escaping on a terminal. JSON itself escapes the controls below
/// U+0020 alone; what else there is can only be inside strings, where `\u` means the same.
pub fn json(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if character != '\n' && is_unsafe(character) {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        } else {
            escaped.push(character);
        }
    }
    escaped
}

fn escaped(text: &str, keep: impl Fn(char) -> bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if is_unsafe(character) && !keep(character) {
            let _ = match u32::from(character) {
                0x09 => write!(escaped, "\\t"),
                0x0a => write!(escaped, "\\n"),
                0x0d => write!(escaped, "\\r"),
                code @ 0..=0xff => write!(escaped, "\\x{code:02x}"),
                code => write!(escaped, "\\u{{{code:x}}}"),
            };
        } else {
            escaped.push(character);
        }
    }
    escaped
}

/// C0 and C1 controls; characters that are invisible, or reorder or join what is around them.
fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(u32::from(character),
            0xad                    // soft hyphen
            | 0x61c                 // Arabic letter mark
            | 0x180e                // Mongolian vowel separator
            | 0x200b..=0x200f       // zero-width characters, direction marks
            | 0x2028..=0x202e       // separators, direction embeddings and overrides
            | 0x2060..=0x206f       // word joiner, direction isolates, invisible operators
            | 0xfeff                // zero-width no-break space
            | 0xfff9..=0xfffb       // interlinear annotation
            | 0xe0000..=0xe0fff     // tags, variation selectors supplement
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_sequences_lose_their_power() {
        assert_eq!(text("\x1b[2J\x1b]0;owned\x07"), "\\x1b[2J\\x1b]0;owned\\x07");
        assert_eq!(text("\u{9b}31m"), "\\x9b31m");
        assert_eq!(text("a\r\nb\tc\0"), "a\\r\\nb\\tc\\x00");
        assert_eq!(lines("a\r\n\tb\x08"), "a\\r\n\tb\\x08");
    }

    #[test]
    fn reordering_and_invisible_characters_are_shown() {
        assert_eq!(text("user\u{202e}nimda\u{2066}\u{200b}"), "user\\u{202e}nimda\\u{2066}\\u{200b}");
        assert_eq!(text("\u{e0041}"), "\\u{e0041}");
    }

    #[test]
    fn ordinary_text_of_any_language_is_left_alone() {
        for ordinary in ["héllo wörld", "日本語", "مرحبا", "🙂", "a\\b"] {
            assert_eq!(text(ordinary), ordinary);
            assert_eq!(json(ordinary), ordinary);
        }
    }

    #[test]
    fn json_keeps_its_meaning() {
        let value = serde_json::json!({"a": "\u{9b}31m \u{202e} \u{e0041} \u{7f} \x1b"});
        let escaped = json(&serde_json::to_string_pretty(&value).unwrap());
        assert!(!escaped.chars().any(|character| character != '\n' && is_unsafe(character)));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&escaped).unwrap(), value);
    }
}
