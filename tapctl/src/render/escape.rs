//! Captured text made safe to print: it may hold terminal control sequences, or characters that change how
//! what follows is read.

use std::fmt::Write as _;

use tap_formats::terminal::is_unsafe;
pub use tap_formats::terminal::json;

/// `text` on one line: line breaks and tabs are escaped, too.
pub fn text(text: &str) -> String {
    escaped(text, |_| false)
}

/// `text` with its line feeds and tabs.
pub fn lines(text: &str) -> String {
    escaped(text, |character| matches!(character, '\n' | '\t'))
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
        }
    }
}
