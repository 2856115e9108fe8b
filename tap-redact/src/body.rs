//! Bodies: by what they are. What is not understood is dropped, never passed.

use std::borrow::Cow;

use bytes::Bytes;
use tap_flow::{Body, Cause, Completeness, Headers};

use crate::{
    json,
    pairs::{self, Of},
    policy::{Kind, Site, Verdict},
    session::Session,
    settings::UnsureBodies,
    trail::Trail,
    value::NESTING,
};

mod csv;
mod events;
pub(crate) mod graphql;
pub(crate) mod markup;
mod media;
mod multipart;
mod text;

use media::{Media, Type};

/// Why a body was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// Of a type that redaction does not read.
    Opaque,
    /// Under a content coding that could not be removed.
    Undecodable,
    /// Declared as a type whose syntax it does not have.
    Malformed,
    /// Nested deeper than is followed.
    TooDeep,
    /// Without its beginning, so that what it is can't be told.
    Incomplete,
    /// Without its end.
    Truncated,
    /// A rule says so, or the profile `strict` of a body without a shape.
    Policy,
}

impl DropReason {
    /// The stable word of the wire contract.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Opaque => "opaque",
            Self::Undecodable => "undecodable",
            Self::Malformed => "malformed",
            Self::TooDeep => "too_deep",
            Self::Incomplete => "incomplete",
            Self::Truncated => "truncated",
            Self::Policy => "policy",
        }
    }
}

/// Redacts the body of a message in place; why it was dropped, if it was. `known` is e.g. "request.body".
pub(crate) fn redact(
    body: &mut Body,
    headers: &Headers,
    completeness: &Completeness,
    session: &mut Session<'_>,
    known: &'static str,
) -> Option<DropReason> {
    if body.content.is_empty() {
        // Nothing was kept of it; where that is because it did not decode, say so.
        return (body.undecoded && body.size > 0).then_some(DropReason::Undecodable);
    }
    let outer = std::mem::take(&mut session.record);
    let kept = kept(body, headers, completeness, session, known);
    let inner = std::mem::replace(&mut session.record, outer);
    match kept {
        Ok(content) => {
            body.content = content;
            session.record.append(inner);
            None
        }
        Err(reason) => {
            body.content = Bytes::new();
            session.record.add("body", reason.as_str(), known.to_owned(), "drop");
            Some(reason)
        }
    }
}

/// What may pass of the body.
fn kept(
    body: &Body,
    headers: &Headers,
    completeness: &Completeness,
    session: &mut Session<'_>,
    known: &'static str,
) -> Result<Bytes, DropReason> {
    match session.body_verdict() {
        Some(Verdict::Keep) => return Ok(body.content.clone()),
        Some(Verdict::Replace(_, rule)) => {
            session.record.add(rule.kind, rule.name, known.to_owned(), "drop");
            return Err(DropReason::Policy);
        }
        Some(Verdict::Search | Verdict::Shape) | None => {}
    }
    if body.undecoded {
        return Err(DropReason::Undecodable);
    }
    let (content, truncated) = known_part(body, completeness)?;
    if truncated && session.strictest(|policy| policy.truncated) == UnsureBodies::Drop {
        return Err(DropReason::Truncated);
    }
    let trail = Trail::root(known);
    let kept = match of_type(&media::of(headers, &content)?, &content, truncated, session, &trail, NESTING)? {
        Cow::Borrowed(part) => content.slice_ref(part),
        Cow::Owned(redacted) => redacted.into(),
    };
    Ok(kept)
}

