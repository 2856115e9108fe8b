//! E-mail addresses, as in RFC 5321 without quoted local parts.

use memchr::memchr_iter;

use super::{Detector, Found, Text};

/// RFC 5321, 4.5.3.1.
const MAX_LOCAL: usize = 64;
const MAX_DOMAIN: usize = 253;
const MAX_LABEL: usize = 63;

/// The domain of tokens.
pub(crate) const TOKEN_DOMAIN: &[u8] = b"redacted.example";

pub(super) fn find(text: &Text<'_>, found: &mut Found) {
    if !found.wants(Detector::Email) {
        return;
    }
    for at in memchr_iter(b'@', text) {
        let start = local_start(text, at);
        let end = domain_end(text, at + 1);
        if start < at && end > at + 1 && &text[at + 1..end] != TOKEN_DOMAIN {
            found.push(Detector::Email, start..end);
        }
    }
}

fn local_start(text: &Text<'_>, at: usize) -> usize {
    let is_local = |byte: u8| {
        byte.is_ascii_alphanumeric() || !byte.is_ascii() || b".!#$&'*+-/=?^_`{|}~%".contains(&byte)
    };
    let before = text[..at].iter().rev().take(MAX_LOCAL);
    let mut start = at - before.take_while(|byte| is_local(**byte)).count();
    // Punctuation around an address is no part of it, though some of it could be.
    if let Some(last) = text[start..at].iter().rposition(|byte| b"=?&/'`{|}!#$*^~".contains(byte)) {
        start += last + 1;
    }
    while start < at && matches!(text[start], b'.' | b'-' | b'+' | b'%') {
        start += 1;
    }
    // Not within a character.
    while start < at && text[start] & 0xc0 == 0x80 {
        start += 1;
    }
    if text[at - usize::from(at > start)] == b'.' { at } else { start }
}

/// The end of the domain that begins at `start`: two labels at least, the last one of letters.
fn domain_end(text: &Text<'_>, start: usize) -> usize {
    let is_domain =
        |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.' || !byte.is_ascii();
    let mut end = start + text.run(start, MAX_DOMAIN, is_domain);
    while end > start && (matches!(text[end - 1], b'.' | b'-')) {
        end -= 1;
    }
    // A character may have been cut at the greatest length.
    while text.byte(end).is_some_and(|byte| byte & 0xc0 == 0x80) {
        end += 1;
    }
    let domain = &text[start..end];
    let labels = domain.split(|byte| *byte == b'.');
    let well_formed = labels.clone().all(|label| (1..=MAX_LABEL).contains(&label.len()) && label[0] != b'-')
        && labels.clone().count() >= 2;
    let top = domain.rsplit(|byte| *byte == b'.').next().unwrap_or_default();
    let is_top = top.len() >= 2
        && (top.iter().all(|byte| byte.is_ascii_alphabetic() || !byte.is_ascii())
            || top.starts_with(b"xn--"));
    if well_formed && is_top { end } else { start }
}
