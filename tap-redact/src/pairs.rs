//! `name=value` pairs: queries, forms, cookies.
//!
//! Names are percent-decoded before they are compared and values before they become tokens; everything else is
//! copied as it came.

use std::{borrow::Cow, fmt::Write as _};

use percent_encoding::percent_decode;

use crate::{
    key::Key,
    names::Names,
    record::{Action, Place, Record},
    token,
};

/// What pairs are redacted with, and where they are.
pub(crate) struct Scope<'r> {
    pub(crate) key: &'r Key,
    pub(crate) names: &'r Names,
    pub(crate) record: &'r mut Record,
    /// Of the whole, e.g. "request.query".
    pub(crate) place: &'r str,
}

impl Scope<'_> {
    /// Replaces the values of the named pairs of a query or a form. `plus` is a space in names and values.
    ///
    /// Pairs end at `&`. Some servers also end them at `;`: a named value goes on to the `&`, and the rest of
    /// another value is looked at again past a `;`.
    pub(crate) fn query<'i>(&mut self, input: &'i [u8]) -> Cow<'i, [u8]> {
        let mut output = Vec::new();
        let mut copied = 0;
        let mut start = 0;
        for pair in input.split(|&byte| byte == b'&') {
            let mut part = 0;
            while part < pair.len() {
                let rest = &pair[part..];
                let end = rest.iter().position(|&byte| byte == b';').unwrap_or(rest.len());
                let equals = rest[..end].iter().position(|&byte| byte == b'=');
                let named = equals.and_then(|equals| {
                    let name = decode(&rest[..equals]);
                    self.names.find(&name).map(|rule| (equals, name, rule))
                });
                if let Some((equals, name, rule)) = named
                    && equals + 1 < rest.len()
                {
                    output.extend_from_slice(&input[copied..start + part + equals + 1]);
                    encode(&mut output, &token::text(self.key, &decode(&rest[equals + 1..])));
                    copied = start + pair.len();
                    self.record.add("field", rule, Place::new(self.place).name(&name).build(), Action::Token);
                    break;
                }
                part += end + 1;
            }
            start += pair.len() + 1;
        }
        if copied == 0 && output.is_empty() {
            return Cow::Borrowed(input);
        }
        output.extend_from_slice(&input[copied..]);
        Cow::Owned(output)
    }

    /// Replaces the value of one pair, whatever its name: a cookie. A pair without a name is all value.
    pub(crate) fn cookie(&mut self, pair: &[u8], output: &mut Vec<u8>) {
        let (name, value) = match pair.iter().position(|&byte| byte == b'=') {
            Some(equals) => pair.split_at(equals + 1),
            None => (&[][..], pair),
        };
        output.extend_from_slice(name);
        let quoted = value.len() >= 2 && value.starts_with(b"\"") && value.ends_with(b"\"");
        let bare = if quoted { &value[1..value.len() - 1] } else { value };
        if bare.is_empty() {
            output.extend_from_slice(value);
            return;
        }
        let quote: &[u8] = if quoted { b"\"" } else { b"" };
        output.extend_from_slice(quote);
        let decoded: Cow<'_, [u8]> = percent_decode(bare).into();
        encode(output, &token::text(self.key, &decoded));
        output.extend_from_slice(quote);
        self.record.add(
            "header",
            "cookie",
            Place::new(self.place).name(name.strip_suffix(b"=").unwrap_or(name)).build(),
            Action::Token,
        );
    }
}

/// Percent-decoded, with `+` for a space.
pub(crate) fn decode(encoded: &[u8]) -> Cow<'_, [u8]> {
    if !encoded.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        return Cow::Borrowed(encoded);
    }
    let spaced: Vec<u8> = encoded.iter().map(|&byte| if byte == b'+' { b' ' } else { byte }).collect();
    Cow::Owned(percent_decode(&spaced).collect())
}

/// A token, which is ASCII, with everything encoded that means something in a query, a form or a cookie.
pub(crate) fn encode(output: &mut Vec<u8>, token: &str) {
    let mut encoded = String::with_capacity(token.len() + 8);
    for char in token.chars() {
        if char.is_ascii_alphanumeric() || matches!(char, '-' | '.' | '_' | '~') {
            encoded.push(char);
        } else {
            // Writing to a string does not fail.
            let _ = write!(encoded, "%{:02X}", u32::from(char));
        }
    }
    output.extend_from_slice(encoded.as_bytes());
}
