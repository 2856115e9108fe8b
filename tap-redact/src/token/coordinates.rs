//! Tokens of coordinates: in the ocean around 0° 0′, where nobody lives, as precise as they were.

use super::{COORDINATES, MAX_DIGITS, digits::Stream, opaque};
use crate::key::Key;

/// Each number keeps its decimals; its degrees become 0. A pair that is a token is its own; a number alone may be a real
/// place on the meridian of Greenwich, and is not.
pub(super) fn token(key: &Key, value: &str) -> String {
    if value.len() > MAX_DIGITS
        || !value.bytes().all(|byte| byte.is_ascii_digit() || b"+-., ;".contains(&byte))
    {
        return opaque(key, value.as_bytes());
    }
    let is_number = |char: char| char.is_ascii_digit() || char == '.';
    let numbers = || value.split(|char| !is_number(char)).filter(|part| !part.is_empty());
    if numbers().count() > 1 && numbers().all(|number| number.starts_with("0.")) {
        return value.to_owned();
    }
    let mut out = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(start) = rest.find(is_number) {
        let length = rest[start..].find(|char| !is_number(char)).unwrap_or(rest.len() - start);
        let (marks, number) = (&rest[..start], &rest[start..start + length]);
        out.push_str(marks);
        // Each by itself: a latitude is the same alone and in a pair.
        let mut stream = Stream::new(key, COORDINATES, number.as_bytes());
        let decimals = number.split_once('.').map_or(0, |(_, decimals)| decimals.len());
        out.push('0');
        for place in 0..decimals {
            out.push(if place == 0 { '.' } else { char::from(stream.digit()) });
        }
        if decimals > 0 {
            // No zero at the end, which a program may drop.
            out.push(char::from(stream.between(b'1', b'9')));
        }
        rest = &rest[start + length..];
    }
    out.push_str(rest);
    out
}