/// Redacts content of a type.
fn of_type<'c>(
    Type { media, boundary }: &Type,
    content: &'c [u8],
    truncated: bool,
    session: &mut Session<'_>,
    trail: &Trail<'_>,
    nesting: u8,
) -> Result<Cow<'c, [u8]>, DropReason> {
    if *media == Media::Opaque {
        return if session.drops_opaque() { Err(DropReason::Opaque) } else { Ok(Cow::Borrowed(content)) };
    }
    if *media == Media::Multipart {
        return multipart::redact(content, boundary, truncated, session, trail, nesting);
    }
    let content = valid_text(content, truncated)?;
    match media {
        Media::Json => json::redact(content, truncated, session, trail, None, nesting),
        Media::PerhapsJson => {
            let outer = std::mem::take(&mut session.record);
            let redacted = json::redact(content, truncated, session, trail, None, nesting);
            let inner = std::mem::replace(&mut session.record, outer);
            match redacted {
                Ok(redacted) => {
                    session.record.append(inner);
                    Ok(redacted)
                }
                Err(_) => text::redact(content, truncated, session, trail, nesting),
            }
        }
        Media::Form => Ok(form(content.as_bytes(), truncated, session, trail, nesting)),
        Media::Markup => markup::redact(content, truncated, session, trail, nesting),
        Media::Csv => csv::redact(content, truncated, session, trail, nesting),
        Media::Events => events::redact(content, truncated, session, trail, nesting),
        Media::GraphQl => {
            let site = Site::new(Kind::Text, b"", *trail);
            if truncated || session.verdict(&site) == Verdict::Shape {
                return Err(if truncated { DropReason::Truncated } else { DropReason::Policy });
            }
            let redacted = graphql::redact(content, session, trail);
            let text = redacted.as_deref().unwrap_or(content);
            match session.parts(&site, text).or_else(|| redacted.clone()) {
                Some(redacted) => Ok(Cow::Owned(redacted.into_bytes())),
                None => Ok(Cow::Borrowed(content.as_bytes())),
            }
        }
        Media::Text => text::redact(content, truncated, session, trail, nesting),
        Media::Opaque | Media::Multipart => Err(DropReason::Opaque),
    }
}

/// The content as text. A character that was cut in two is not kept; other bytes that are no UTF-8 are not text.
fn valid_text(content: &[u8], truncated: bool) -> Result<&str, DropReason> {
    match std::str::from_utf8(content) {
        Ok(text) => Ok(text),
        Err(error) if truncated && error.error_len().is_none() => {
            std::str::from_utf8(&content[..error.valid_up_to()]).map_err(|_| DropReason::Malformed)
        }
        Err(_) => Err(DropReason::Malformed),
    }
}

fn form<'c>(
    content: &'c [u8],
    truncated: bool,
    session: &mut Session<'_>,
    trail: &Trail<'_>,
    nesting: u8,
) -> Cow<'c, [u8]> {
    // The last pair may have lost its end: half an escape, half a name.
    let whole =
        if truncated { content.iter().rposition(|&byte| byte == b'&').unwrap_or(0) } else { content.len() };
    pairs::redact(&content[..whole], session, trail, Of::Fields, nesting)
}

/// The part of a body that begins at its beginning and has no hole, and whether more of it existed.
fn known_part(body: &Body, completeness: &Completeness) -> Result<(Bytes, bool), DropReason> {
    let content = &body.content;
    match *completeness {
        Completeness::Complete => Ok((content.clone(), false)),
        // Not framed as what it was declared to be.
        Completeness::Truncated { cause: Cause::AmbiguousFraming | Cause::Upgraded, .. } => {
            Err(DropReason::Malformed)
        }
        Completeness::Truncated { .. } => Ok((content.clone(), true)),
        // Where a coding was removed, the offset counts other bytes; 0 may be a hole in the head.
        Completeness::Gap { offset, .. } => {
            let hole = usize::try_from(offset).unwrap_or(usize::MAX);
            if hole == 0 || !body.decoded_from.is_empty() {
                return Err(DropReason::Incomplete);
            }
            Ok((content.slice(..hole.min(content.len())), true))
        }
        Completeness::JoinedMidstream => Err(DropReason::Incomplete),
    }
}
