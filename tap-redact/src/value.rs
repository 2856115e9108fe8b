//! What a text may hold beneath its surface: JSON, markup, URLs, pairs, GraphQL, percent-encoding, base64.
//!
//! Each level that is opened costs one of the nesting that its walker was given, so that the work is linear in the
//! text. Where the nesting is used up and there is still something to open, the whole is replaced: what is not
//! looked into does not pass.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use crate::{
    body::{graphql, markup},
    encoded::{self, Variant},
    json,
    pairs::{self, encode},
    policy::{RuleName, Site},
    session::Session,
    settings::Action,
    signs::{self, BASE64, BRACKET, COLON, ENCODED, SLASH, Signs},
    splice::Splice,
    token,
    url::{self, Hosts},
};

/// How many levels are opened below the one that a message shows.
pub(crate) const NESTING: u8 = 4;

/// Shortest base64 that is opened: nine bytes, the shortest e-mail address with a domain.
const MIN_BASE64_BYTES: usize = 12;

/// Base64 of this length which is no text is a file: it goes the way of bodies that can't be read.
const BINARY_BYTES: usize = 2048;

/// What was found beneath the surface.
pub(crate) enum Within {
    /// It was gone through; what takes its place, if anything does.
    Searched(Option<String>),
    /// It is a text as it stands.
    Text,
}

/// Goes through what a text holds.
pub(crate) fn within(session: &mut Session<'_>, site: &Site<'_>, text: &str, nesting: u8) -> Within {
    let trimmed = text.trim_ascii();
    match trimmed.as_bytes().first() {
        Some(b'{' | b'[') if trimmed.len() > 2 && trimmed.ends_with(['}', ']']) => {
            if let Some(searched) = structure(session, site, text, nesting) {
                return Within::Searched(searched);
            }
        }
        Some(b'<') if trimmed.ends_with('>') && nesting > 0 => {
            let redacted = markup::redact(text, false, session, &site.trail, nesting - 1);
            return match redacted {
                Ok(Cow::Owned(redacted)) => Within::Searched(Some(lossy(redacted))),
                Ok(Cow::Borrowed(_)) => Within::Searched(None),
                Err(_) => Within::Searched(Some(whole(session, site, text))),
            };
        }
        _ => {}
    }
    if graphql::is_document(site.name, trimmed)
        && let Some(redacted) = graphql::redact(text, session, &site.trail)
    {
        // What stands beside its literals is text.
        let again = session.parts(site, &redacted);
        return Within::Searched(Some(again.unwrap_or(redacted)));
    }
    match runs(session, site, text, nesting) {
        Some(redacted) => {
            let again = session.parts(site, &redacted);
            Within::Searched(Some(again.unwrap_or(redacted)))
        }
        None => Within::Text,
    }
}

/// Whether a text holds nothing beneath its surface, for sure. One pass; most texts are.
pub(crate) fn is_flat(bytes: &[u8], signs: Signs) -> bool {
    if signs.has(ENCODED) {
        return false;
    }
    if signs.has(BRACKET)
        && (matches!(bytes.trim_ascii_start().first(), Some(b'{' | b'[' | b'<')) || bytes.ends_with(b"}"))
    {
        return false;
    }
    let may_be_url = signs.has(SLASH) && signs.has(COLON);
    if !may_be_url && signs::find_row(bytes, BASE64, MIN_BASE64_BYTES).is_none() {
        return true;
    }
    let mut start = 0;
    while start < bytes.len() {
        let (end, signs) = run_end(bytes, start);
        if may_be_encoded(&bytes[start..end], signs) {
            return false;
        }
        start = end + 1;
    }
    true
}

/// The end of the run that begins at `start`, and what its bytes say.
fn run_end(bytes: &[u8], start: usize) -> (usize, u8) {
    let mut signs = 0;
    let mut end = start;
    while let Some(byte) = bytes.get(end) {
        let class = CLASSES[usize::from(*byte)];
        if class & END != 0 {
            break;
        }
        signs |= class;
        end += 1;
    }
    (end, signs)
}

/// Whether a run may be a URL, pairs, or encoded.
fn may_be_encoded(run: &[u8], signs: u8) -> bool {
    if signs & (PERCENT | EQUALS) != 0 {
        return true;
    }
    if run.len() < MIN_BASE64_BYTES {
        return false;
    }
    if signs & OTHER != 0 {
        return signs & RUN_SLASH != 0 && url::find(run, b"://").is_some();
    }
    run.len() >= BINARY_BYTES || encoded::may_be_text(run)
}

