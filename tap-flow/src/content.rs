//! A body while it arrives: keeps a prefix, counts the rest, and knows its holes.

use bytes::Bytes;

use crate::{
    content_coding::{self, Decoded, Input},
    exchange::{Body, Cause},
    headers::Headers,
    limits::Limits,
};

/// Collects one body, transfer coding removed.
#[derive(Debug, Default)]
pub(crate) struct Content {
    kept: Vec<u8>,
    cap: usize,
    size: u64,
    gap: Option<Gap>,
}

/// Bytes of a body that were never seen: all that are missing, at the offset of the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

/// A finished body, and what is known of its completeness.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) body: Body,
    pub(crate) gap: Option<Gap>,
    /// The bytes that were seen and not kept (0 where the number is not known), and why.
    pub(crate) capped: Option<(u64, Cause)>,
}

impl Content {
    pub(crate) fn new(cap: usize) -> Self {
        Self { cap, ..Self::default() }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        // What follows a hole would stand at the wrong offset.
        if self.gap.is_none() && self.kept.len() < self.cap {
            let room = self.cap - self.kept.len();
            self.kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
        self.size += bytes.len() as u64;
    }

    /// Nothing of what follows is kept.
    pub(crate) fn is_full(&self) -> bool {
        self.gap.is_some() || self.kept.len() >= self.cap
    }

    /// Notes bytes that were never seen. Past the cap that is no gap: they would not have been kept.
    pub(crate) fn skip(&mut self, bytes: u64) {
        if self.gap.is_none() && self.kept.len() >= self.cap {
            self.size = self.size.saturating_add(bytes);
            return;
        }
        self.gap.get_or_insert(Gap { offset: self.size, bytes: 0 }).bytes += bytes;
        self.size = self.size.saturating_add(bytes);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.size == 0
    }

    pub(crate) fn kept_bytes(&self) -> usize {
        self.kept.len()
    }

    /// Removes the content codings; `ended` if the body came to its end.
    pub(crate) fn finish(self, headers: Option<&Headers>, ended: bool, limits: &Limits) -> Finished {
        let Self { kept, cap: _, size, gap } = self;
        let unkept = size - kept.len() as u64;
        let whole = ended && gap.is_none() && unkept == 0;
        let decoded = headers.filter(|_| !kept.is_empty()).and_then(|headers| {
            let input = if whole { Input::Whole } else { Input::Prefix };
            content_coding::decode(headers, &kept, input, limits)
        });
        let Some(Decoded { content, decoded_from, undecoded, capped }) = decoded else {
            let capped = (gap.is_none() && unkept > 0).then_some((unkept, Cause::BodyCap));
            let body = Body { content: Bytes::from(kept), size, ..Body::default() };
            return Finished { body, gap, capped };
        };
        let past_input = (gap.is_none() && unkept > 0).then_some((0, Cause::DecodeCap));
        let capped = capped.map(|cause| (0, cause)).or(past_input);
        Finished { body: Body { content, size, decoded_from, undecoded }, gap, capped }
    }
}
