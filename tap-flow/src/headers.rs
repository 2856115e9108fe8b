//! Header and trailer fields of one message.
//!
//! A section is one buffer: an index of where each name and value is, and behind it the text. So a head costs one allocation,
//! however many fields it has. What is replaced or removed is overwritten: redaction leaves nothing of it behind.

use std::{fmt, ops::Range};

/// Header fields in the order of the wire.
#[derive(Clone, Default)]
pub struct Headers {
    /// Entries of the index, then the text in which they lie.
    buffer: Vec<u8>,
    count: usize,
}

/// One header field, as on the wire, without the white space around the value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    pub name: &'a [u8],
    pub value: &'a [u8],
}

/// What becomes of a field in [`Headers::rewrite`].
pub enum Rewrite {
    Keep,
    /// This is its value.
    Replace(Vec<u8>),
    Remove,
}

/// An entry of the index: where in the text name and value are. The text is limited to far less than 4 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) name_start: u32,
    pub(crate) name_length: u32,
    pub(crate) value_start: u32,
    pub(crate) value_length: u32,
}

/// Bytes of an entry.
const ENTRY: usize = size_of::<Place>();

impl Headers {
    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The field at this position.
    pub fn at(&self, index: usize) -> Option<Header<'_>> {
        (index < self.count).then(|| self.header(self.place(index)))
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = Header<'_>> + Clone {
        (0..self.count).map(|index| self.header(self.place(index)))
    }

    /// The values of every field of this name, whatever its case.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + 'a {
        self.iter()
            .filter(|header| header.name.eq_ignore_ascii_case(name.as_bytes()))
            .map(|header| header.value)
    }

    /// The value of the first field of this name.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|field| field.name.eq_ignore_ascii_case(name.as_bytes())).map(|field| field.value)
    }

    /// Adds a field at the end.
    pub fn push(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        let (name_start, name_length) = self.append(name.as_ref());
        let (value_start, value_length) = self.append(value.as_ref());
        let entry = Place { name_start, name_length, value_start, value_length }.to_bytes();
        // Places count from the start of the text, so that the index can grow before it.
        let end = self.count * ENTRY;
        self.buffer.splice(end..end, entry);
        self.count += 1;
    }

    /// Asks of each field what becomes of it.
    pub fn rewrite(&mut self, mut decide: impl FnMut(Header<'_>) -> Rewrite) {
        let mut index = 0;
        while index < self.count {
            let place = self.place(index);
            match decide(self.header(place)) {
                Rewrite::Keep => index += 1,
                Rewrite::Replace(new) => {
                    self.erase(place.value());
                    self.replace(index, place, &new);
                    index += 1;
                }
                Rewrite::Remove => {
                    self.erase(place.name());
                    self.erase(place.value());
                    self.buffer.drain(index * ENTRY..(index + 1) * ENTRY);
                    self.count -= 1;
                }
            }
        }
    }

    /// Of a section whose fields lie within `text`.
    pub(crate) fn of_section(text: &[u8], places: impl ExactSizeIterator<Item = Place>) -> Self {
        let count = places.len();
        let mut buffer = Vec::with_capacity(count * ENTRY + text.len());
        for place in places {
            buffer.extend_from_slice(&place.to_bytes());
        }
        buffer.extend_from_slice(text);
        Self { buffer, count }
    }

    fn place(&self, index: usize) -> Place {
        match self.buffer[index * ENTRY..].first_chunk() {
            Some(entry) => Place::from_bytes(entry),
            None => Place { name_start: 0, name_length: 0, value_start: 0, value_length: 0 },
        }
    }

    fn header(&self, place: Place) -> Header<'_> {
        let text = &self.buffer[self.count * ENTRY..];
        let part = |range: Range<usize>| text.get(range).unwrap_or_default();
        Header { name: part(place.name()), value: part(place.value()) }
    }

    /// Puts a value where the old one was, or at the end where that is too short.
    fn replace(&mut self, index: usize, mut place: Place, new: &[u8]) {
        if new.len() <= place.value().len() {
            let start = self.count * ENTRY + place.value().start;
            self.buffer[start..start + new.len()].copy_from_slice(new);
            place.value_length = new.len() as u32;
        } else {
            (place.value_start, place.value_length) = self.append(new);
        }
        self.buffer[index * ENTRY..(index + 1) * ENTRY].copy_from_slice(&place.to_bytes());
    }

    /// Puts bytes at the end of the text; returns their place. What would not fit is left out.
    fn append(&mut self, bytes: &[u8]) -> (u32, u32) {
        let start = self.buffer.len() - self.count * ENTRY;
        match (u32::try_from(start), u32::try_from(start + bytes.len())) {
            (Ok(start), Ok(end)) => {
                self.buffer.extend_from_slice(bytes);
                (start, end - start)
            }
            _ => (0, 0),
        }
    }

    fn erase(&mut self, part: Range<usize>) {
        let text = self.count * ENTRY;
        self.buffer[text + part.start..text + part.end].fill(0);
    }
}

