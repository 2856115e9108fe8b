//! What is announced by how it begins: one automaton for all beginnings, then the grammar of each.

use aho_corasick::{AhoCorasick, AhoCorasickKind, Input, MatchKind};

use super::{Detector, Found, Text, api_key, jwt, private_key};

/// Finds the beginnings.
#[derive(Debug)]
pub(super) struct Literals {
    automaton: Option<AhoCorasick>,
}

const JWT: &str = "eyJ";
const PRIVATE_KEY: &str = "-----BEGIN ";
const URL: &str = "://";

/// Beginnings that are no vendor's.
const OWN: &[&str] = &[JWT, PRIVATE_KEY, URL];

/// Longest `user:password` in a URL.
const MAX_USER_INFO: usize = 512;

impl Literals {
    pub(super) fn new() -> Self {
        let beginnings = OWN.iter().copied().chain(api_key::KEYS.iter().map(|key| key.beginning));
        let automaton = AhoCorasick::builder()
            .kind(Some(AhoCorasickKind::DFA))
            .match_kind(MatchKind::LeftmostLongest)
            .build(beginnings);
        // The beginnings are constants, far below the automaton's limits; a test builds it.
        Self { automaton: automaton.ok() }
    }

    /// Where the next beginning is, from there on.
    pub(super) fn next(&self, bytes: &[u8], from: usize) -> Option<usize> {
        let Some(automaton) = &self.automaton else { return Some(from) };
        automaton.find(Input::new(bytes).range(from..)).map(|beginning| beginning.start())
    }

    pub(super) fn find(&self, text: &Text<'_>, found: &mut Found) {
        let Some(automaton) = &self.automaton else { return };
        // What is within a key or a token that was found is not looked at again, so that time stays linear.
        let mut from = 0;
        for beginning in automaton.find_iter(&text[..]) {
            let start = beginning.start();
            if start < from {
                continue;
            }
            let before = found.findings.len();
            match beginning.pattern().as_usize() {
                0 => jwt::find_at(text, start, found),
                1 => {
                    private_key::find_at(text, start, found);
                }
                2 => user_info(text, beginning.end(), found),
                index => {
                    if let Some(key) = api_key::KEYS.get(index - OWN.len()) {
                        key.find_at(text, start, found);
                    }
                }
            }
            from = found.findings[before..].iter().map(|finding| finding.range.end).max().unwrap_or(from);
        }
    }
}

/// `user:password@` of a URL whose authority begins at `start`.
fn user_info(text: &Text<'_>, start: usize, found: &mut Found) {
    let scheme = start >= 4 && text[start - 4].is_ascii_alphanumeric();
    let is_user_info = |byte: u8| !byte.is_ascii_whitespace() && !b"/?#\\\"'<>@".contains(&byte);
    let length = text.run(start, MAX_USER_INFO, is_user_info);
    let end = start + length;
    let is_token =
        text[start..end].split(|byte| *byte == b':').all(|part| part.starts_with(super::secret::TOKEN));
    if scheme && length > 0 && text.byte(end) == Some(b'@') && !is_token {
        found.push(Detector::UrlCredentials, start..end);
    }
}
