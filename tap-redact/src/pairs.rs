//! `name=value` pairs: queries, forms, cookies.
//!
//! Names are percent-decoded before they are compared and values before they are looked into; everything else is
//! copied as it came.

use std::borrow::Cow;

use percent_encoding::percent_decode;

use crate::{
    policy::{Kind, Site, Verdict},
    session::{Change, Session},
    splice::Splice,
    trail::Trail,
};

/// What pairs are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    Query,
    /// Of a form, or of a text that looks like one.
    Fields,
}

/// Redacts the pairs of a query or a form. `plus` is a space in names and values.
///
/// Pairs end at `&`. Some servers also end them at `;`: a value that is replaced goes on to the `&`, and the rest of
/// another one is looked at again past a `;`.
pub(crate) fn redact<'i>(
    input: &'i [u8],
    session: &mut Session<'_>,
    trail: &Trail<'_>,
    of: Of,
    nesting: u8,
) -> Cow<'i, [u8]> {
    let kind = match of {
        Of::Query => Kind::Query,
        Of::Fields => Kind::Field,
    };
    let mut splice = Splice::new(input);
    let mut start = 0;
    for pair in input.split(|byte| *byte == b'&') {
        let pair_end = start + pair.len();
        let mut part = start;
        while part < pair_end {
            let rest = &input[part..pair_end];
            let end = rest.iter().position(|byte| *byte == b';').unwrap_or(rest.len());
            let equals = rest[..end].iter().position(|byte| *byte == b'=');
            let name = decode(&rest[..equals.unwrap_or(0)]);
            let below = trail.name(&name);
            let trail = if equals.is_some() { below } else { *trail };
            let site = Site::new(if equals.is_some() { kind } else { Kind::Text }, &name, trail);
            let verdict = session.verdict(&site);
            let value_start = part + equals.map_or(0, |equals| equals + 1);
            let value_end = match verdict {
                Verdict::Keep | Verdict::Search => part + end,
                Verdict::Replace(..) | Verdict::Shape => pair_end,
            };
            let value = decode(&input[value_start..value_end]);
            match session.treat(verdict, &site, &String::from_utf8_lossy(&value), nesting) {
                Change::None => {}
                Change::Text(new) => {
                    let mut encoded = Vec::with_capacity(new.len() + 8);
                    encode(&mut encoded, &new);
                    splice.replace(value_start..value_end, &encoded);
                }
                // With the `&` before it, or the one after it where it is the first.
                Change::Gone if part == 0 => splice.replace(0..(value_end + 1).min(input.len()), b""),
                Change::Gone => splice.replace(part - 1..value_end, b""),
            }
            part = value_end + 1;
        }
        start = pair_end + 1;
    }
    splice.finish(input.len())
}

/// Redacts one cookie, and appends it; nothing where it is dropped. A pair without a name is all value.
pub(crate) fn cookie(pair: &[u8], session: &mut Session<'_>, trail: &Trail<'_>, output: &mut Vec<u8>) {
    let (name, value) = match pair.iter().position(|byte| *byte == b'=') {
        Some(equals) => pair.split_at(equals + 1),
        None => (&[][..], pair),
    };
    let bare_name = name.strip_suffix(b"=").unwrap_or(name);
    let quoted = value.len() >= 2 && value.starts_with(b"\"") && value.ends_with(b"\"");
    let bare = if quoted { &value[1..value.len() - 1] } else { value };
    let decoded: Cow<'_, [u8]> = percent_decode(bare).into();
    let site = Site::new(Kind::Cookie, bare_name, trail.name(bare_name));
    match session.value(&site, &String::from_utf8_lossy(&decoded), crate::value::NESTING) {
        Change::None => output.extend_from_slice(pair),
        Change::Gone => {}
        Change::Text(new) => {
            let quote: &[u8] = if quoted { b"\"" } else { b"" };
            output.extend_from_slice(name);
            output.extend_from_slice(quote);
            encode(output, &new);
            output.extend_from_slice(quote);
        }
    }
}

/// Whether a text without white space is pairs: names of usual characters, each before a `=`.
pub(crate) fn is_pairs(text: &[u8]) -> bool {
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.[]%+$:*".contains(byte);
    let mut pairs = text.split(|byte| *byte == b'&').peekable();
    pairs.peek().is_some_and(|first| !first.is_empty())
        && pairs.all(|pair| {
            pair.is_empty()
                || pair
                    .iter()
                    .position(|byte| *byte == b'=')
                    .is_some_and(|equals| equals > 0 && pair[..equals].iter().all(is_name))
        })
}

/// Percent-decoded, with `+` for a space.
pub(crate) fn decode(encoded: &[u8]) -> Cow<'_, [u8]> {
    if !encoded.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        return Cow::Borrowed(encoded);
    }
    let spaced: Vec<u8> = encoded.iter().map(|&byte| if byte == b'+' { b' ' } else { byte }).collect();
    Cow::Owned(percent_decode(&spaced).collect())
}

/// A text with everything encoded that means something in a query, a form or a cookie.
pub(crate) fn encode(output: &mut Vec<u8>, text: &str) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~*".contains(&byte) {
            output.push(byte);
        } else {
            output.push(b'%');
            output.push(DIGITS[usize::from(byte >> 4)]);
            output.push(DIGITS[usize::from(byte & 15)]);
        }
    }
}
