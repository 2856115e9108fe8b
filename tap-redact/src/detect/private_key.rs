//! Private keys in PEM (RFC 7468) and OpenPGP armour.

use memchr::memmem;

use super::{Detector, Found, Text};

const LABEL_ENDS: &[&[u8]] = &[b"PRIVATE KEY-----", b"PRIVATE KEY BLOCK-----"];

/// Longest label: `ENCRYPTED PRIVATE KEY`, `PGP PRIVATE KEY BLOCK`.
const MAX_LABEL: usize = 48;

/// A key whose `-----BEGIN ` is at `start`: to its end, or to the text's, where its end is not there. Gives where it ends.
pub(super) fn find_at(text: &Text<'_>, start: usize, found: &mut Found) -> Option<usize> {
    let label = &text[start..(start + MAX_LABEL).min(text.len())];
    if !LABEL_ENDS.iter().any(|end| memmem::find(label, end).is_some()) {
        return None;
    }
    let end = memmem::find(&text[start..], b"-----END ").map_or(text.len(), |end| {
        let label = start + end + b"-----END ".len();
        memmem::find(&text[label..], b"-----").map_or(text.len(), |dashes| label + dashes + 5)
    });
    found.push(Detector::PrivateKey, start..end).then_some(end)
}
