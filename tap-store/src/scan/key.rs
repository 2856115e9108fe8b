//! Where a row is in the order of a scan, in few bytes.

use std::cmp::Ordering;

use uuid::{Uuid, fmt::Hyphenated};

/// The order key of a row, and where the row is in its file.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) time: i64,
    pub(super) id: Id,
    pub(super) row: u32,
}

impl Key {
    pub(super) fn order(&self) -> (i64, &Id) {
        (self.time, &self.id)
    }
}

/// An id, ordered as its text is.
#[derive(Debug)]
pub(super) enum Id {
    /// Of the text that ids have.
    Uuid(Uuid),
    Other(Box<str>),
}

impl From<&str> for Id {
    fn from(text: &str) -> Self {
        let mut buffer = Uuid::encode_buffer();
        match Uuid::try_parse(text) {
            // One in capitals, or without hyphens, has another place in the order.
            Ok(uuid) if text == uuid.hyphenated().encode_lower(&mut buffer) => Self::Uuid(uuid),
            _ => Self::Other(text.into()),
        }
    }
}

impl Id {
    fn with_text<T>(&self, read: impl FnOnce(&str) -> T) -> T {
        match self {
            Self::Uuid(uuid) => read(uuid.hyphenated().encode_lower(&mut [0; Hyphenated::LENGTH])),
            Self::Other(text) => read(text),
        }
    }
}

impl Ord for Id {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Uuid(a), Self::Uuid(b)) => a.cmp(b),
            (a, b) => a.with_text(|a| b.with_text(|b| a.cmp(b))),
        }
    }
}

impl PartialOrd for Id {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Id {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Id {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_in_the_order_of_their_text() {
        let texts = [
            "",
            "00000001",
            "019b7c5e-0000-7000-8000-000000000000",
            "019B7C5E-0000-7000-8000-000000000000",
            "019b7c5e000070008000000000000000",
            "019b7c5e-0000-7000-8000-000000000001",
            "a19b7c5e-0000-7000-8000-000000000001",
            "a19b7c5e-0000-7000-8000-00000000000",
            "é",
            "\u{10ffff}",
        ];
        for a in texts {
            for b in texts {
                assert_eq!(Id::from(a).cmp(&Id::from(b)), a.cmp(b), "{a} {b}");
            }
        }
    }
}
