//! Characters that must not reach a terminal as they are: control sequences, and what changes how the text around
//! it is read.

use std::fmt::Write as _;

/// C0 and C1 controls; characters that are invisible, or reorder or join what is around them.
pub fn is_unsafe(character: char) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_keeps_its_meaning() {
        let value = serde_json::json!({"a": "\u{9b}31m \u{202e} \u{e0041} \u{7f} \x1b"});
        let escaped = json(&serde_json::to_string_pretty(&value).unwrap());
        assert!(!escaped.chars().any(|character| character != '\n' && is_unsafe(character)));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&escaped).unwrap(), value);
    }
}
