//! What one pass over the bytes of a text tells of it. Most texts are known to hold nothing after it.

/// The classes that a text's bytes are of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Signs {
    classes: u16,
    digits: usize,
}

/// Ends a JSON string, or begins an escape.
const STOP: u16 = 1;
pub(crate) const AT: u16 = 1 << 1;
pub(crate) const COLON: u16 = 1 << 2;
pub(crate) const DASH: u16 = 1 << 3;
pub(crate) const SLASH: u16 = 1 << 4;
pub(crate) const POINT: u16 = 1 << 5;
/// `%` and `=`: pairs, or what is encoded.
pub(crate) const ENCODED: u16 = 1 << 6;
/// What structures begin or end with.
pub(crate) const BRACKET: u16 = 1 << 7;
/// The highest bit, so that a shift counts.
const DIGIT: u16 = 1 << 15;

/// The class of each byte.
static CLASSES: [u16; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            b'"' | b'\\' => STOP,
            b'@' => AT,
            b':' => COLON,
            b'-' => DASH,
            b'/' => SLASH,
            b'.' => POINT,
            b'%' | b'=' => ENCODED,
            b'{' | b'}' | b'[' | b']' | b'<' | b'>' => BRACKET,
            b'0'..=b'9' => DIGIT,
            _ => 0,
        };
        byte += 1;
    }
    classes
};

impl Signs {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut signs = Self::default();
        for byte in bytes {
            signs.add(CLASSES[usize::from(*byte)]);
        }
        signs
    }

    /// Of what comes before the first `"` or `\`, and how long that is; `None` where neither comes.
    pub(crate) fn before_stop(bytes: &[u8]) -> Option<(Self, usize)> {
        let mut signs = Self::default();
        for (at, byte) in bytes.iter().enumerate() {
            let class = CLASSES[usize::from(*byte)];
            if class == STOP {
                return Some((signs, at));
            }
            signs.add(class);
        }
        None
    }

    fn add(&mut self, class: u16) {
        self.classes |= class;
        self.digits += usize::from(class >> 15);
    }

    /// Whether a byte is of one of these classes.
    pub(crate) fn has(self, classes: u16) -> bool {
        self.classes & classes != 0
    }

    pub(crate) fn digits(self) -> usize {
        self.digits
    }
}

/// The digits of both alphabets of base64, and its padding.
pub(crate) const BASE64: u8 = 1;
/// What secrets are written with.
pub(crate) const SECRET: u8 = 2;
/// Hexadecimal digits and points.
pub(crate) const HEX_OR_POINT: u8 = 4;
/// What may stand between the digits of one number.
pub(crate) const MARK: u8 = 8;
pub(crate) const NUMERAL: u8 = 16;
pub(crate) const LETTER: u8 = 32;
pub(crate) const HEX: u8 = 64;

/// What each byte may be part of.
static KINDS: [u8; 256] = {
    let mut kinds = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        kinds[byte] = match byte as u8 {
            b'0'..=b'9' => BASE64 | SECRET | HEX_OR_POINT | NUMERAL | HEX,
            b'A'..=b'F' | b'a'..=b'f' => BASE64 | SECRET | HEX_OR_POINT | LETTER | HEX,
            b'G'..=b'Z' | b'g'..=b'z' => BASE64 | SECRET | LETTER,
            b'-' | b'/' => BASE64 | SECRET | MARK,
            b'+' => BASE64 | SECRET | MARK,
            b'_' | b'=' => BASE64 | SECRET,
            b'.' => SECRET | HEX_OR_POINT | MARK,
            b'~' => SECRET,
            // A space that does not break is two bytes.
            b' ' | b'(' | b')' | 0xc2 | 0xa0 => MARK,
            _ => 0,
        };
        byte += 1;
    }
    kinds
};

/// Whether a byte is of one of these kinds.
pub(crate) fn is(byte: u8, kinds: u8) -> bool {
    KINDS[usize::from(byte)] & kinds != 0
}

/// Where so many bytes of a kind stand in a row first, and where that row begins. Looks at few of the others.
pub(crate) fn find_row(bytes: &[u8], kind: u8, length: usize) -> Option<usize> {
    let mut start = 0;
    while let Some(window) = bytes.get(start..start + length) {
        match window.iter().rposition(|byte| !is(*byte, kind)) {
            None => return Some(start),
            Some(other) => start += other + 1,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_where_they_begin() {
        for (text, expected) in [
            ("", None),
            ("abcd", Some(0)),
            ("abc", None),
            ("abc d", None),
            ("a bcd efgh", Some(6)),
            ("a b c defgh", Some(6)),
            ("    abcd ", Some(4)),
        ] {
            assert_eq!(find_row(text.as_bytes(), LETTER, 4), expected, "{text:?}");
        }
    }

    #[test]
    fn a_text_ends_at_its_quote() {
        let (signs, length) = Signs::before_stop(b"a-1:2\"@").unwrap();
        assert_eq!((length, signs.digits()), (5, 2));
        assert!(signs.has(DASH) && signs.has(COLON) && !signs.has(AT | SLASH));
        assert_eq!(Signs::before_stop(b"abc"), None);
    }
}
