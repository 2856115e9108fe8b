//! The tokens of JSON: where they end, and what they say.

use std::borrow::Cow;

use crate::signs::Signs;

/// Python writes the last three, and reads them; JavaScript does neither.
const LITERALS: [&[u8]; 6] = [b"true", b"false", b"null", b"NaN", b"Infinity", b"-Infinity"];

/// A byte order mark, or the line that keeps a browser from running JSON as a script, before the document.
pub(super) fn prefix(input: &[u8]) -> usize {
    let mark = if input.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    if input[mark..].starts_with(b")]}'") {
        return input.iter().position(|&byte| byte == b'\n').unwrap_or(input.len());
    }
    mark
}

/// White space, and the record separator of JSON text sequences.
pub(super) fn white_space(input: &[u8]) -> usize {
    match input.first() {
        // Most tokens follow one another at once.
        Some(byte) if *byte > b' ' => 0,
        _ => input.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x1e)).count(),
    }
}

/// A string that opens the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Text {
    /// With its quotes.
    pub(super) length: usize,
    /// It does not read as it stands.
    pub(super) is_escaped: bool,
    /// Of its content, where it is not escaped.
    pub(super) signs: Signs,
}

/// The string that opens the input; `None` where it does not end.
pub(super) fn string(input: &[u8]) -> Option<Text> {
    let (signs, length) = Signs::before_stop(input.get(1..)?)?;
    let mut at = 1 + length;
    if input[at] == b'"' {
        return Some(Text { length: at + 1, is_escaped: false, signs });
    }
    while input[at] == b'\\' {
        at += 2;
        at += memchr::memchr2(b'"', b'\\', input.get(at..)?)?;
    }
    Some(Text { length: at + 1, is_escaped: true, signs })
}

/// The length of the number that opens the input; `None` where it is none, or not yet.
pub(super) fn number(input: &[u8]) -> Option<usize> {
    let is_part = |byte: &&u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
    let length = input.iter().take_while(is_part).count();
    if length == 1 && input[0] == b'-' && input.get(1) == Some(&b'I') {
        return literal(input);
    }
    Some(length)
}

/// The length of the literal that opens the input.
pub(super) fn literal(input: &[u8]) -> Option<usize> {
    LITERALS.iter().find(|literal| input.starts_with(literal)).map(|literal| literal.len())
}

/// Whether the input is the beginning of a literal.
pub(super) fn may_become_literal(input: &[u8]) -> bool {
    LITERALS.iter().any(|literal| literal.starts_with(input))
}

/// What the content of a string says; `None` where an escape is not one.
pub(super) fn unescape(content: &[u8]) -> Option<Cow<'_, [u8]>> {
    let Some(first) = content.iter().position(|&byte| byte == b'\\') else {
        return Some(Cow::Borrowed(content));
    };
    let mut output = content[..first].to_vec();
    let mut at = first;
    while let Some(&byte) = content.get(at) {
        if byte != b'\\' {
            output.push(byte);
            at += 1;
            continue;
        }
        at += 2;
        match content.get(at - 1)? {
            b'u' => {
                let (char, length) = code_point(&content[at..])?;
                at += length;
                output.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
            }
            b'b' => output.push(0x08),
            b'f' => output.push(0x0c),
            b'n' => output.push(b'\n'),
            b'r' => output.push(b'\r'),
            b't' => output.push(b'\t'),
            escaped @ (b'"' | b'\\' | b'/') => output.push(*escaped),
            _ => return None,
        }
    }
    Some(Cow::Owned(output))
}

/// The character after `\u`, and how many bytes say it: two escapes for one beyond the basic plane. Half of
/// such a pair says the replacement character.
fn code_point(input: &[u8]) -> Option<(char, usize)> {
    let first = unit(input)?;
    if (0xd800..0xdc00).contains(&first)
        && input.get(4..6) == Some(b"\\u")
        && let Some(second) = unit(&input[6..])
        && (0xdc00..0xe000).contains(&second)
    {
        let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
        return Some((char::from_u32(code)?, 10));
    }
    Some((char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER), 4))
}

/// Appends what says this text within a string.
pub(crate) fn escape(text: &str, output: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => output.extend_from_slice(&[b'\\', byte]),
            b'\n' => output.extend_from_slice(b"\\n"),
            b'\r' => output.extend_from_slice(b"\\r"),
            b'\t' => output.extend_from_slice(b"\\t"),
            0..0x20 => {
                output.extend_from_slice(b"\\u00");
                output.push(DIGITS[usize::from(byte >> 4)]);
                output.push(DIGITS[usize::from(byte & 15)]);
            }
            byte => output.push(byte),
        }
    }
}

/// Four hexadecimal digits.
fn unit(input: &[u8]) -> Option<u32> {
    input.get(..4)?.iter().try_fold(0, |unit, digit| Some(unit * 16 + char::from(*digit).to_digit(16)?))
}