/// JSON in a text; `None` where it is none.
fn structure(session: &mut Session<'_>, site: &Site<'_>, text: &str, nesting: u8) -> Option<Option<String>> {
    if nesting == 0 {
        return text.contains('"').then(|| Some(whole(session, site, text)));
    }
    // What is recorded of a document that turns out to be none does not count.
    let record = std::mem::take(&mut session.record);
    let redacted = json::redact(text, false, session, &site.trail, site.json, nesting - 1);
    let inner = std::mem::replace(&mut session.record, record);
    match redacted {
        Ok(redacted) => {
            session.record.append(inner);
            Some(match redacted {
                Cow::Borrowed(_) => None,
                Cow::Owned(redacted) => Some(lossy(redacted)),
            })
        }
        Err(crate::DropReason::TooDeep) => Some(Some(whole(session, site, text))),
        Err(_) => None,
    }
}

/// Replaces a text that can't be gone through.
fn whole(session: &mut Session<'_>, site: &Site<'_>, text: &str) -> String {
    session.note(site, RuleName { kind: "body", name: "too_deep" }, Action::Token);
    token::opaque(session.key(), text.as_bytes())
}

/// Goes through the runs of a text that white space, quotes and brackets part: URLs, pairs, and what is encoded.
fn runs(session: &mut Session<'_>, site: &Site<'_>, text: &str, nesting: u8) -> Option<String> {
    if nesting == 0 {
        return None;
    }
    let bytes = text.as_bytes();
    let mut splice = Splice::new(bytes);
    let mut start = 0;
    while start < bytes.len() {
        let (end, signs) = run_end(bytes, start);
        if may_be_encoded(&bytes[start..end], signs)
            && let Some(redacted) = run(session, site, &text[start..end], signs, nesting - 1)
        {
            splice.replace(start..end, redacted.as_bytes());
        }
        start = end + 1;
    }
    splice.into_text()
}

/// One run.
fn run(session: &mut Session<'_>, site: &Site<'_>, run: &str, signs: u8, nesting: u8) -> Option<String> {
    let bytes = run.as_bytes();
    let is_url = signs & RUN_SLASH != 0
        && (url::find(bytes, b"://").is_some() || (bytes[0] == b'/' && signs & (EQUALS | PERCENT) != 0));
    if is_url {
        return match url::redact(bytes, session, &site.trail, Hosts::Searched, nesting) {
            Cow::Owned(redacted) => Some(lossy(redacted)),
            Cow::Borrowed(_) => None,
        };
    }
    if signs & EQUALS != 0
        && pairs::is_pairs(bytes)
        && let Cow::Owned(redacted) = pairs::redact(bytes, session, &site.trail, pairs::Of::Fields, nesting)
    {
        return Some(lossy(redacted));
    }
    if signs & PERCENT != 0
        && let Ok(decoded) = percent_decode_str(run).decode_utf8()
        && decoded != run
        && let Some(redacted) = session.search(site, &decoded, nesting)
    {
        let mut encoded = Vec::with_capacity(redacted.len());
        encode(&mut encoded, &redacted);
        return Some(lossy(encoded));
    }
    if run.len() >= MIN_BASE64_BYTES && signs & OTHER == 0 {
        return in_base64(session, site, run, nesting);
    }
    None
}

fn in_base64(session: &mut Session<'_>, site: &Site<'_>, run: &str, nesting: u8) -> Option<String> {
    // `key=value`: the value alone may be encoded.
    let unpadded = run.trim_end_matches('=');
    let name = unpadded.find('=').map_or(0, |equals| equals + 1);
    let (name, text) = run.split_at(name);
    if text.len() < MIN_BASE64_BYTES {
        return None;
    }
    let variant = Variant::of(text);
    let is_file = text.len() >= BINARY_BYTES && session.drops_opaque();
    if !is_file && !encoded::may_be_text(text.as_bytes()) {
        return None;
    }
    match String::from_utf8(encoded::decode(text.as_bytes(), variant)?) {
        Ok(decoded) => {
            let redacted = session.search(site, &decoded, nesting)?;
            Some(format!("{name}{}", encoded::encode(redacted.as_bytes(), variant)))
        }
        Err(_) if is_file => {
            session.note(site, RuleName { kind: "body", name: "opaque" }, Action::Token);
            Some(format!("{name}{}", token::opaque(session.key(), text.as_bytes())))
        }
        Err(_) => None,
    }
}

fn lossy(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// Ends a run.
const END: u8 = 1;
const PERCENT: u8 = 2;
const EQUALS: u8 = 4;
const RUN_SLASH: u8 = 8;
/// In no alphabet of base64.
const OTHER: u8 = 16;

/// What each byte says about the run that it is in.
const CLASSES: [u8; 256] = {
    let mut classes = [OTHER; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            b' ' | b'\t' | b'\n' | b'\r' | b'"' | b'\'' | b'<' | b'>' | b'(' | b')' | b',' | b';' | b'`'
            | b'|' => END,
            b'%' => PERCENT | OTHER,
            b'=' => EQUALS,
            b'/' => RUN_SLASH,
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'+' | b'-' | b'_' => 0,
            _ => OTHER,
        };
        byte += 1;
    }
    classes
};
