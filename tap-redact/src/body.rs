//! Bodies: by what they are. What is not understood is dropped, never passed.

use std::borrow::Cow;

use bytes::Bytes;
use tap_flow::{Body, Cause, Completeness, Headers};

use crate::{
    json::{self, JsonScope},
    key::Key,
    names::Names,
    pairs::Scope,
    record::{Action, Record},
    settings::OpaqueBodies,
};

mod media;

use media::Media;

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
        }
    }
}

/// What a body is redacted with, and where it is.
pub(crate) struct BodyScope<'r> {
    pub(crate) key: &'r Key,
    pub(crate) fields: &'r Names,
    pub(crate) opaque_bodies: OpaqueBodies,
    pub(crate) record: &'r mut Record,
    /// "request.body" or "response.body".
    pub(crate) place: &'static str,
}

impl BodyScope<'_> {
    /// Redacts the body of a message in place; why it was dropped, if it was.
    pub(crate) fn redact(
        &mut self,
        body: &mut Body,
        headers: &Headers,
        completeness: &Completeness,
    ) -> Option<DropReason> {
        if body.content.is_empty() {
            // Nothing was kept of it; where that is because it did not decode, say so.
            return (body.undecoded && body.size > 0).then_some(DropReason::Undecodable);
        }
        let mut record = Record::default();
        match self.kept(body, headers, completeness, &mut record) {
            Ok(content) => {
                body.content = content;
                self.record.append(record);
                None
            }
            Err(reason) => {
                body.content = Bytes::new();
                self.record.add("body", reason.as_str(), self.place.to_owned(), Action::Drop);
                Some(reason)
            }
        }
    }

    /// What may pass of the body.
    fn kept(
        &self,
        body: &Body,
        headers: &Headers,
        completeness: &Completeness,
        record: &mut Record,
    ) -> Result<Bytes, DropReason> {
        if body.undecoded {
            return Err(DropReason::Undecodable);
        }
        let (content, truncated) = known_part(body, completeness)?;
        let media = media::of(headers, &content)?;
        let media = match media {
            Media::Opaque => {
                return match self.opaque_bodies {
                    OpaqueBodies::Keep => Ok(content),
                    OpaqueBodies::Drop => Err(DropReason::Opaque),
                };
            }
            media => media,
        };
        // A character that was cut in two is not kept; other bytes that are no UTF-8 are not text.
        let valid = match std::str::from_utf8(&content) {
            Ok(_) => content.len(),
            Err(error) if truncated && error.error_len().is_none() => error.valid_up_to(),
            Err(_) => return Err(DropReason::Malformed),
        };
        let content = content.slice(..valid);
        let redacted = match media {
            Media::Json => self.json(&content, truncated, record)?,
            Media::PerhapsJson => match self.json(&content, truncated, record) {
                Ok(redacted) => redacted,
                Err(_) => {
                    *record = Record::default();
                    return Ok(content);
                }
            },
            Media::Form => self.form(&content, truncated, record),
            Media::Text => return Ok(content),
            Media::Opaque => return Err(DropReason::Opaque),
        };
        Ok(match redacted {
            Cow::Borrowed(part) => content.slice_ref(part),
            Cow::Owned(redacted) => redacted.into(),
        })
    }

    fn json<'c>(
        &self,
        content: &'c [u8],
        truncated: bool,
        record: &mut Record,
    ) -> Result<Cow<'c, [u8]>, DropReason> {
        let mut scope = JsonScope { key: self.key, names: self.fields, record, place: self.place };
        json::redact(content, truncated, &mut scope)
    }

    fn form<'c>(&self, content: &'c [u8], truncated: bool, record: &mut Record) -> Cow<'c, [u8]> {
        // The last pair may have lost its end: half an escape, half a name.
        let whole = if truncated {
            content.iter().rposition(|&byte| byte == b'&').unwrap_or(0)
        } else {
            content.len()
        };
        Scope { key: self.key, names: self.fields, record, place: self.place }.query(&content[..whole])
    }
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