impl Place {
    fn name(self) -> Range<usize> {
        self.name_start as usize..self.name_start as usize + self.name_length as usize
    }

    fn value(self) -> Range<usize> {
        self.value_start as usize..self.value_start as usize + self.value_length as usize
    }

    fn to_bytes(self) -> [u8; ENTRY] {
        let Self { name_start, name_length, value_start, value_length } = self;
        let words = [name_start, name_length, value_start, value_length].map(u128::from);
        (words[0] | words[1] << 32 | words[2] << 64 | words[3] << 96).to_le_bytes()
    }

    fn from_bytes(entry: &[u8; ENTRY]) -> Self {
        let word = u128::from_le_bytes(*entry);
        Self {
            name_start: word as u32,
            name_length: (word >> 32) as u32,
            value_start: (word >> 64) as u32,
            value_length: (word >> 96) as u32,
        }
    }
}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>> FromIterator<(N, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(fields: I) -> Self {
        let mut headers = Self::default();
        headers.extend(fields);
        headers
    }
}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>> Extend<(N, V)> for Headers {
    fn extend<I: IntoIterator<Item = (N, V)>>(&mut self, fields: I) {
        fields.into_iter().for_each(|(name, value)| self.push(name, value));
    }
}

impl PartialEq for Headers {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Headers {}

impl fmt::Debug for Header<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Header({} + {} bytes)", self.name.len(), self.value.len())
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Headers({})", self.len())
    }
}

impl fmt::Debug for Rewrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keep => f.write_str("Keep"),
            Self::Replace(new) => write!(f, "Replace({} bytes)", new.len()),
            Self::Remove => f.write_str("Remove"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fields(headers: &Headers) -> Vec<(&[u8], &[u8])> {
        headers.iter().map(|Header { name, value }| (name, value)).collect()
    }

    #[test]
    fn fields_are_found_by_name_in_any_case() {
        let headers: Headers = [("Via", "a"), ("Host", "shop"), ("VIA", "b")].into_iter().collect();
        assert_eq!(headers.get("host"), Some(&b"shop"[..]));
        assert_eq!(headers.all("via").collect::<Vec<_>>(), [b"a", b"b"]);
        assert_eq!(headers.get("age"), None);
        assert_eq!((headers.len(), headers.at(3)), (3, None));
    }

    #[test]
    fn what_is_replaced_or_removed_is_nowhere_any_more() {
        let mut headers: Headers =
            [("A", "secret-1"), ("B", "secret-2"), ("C", "secret-3"), ("D", "kept")].into_iter().collect();
        headers.rewrite(|header| match header.name {
            b"A" => Rewrite::Replace(b"x".to_vec()),
            b"B" => Rewrite::Replace(b"longer than it was".to_vec()),
            b"C" => Rewrite::Remove,
            _ => Rewrite::Keep,
        });
        assert_eq!(
            fields(&headers),
            [(&b"A"[..], &b"x"[..]), (b"B", b"longer than it was"), (b"D", b"kept")]
        );
        assert!(!headers.buffer.windows(6).any(|part| part == b"secret"));
        assert_eq!(format!("{headers:?}, {:?}", headers.at(0).unwrap()), "Headers(3), Header(1 + 1 bytes)");
    }

    #[test]
    fn headers_are_equal_by_their_fields_alone() {
        let mut rewritten: Headers = [("A", "1"), ("B", "2")].into_iter().collect();
        rewritten.rewrite(|header| match header.name {
            b"A" => Rewrite::Remove,
            _ => Rewrite::Replace(b"three".to_vec()),
        });
        assert_eq!(rewritten, [("B", "three")].into_iter().collect());
    }

    proptest! {
        #[test]
        fn rewriting_is_as_in_a_list(
            before in prop::collection::vec((".{0,8}", ".{0,8}", 0..3_u8, ".{0,16}"), 0..12),
        ) {
            let mut headers: Headers = before.iter().map(|(name, value, ..)| (name, value)).collect();
            let mut decisions = before.iter();
            headers.rewrite(|_| match decisions.next() {
                Some((_, _, 1, new)) => Rewrite::Replace(new.clone().into_bytes()),
                Some((_, _, 2, _)) => Rewrite::Remove,
                _ => Rewrite::Keep,
            });
            let expected: Headers = before
                .iter()
                .filter(|(_, _, decision, _)| *decision != 2)
                .map(|(name, value, decision, new)| (name, if *decision == 1 { new } else { value }))
                .collect();
            prop_assert_eq!(headers, expected);
        }
    }
}
