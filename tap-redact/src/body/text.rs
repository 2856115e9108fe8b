//! Text without a structure: what is labelled by a name (`password=…`, `token: …`), and what detectors find.

use std::{borrow::Cow, ops::Range};

use super::DropReason;
use crate::{
    policy::{Kind, Site, Verdict},
    session::{Change, Session},
    splice::Splice,
    trail::Trail,
};

/// Longest label, in bytes.
const MAX_LABEL_BYTES: usize = 64;

/// Redacts a text; `strict` leaves nothing of it, as it has no shape.
pub(super) fn redact<'i>(
    input: &'i str,
    truncated: bool,
    session: &mut Session<'_>,
    trail: &Trail<'_>,
    nesting: u8,
) -> Result<Cow<'i, [u8]>, DropReason> {
    let site = Site::new(Kind::Text, b"", *trail);
    match session.verdict(&site) {
        Verdict::Keep => return Ok(Cow::Borrowed(input.as_bytes())),
        Verdict::Shape => return Err(DropReason::Policy),
        Verdict::Replace(_, rule) => {
            session.note(&site, rule, crate::Action::Drop);
            return Err(DropReason::Policy);
        }
        Verdict::Search => {}
    }
    // The last word may have lost its end.
    let end = if truncated { input.rfind(char::is_whitespace).unwrap_or(0) } else { input.len() };
    let input = &input[..end];
    let labelled = labelled(input, session, trail);
    let text = labelled.as_deref().unwrap_or(input);
    match session.search(&site, text, nesting).or_else(|| labelled.clone()) {
        Some(redacted) => Ok(Cow::Owned(redacted.into_bytes())),
        None => Ok(Cow::Borrowed(input.as_bytes())),
    }
}

/// Replaces values that follow a label, up to the next white space, or within their quotes.
fn labelled(input: &str, session: &mut Session<'_>, trail: &Trail<'_>) -> Option<String> {
    let bytes = input.as_bytes();
    let mut splice = Splice::new(bytes);
    let mut done = 0;
    for mark in memchr::memchr2_iter(b'=', b':', bytes) {
        if mark < done {
            continue;
        }
        let Some(name) = label(input, done, mark) else { continue };
        let Some(value) = value(input, mark) else { continue };
        let site = Site::new(Kind::Field, name.as_bytes(), trail.name(name.as_bytes()));
        let verdict @ Verdict::Replace(..) = session.verdict(&site) else { continue };
        done = value.end;
        match session.treat(verdict, &site, &input[value.clone()], 0) {
            Change::None => {}
            Change::Text(new) => splice.replace(value, new.as_bytes()),
            Change::Gone => splice.replace(value, b""),
        }
    }
    splice.into_text()
}

/// The word before a mark, which may be in quotes.
fn label(input: &str, from: usize, mark: usize) -> Option<&str> {
    let bytes = input.as_bytes();
    let mut end = mark;
    while end > from && matches!(bytes[end - 1], b' ' | b'"' | b'\'') && mark - end < 2 {
        end -= 1;
    }
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.".contains(byte) || !byte.is_ascii();
    let length = bytes[from..end].iter().rev().take(MAX_LABEL_BYTES).take_while(|byte| is_word(byte)).count();
    let name = input.get(end - length..end)?;
    (!name.is_empty()).then_some(name)
}

/// The value after a mark.
fn value(input: &str, mark: usize) -> Option<Range<usize>> {
    let bytes = input.as_bytes();
    // `://` is no label's mark.
    if bytes[mark..].starts_with(b"://") {
        return None;
    }
    let spaces = bytes[mark + 1..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let start = mark + 1 + spaces;
    let quote = bytes.get(start).filter(|byte| matches!(byte, b'"' | b'\''));
    let range = match quote {
        Some(quote) => {
            let length = memchr::memchr(*quote, &bytes[start + 1..])?;
            start + 1..start + 1 + length
        }
        None => {
            let is_end = |byte: &u8| byte.is_ascii_whitespace() || b"&,;<>\"'".contains(byte);
            let rest = &bytes[start..];
            start..start + rest.iter().position(is_end).unwrap_or(rest.len())
        }
    };
    (!range.is_empty()).then_some(range)
}
