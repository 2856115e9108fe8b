//! Rewrites a text by replacing spans of it, in order; what is clean is neither copied nor allocated.

use std::{borrow::Cow, ops::Range};

/// An input of which spans are replaced.
#[derive(Debug)]
pub(crate) struct Splice<'i> {
    input: &'i [u8],
    /// The input up to here is in `output`.
    copied: usize,
    output: Option<Vec<u8>>,
}

impl<'i> Splice<'i> {
    pub(crate) fn new(input: &'i [u8]) -> Self {
        Self { input, copied: 0, output: None }
    }

    /// Puts `with` in the place of a span, which begins where the one before it ended or later.
    pub(crate) fn replace(&mut self, span: Range<usize>, with: &[u8]) {
        let output = self.output.get_or_insert_with(|| Vec::with_capacity(self.input.len()));
        output.extend_from_slice(self.input.get(self.copied..span.start).unwrap_or_default());
        output.extend_from_slice(with);
        self.copied = span.end.max(self.copied);
    }

    pub(crate) fn is_changed(&self) -> bool {
        self.output.is_some()
    }

    /// The input up to `end` with its replacements; borrowed where there are none.
    pub(crate) fn finish(self, end: usize) -> Cow<'i, [u8]> {
        let Self { input, copied, output } = self;
        match output {
            None => Cow::Borrowed(&input[..end]),
            Some(mut output) => {
                output.extend_from_slice(input.get(copied..end).unwrap_or_default());
                Cow::Owned(output)
            }
        }
    }

    /// As [`Self::finish`] for an input that is UTF-8 and was cut between characters; `None` where nothing changed.
    pub(crate) fn into_text(self) -> Option<String> {
        if !self.is_changed() {
            return None;
        }
        let end = self.input.len();
        Some(String::from_utf8_lossy(&self.finish(end)).into_owned())
    }
}
