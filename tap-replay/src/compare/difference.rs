//! What two responses differ in, and what was not held against them.

use super::dynamic::Class;

/// Fields named for one answer. One that differs in more says so in a field "body" of kind [`Kind::More`].
const MAX_FIELDS: usize = 64;
/// Longest field and value shown, in bytes.
const MAX_FIELD_BYTES: usize = 200;
const MAX_VALUE_BYTES: usize = 160;

/// One field in which an answer differs.
#[derive(Clone, PartialEq)]
pub struct Difference {
    /// "status", "header.location", "body", "body.$.items[].price".
    pub field: String,
    pub kind: Kind,
    /// Both cut; hostile, as everything that comes from traffic.
    pub expected: String,
    pub answered: String,
    /// Both values, where they are numbers.
    pub(super) numbers: Option<(f64, f64)>,
}

/// How a field differs. The words are part of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Value,
    Type,
    /// Expected, and not there.
    Missing,
    /// There, and not expected.
    Added,
    /// The elements of an array are in another order.
    Order,
    /// Lines of a text.
    Text,
    /// Bytes that are no text.
    Binary,
    /// Too large to be looked at; the lengths or some bytes differ.
    Length,
    /// More differences than are listed.
    More,
}

/// The differences of one answer, each field once.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Differences {
    pub(super) list: Vec<Difference>,
    /// Values of one class on both sides, by class.
    pub(super) dynamic: [u32; Class::COUNT],
    /// Redacted values for which the answer has another.
    pub(super) redacted: u32,
}

impl Kind {
    pub(crate) const ALL: [Self; 9] = [
        Self::Value,
        Self::Type,
        Self::Missing,
        Self::Added,
        Self::Order,
        Self::Text,
        Self::Binary,
        Self::Length,
        Self::More,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Value => "value",
            Self::Type => "type",
            Self::Missing => "missing",
            Self::Added => "added",
            Self::Order => "order",
            Self::Text => "text",
            Self::Binary => "binary",
            Self::Length => "length",
            Self::More => "more",
        }
    }
}

impl std::fmt::Debug for Difference {
    /// Without the values.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Difference")
            .field("field", &self.field)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl Differences {
    pub(super) fn add(&mut self, field: &str, kind: Kind, expected: &str, answered: &str) {
        self.add_numbers(field, kind, expected, answered, None);
    }

    pub(super) fn add_numbers(
        &mut self,
        field: &str,
        kind: Kind,
        expected: &str,
        answered: &str,
        numbers: Option<(f64, f64)>,
    ) {
        let field = cut(field, MAX_FIELD_BYTES);
        if self.list.iter().any(|known| known.field == field) {
            return;
        }
        let difference = if self.list.len() < MAX_FIELDS {
            let expected = cut(expected, MAX_VALUE_BYTES);
            Difference { field, kind, expected, answered: cut(answered, MAX_VALUE_BYTES), numbers }
        } else if self.list.len() == MAX_FIELDS {
            let none = String::new;
            Difference {
                field: "body".into(),
                kind: Kind::More,
                expected: none(),
                answered: none(),
                numbers: None,
            }
        } else {
            return;
        };
        self.list.push(difference);
    }

    /// A value of one class on both sides.
    pub(super) fn dynamic(&mut self, class: Class) {
        self.dynamic[class as usize] = self.dynamic[class as usize].saturating_add(1);
    }

    /// Whether there is room for further fields.
    pub(super) fn is_full(&self) -> bool {
        self.list.len() > MAX_FIELDS
    }
}

fn cut(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(limit)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_counts_once_and_their_number_and_length_are_bounded() {
        let mut differences = Differences::default();
        for index in 0..1_000 {
            differences.add(&format!("body.$.f{}", index / 2), Kind::Value, &"é".repeat(1_000), "b");
        }
        differences.add(&"é".repeat(1_000), Kind::Value, "", "");
        assert_eq!(differences.list.len(), MAX_FIELDS + 1);
        assert_eq!(differences.list.last().unwrap().kind, Kind::More);
        assert!(differences.list[0].expected.len() <= MAX_VALUE_BYTES + '…'.len_utf8());
    }

    #[test]
    fn values_are_not_in_debug_output() {
        let mut differences = Differences::default();
        differences.add("body", Kind::Value, "s3cret", "s3cret");
        assert!(!format!("{differences:?}").contains("s3cret"));
    }
}
