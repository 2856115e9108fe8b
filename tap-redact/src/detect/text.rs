//! A text as detectors see it: bytes, and where words begin.

use std::ops::Deref;

use super::Context;

/// A text with the context it stands in.
pub(crate) struct Text<'t> {
    text: &'t str,
    pub(super) context: Context<'t>,
}

impl<'t> Text<'t> {
    pub(super) fn new(text: &'t str, context: Context<'t>) -> Self {
        Self { text, context }
    }

    pub(super) fn byte(&self, at: usize) -> Option<u8> {
        self.text.as_bytes().get(at).copied()
    }

    pub(super) fn before(&self, at: usize) -> Option<u8> {
        at.checked_sub(1).and_then(|at| self.byte(at))
    }

    /// Whether what is between may stand for itself: it is no part of a longer word, and of no decimal fraction or
    /// dotted or dashed chain of digits.
    pub(super) fn stands_alone(&self, start: usize, end: usize) -> bool {
        self.may_start(start) && !joins(self.byte(end), self.byte(end + 1))
    }

    /// As [`Self::stands_alone`], of the beginning.
    pub(super) fn may_start(&self, start: usize) -> bool {
        let beyond = start.checked_sub(2).and_then(|at| self.byte(at));
        !joins(self.before(start), beyond)
    }

    /// How many bytes from here on are of a kind, at most `max`.
    pub(super) fn run(&self, at: usize, max: usize, of_kind: impl Fn(u8) -> bool) -> usize {
        let rest = self.text.as_bytes().get(at..).unwrap_or_default();
        rest.iter().take(max).take_while(|byte| of_kind(**byte)).count()
    }
}

/// Whether a mark, and the byte beyond it, go on with what is beside them.
fn joins(mark: Option<u8>, beyond: Option<u8>) -> bool {
    mark.is_some_and(|mark| mark.is_ascii_alphanumeric())
        || (matches!(mark, Some(b'.' | b'-')) && beyond.is_some_and(|byte| byte.is_ascii_digit()))
}

impl Deref for Text<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

/// Shortest secret that is told by its entropy, for which it needs a digit.
pub(super) const MIN_SECRET: usize = 16;
