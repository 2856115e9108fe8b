//! Geographic coordinates: pairs of decimal degrees, or one where a name says what it is.

use super::{Detector, Found, Text};

/// Four decimals are eleven metres: a house.
const MIN_PAIR_DECIMALS: usize = 4;

/// With a name before it, three are enough: a street.
const MIN_NAMED_DECIMALS: usize = 3;

const MAX_DECIMALS: usize = 18;

pub(super) const NAMES: &[&str] =
    &["lat", "latitude", "lng", "lon", "long", "longitude", "coordinates", "coords", "geo", "gps", "latlng"];

/// One number in degrees.
struct Degrees {
    /// With its sign.
    start: usize,
    end: usize,
    whole: u32,
    decimals: usize,
}

/// Coordinates that begin with the word of digits at `start`; where they end.
pub(super) fn find_at(text: &Text<'_>, start: usize, found: &mut Found) -> Option<usize> {
    if !found.wants(Detector::Geo) {
        return None;
    }
    let first = degrees(text, start)?;
    if text.before(first.start).is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'.') {
        return None;
    }
    let pair = pair(text, &first);
    let named = || {
        // Tokens have 0 degrees.
        first.decimals >= MIN_NAMED_DECIMALS
            && first.whole > 0
            && (text.context.names(NAMES)
                || text.context.has(
                    &text[first.start.saturating_sub(12)..first.start],
                    first.start.min(12),
                    NAMES,
                ))
    };
    let end = match pair {
        Some(second) => second,
        None if named() => first.end,
        None => return None,
    };
    found.push(Detector::Geo, first.start..end).then_some(end)
}

/// The end of a second coordinate that makes a place of the first one.
fn pair(text: &Text<'_>, first: &Degrees) -> Option<usize> {
    let separators = text.run(first.end, 3, |byte| matches!(byte, b',' | b' ' | b';'));
    let signed = first.end + separators;
    let start = signed + usize::from(matches!(text.byte(signed), Some(b'-' | b'+')));
    let second = degrees(text, start)?;
    let is_place = separators > 0
        && first.decimals >= MIN_PAIR_DECIMALS
        && second.decimals >= MIN_PAIR_DECIMALS
        && (first.whole <= 90 || second.whole <= 90)
        && (first.whole > 0 || second.whole > 0);
    // More of them are a vector or a table.
    let next = second.end + text.run(second.end, 2, |byte| matches!(byte, b',' | b' '));
    let listed =
        next > second.end && text.byte(next).is_some_and(|byte| byte.is_ascii_digit() || byte == b'-');
    let previous = text[..first.start].iter().rposition(|byte| !matches!(byte, b',' | b' '));
    let after_one = previous.is_some_and(|at| at + 1 < first.start && text[at].is_ascii_digit());
    (is_place && !listed && !after_one).then_some(second.end)
}

fn degrees(text: &Text<'_>, start: usize) -> Option<Degrees> {
    let whole_length = text.run(start, 4, |byte| byte.is_ascii_digit());
    if !(1..=3).contains(&whole_length) || text.byte(start + whole_length) != Some(b'.') {
        return None;
    }
    let decimals_at = start + whole_length + 1;
    let decimals = text.run(decimals_at, MAX_DECIMALS, |byte| byte.is_ascii_digit());
    let end = decimals_at + decimals;
    let whole =
        text[start..start + whole_length].iter().fold(0, |value, digit| value * 10 + u32::from(digit - b'0'));
    let goes_on = text.byte(end).is_some_and(|byte| byte.is_ascii_alphanumeric())
        || (text.byte(end) == Some(b'.') && text.byte(end + 1).is_some_and(|byte| byte.is_ascii_digit()));
    let signed = matches!(text.before(start), Some(b'-' | b'+'));
    (decimals > 0 && whole <= 180 && !goes_on).then_some(Degrees {
        start: start - usize::from(signed),
        end,
        whole,
        decimals,
    })
}
