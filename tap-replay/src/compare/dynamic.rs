//! Values that are new with every answer: timestamps, UUIDs, digests, tokens. Where both sides hold one of the
//! same class, their difference tells nothing.

use serde::Deserialize;

/// A class of values. The words are those of the settings and the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// RFC 3339 with a time of day, an HTTP date, seconds to nanoseconds since 1970 as a number.
    Timestamp,
    Uuid,
    /// Hexadecimal digits, 16 at least, as many on both sides.
    Digest,
    /// A JSON Web Token, or 20 characters and more that are no words.
    Token,
    /// Numbers that rise from answer to answer on both sides. Seen over many answers, not in one.
    Counter,
}

/// Which classes are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Classes(u8);

/// Years 2001 and 2100, in seconds.
const EPOCH_SECONDS: std::ops::RangeInclusive<i64> = 978_307_200..=4_102_444_800;

impl Class {
    pub(crate) const COUNT: usize = 5;
    pub(crate) const ALL: [Self; Self::COUNT] =
        [Self::Timestamp, Self::Uuid, Self::Digest, Self::Token, Self::Counter];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Timestamp => "timestamp",
            Self::Uuid => "uuid",
            Self::Digest => "digest",
            Self::Token => "token",
            Self::Counter => "counter",
        }
    }

    /// The class of a text by its looks.
    pub(super) fn of(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        // The shortest of them is a digest of 16 digits; the longest, a token, is seldom more than a header.
        if !(16..=8_192).contains(&bytes.len()) || !bytes.iter().any(u8::is_ascii_digit) {
            return None;
        }
        if is_uuid(bytes) {
            Some(Self::Uuid)
        } else if is_rfc3339(bytes) || is_http_date(bytes) {
            Some(Self::Timestamp)
        } else if bytes.iter().all(u8::is_ascii_hexdigit) && bytes.iter().any(u8::is_ascii_alphabetic) {
            Some(Self::Digest)
        } else if is_token(bytes) {
            Some(Self::Token)
        } else {
            None
        }
    }
}

impl Classes {
    pub(crate) fn all() -> Self {
        Self::of(&Class::ALL)
    }

    pub(crate) fn of(classes: &[Class]) -> Self {
        Self(classes.iter().fold(0, |bits, class| bits | 1 << *class as u8))
    }

    pub(crate) fn contains(self, class: Class) -> bool {
        self.0 & 1 << class as u8 != 0
    }

    /// The class that both texts are of.
    pub(super) fn common(self, left: &str, right: &str) -> Option<Class> {
        if self.0 == 0 {
            return None;
        }
        let class = Class::of(left).filter(|class| self.contains(*class))?;
        let same = match class {
            Class::Digest => left.len() == right.len() && Class::of(right) == Some(class),
            // A value of one alphabet may look like a digest or a UUID by chance.
            Class::Token => {
                matches!(Class::of(right), Some(Class::Token))
                    && left.len().abs_diff(right.len()) * 2 <= left.len()
            }
            _ => Class::of(right) == Some(class),
        };
        same.then_some(class)
    }

    /// Whether both numbers are times since 1970, of one unit.
    pub(super) fn are_times(self, left: i64, right: i64) -> bool {
        self.contains(Class::Timestamp)
            && [1, 1_000, 1_000_000, 1_000_000_000]
                .iter()
                .any(|unit| EPOCH_SECONDS.contains(&(left / unit)) && EPOCH_SECONDS.contains(&(right / unit)))
    }
}

fn is_uuid(bytes: &[u8]) -> bool {
    bytes.len() == 36
        && bytes.iter().enumerate().all(|(place, byte)| match place {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// "2026-11-21T14:05…", or with a space: to the minute at least. A date alone may be what the answer is about.
fn is_rfc3339(bytes: &[u8]) -> bool {
    const SHAPE: &[u8; 16] = b"dddd-dd-ddTdd:dd";
    bytes.len() <= 40
        && bytes.len() >= SHAPE.len()
        && SHAPE.iter().zip(bytes).all(|(shape, byte)| match shape {
            b'd' => byte.is_ascii_digit(),
            b'T' => matches!(byte, b'T' | b't' | b' '),
            _ => byte == shape,
        })
        && bytes[SHAPE.len()..].iter().all(|byte| byte.is_ascii_digit() || b":.,+-Zz ".contains(byte))
}

/// "Sat, 21 Nov 2026 14:05:00 GMT", also with hyphens, as cookies have it.
fn is_http_date(bytes: &[u8]) -> bool {
    bytes.len() == 29
        && bytes[3] == b','
        && bytes.ends_with(b" GMT")
        && bytes[19] == b':'
        && bytes[22] == b':'
}

/// Characters of a token alone, of several kinds, mixed as words and numbers are not.
fn is_token(bytes: &[u8]) -> bool {
    if bytes.len() < 20
        || !bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~+/=:".contains(byte))
    {
        return false;
    }
    if bytes.starts_with(b"eyJ") && bytes.iter().filter(|byte| **byte == b'.').count() == 2 {
        return true;
    }
    // Letters and digits change places often in a token: "dGhpc2lz9fT0", and seldom in "version-2-of-the-page".
    let kind = |byte: u8| match byte {
        b'0'..=b'9' => 0,
        b'a'..=b'z' => 1,
        b'A'..=b'Z' => 2,
        _ => 3,
    };
    let changes = bytes
        .windows(2)
        .filter(|pair| kind(pair[0]) != kind(pair[1]) && kind(pair[0]) != 3 && kind(pair[1]) != 3)
        .count();
    let marks = bytes.iter().filter(|byte| kind(**byte) == 3).count();
    changes * 4 >= bytes.len() && marks * 5 <= bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_known_by_their_looks() {
        for (text, class) in [
            ("2026-11-21T14:05:00Z", Some(Class::Timestamp)),
            ("2026-11-21 14:05:00.123+01:00", Some(Class::Timestamp)),
            ("Sat, 21 Nov 2026 14:05:00 GMT", Some(Class::Timestamp)),
            ("019aa6b2-5b3e-7c41-9d0e-6f1a2b3c4d5e", Some(Class::Uuid)),
            ("d41d8cd98f00b204e9800998ecf8427e", Some(Class::Digest)),
            ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl", Some(Class::Token)),
            ("p3Xv9Kq2LmZ8tR4wYb6N", Some(Class::Token)),
            ("2026-11-21", None),
            ("4111111111111111", None),
            ("version-2-of-the-page-about-cats", None),
            ("https://shop.example/items/2", None),
            ("a sentence of 6 ordinary words", None),
            ("", None),
        ] {
            assert_eq!(Class::of(text), class, "{text}");
        }
    }

    #[test]
    fn both_sides_must_be_of_one_class() {
        let all = Classes::all();
        assert_eq!(all.common("2026-11-21T14:05:00Z", "2026-11-21T14:05:01Z"), Some(Class::Timestamp));
        assert_eq!(all.common("2026-11-21T14:05:00Z", "tomorrow"), None);
        assert_eq!(all.common("d41d8cd98f00b204", "d41d8cd98f00b2049"), None);
        assert_eq!(Classes::of(&[Class::Uuid]).common("2026-11-21T14:05:00Z", "2026-11-21T14:05:01Z"), None);
        assert!(all.are_times(1_763_733_900, 1_763_733_901));
        assert!(all.are_times(1_763_733_900_000, 1_763_733_901_111));
        assert!(!all.are_times(1_763_733_900, 1_763_733_901_111));
        assert!(!all.are_times(42, 43));
        assert!(!all.are_times(i64::MIN, i64::MAX));
    }
}
