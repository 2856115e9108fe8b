//! A text as detectors see it: bytes, their classes, and where words begin.

use std::ops::Deref;

use super::{Context, MIN_LITERAL_TEXT};

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

/// Which classes of bytes a text has.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Classes {
    marks: u8,
    digits: usize,
}

const AT: u8 = 1;
const COLON: u8 = 2;
const DIGIT: u8 = 4;

/// The classes of each byte.
static TABLE: [u8; 256] = {
    let mut table = [0; 256];
    table[b'@' as usize] = AT;
    table[b':' as usize] = COLON;
    let mut digit = b'0';
    while digit <= b'9' {
        table[digit as usize] = DIGIT;
        digit += 1;
    }
    table
};

/// `1.2.3.4` is the shortest of what is told by its digits.
const MIN_DIGITS: usize = 4;

/// Shortest secret that is told by its entropy, for which it needs a digit.
pub(super) const MIN_SECRET: usize = 16;

impl Classes {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut marks = 0;
        let mut digits = 0;
        for &byte in bytes {
            let class = TABLE[usize::from(byte)];
            marks |= class;
            digits += usize::from(class >> 2);
        }
        Self { marks, digits }
    }

    pub(super) fn may_hold_something(self, length: usize) -> bool {
        length >= MIN_LITERAL_TEXT || self.at() || self.words(length)
    }

    pub(super) fn at(self) -> bool {
        self.marks & AT != 0
    }

    /// Whether a walk over the words can find something.
    pub(super) fn words(self, length: usize) -> bool {
        self.digits >= MIN_DIGITS
            || (self.marks & COLON != 0 && length >= 3)
            || (self.digits > 0 && length >= MIN_SECRET)
    }
}
