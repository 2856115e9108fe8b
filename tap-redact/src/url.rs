//! Request targets and the URLs in headers: credentials, parameters of paths, queries, fragments.

use std::borrow::Cow;

use crate::{
    pairs::{Scope, decode, encode},
    record::{Action, Place},
    token,
};

impl Scope<'_> {
    /// Redacts a URL, absolute or relative. The path itself passes.
    pub(crate) fn url<'i>(&mut self, url: &'i [u8]) -> Cow<'i, [u8]> {
        let path_start = authority_end(url);
        let (authority, rest) = url.split_at(path_start);
        let query_start = rest.iter().position(|byte| matches!(byte, b'?' | b'#')).unwrap_or(rest.len());
        let (path, rest) = rest.split_at(query_start);
        let authority = self.credentials(authority);
        let path = self.path_parameters(path);
        let (query, fragment) = match rest.iter().position(|&byte| byte == b'#') {
            Some(hash) => rest.split_at(hash),
            None => (rest, &[][..]),
        };
        let query = self.marked(query);
        let fragment = self.marked(fragment);
        let parts = [authority, path, query, fragment];
        if parts.iter().all(|part| matches!(part, Cow::Borrowed(_))) {
            return Cow::Borrowed(url);
        }
        Cow::Owned(parts.concat())
    }

    /// `user:password@` before a host, each replaced by its token.
    pub(crate) fn credentials<'i>(&mut self, authority: &'i [u8]) -> Cow<'i, [u8]> {
        let Some(at) = authority.iter().rposition(|&byte| byte == b'@') else {
            return Cow::Borrowed(authority);
        };
        let start = find(&authority[..at], b"//").map_or(0, |slashes| slashes + 2);
        let mut output = authority[..start].to_vec();
        for (index, part) in authority[start..at].splitn(2, |&byte| byte == b':').enumerate() {
            if index > 0 {
                output.push(b':');
            }
            encode(&mut output, &token::text(self.key, &decode(part)));
        }
        output.extend_from_slice(&authority[at..]);
        self.record.add("url", "credentials", Place::new(self.place).build(), Action::Token);
        Cow::Owned(output)
    }

    /// `;name=value` within a path, such as `;jsessionid=…`.
    fn path_parameters<'i>(&mut self, path: &'i [u8]) -> Cow<'i, [u8]> {
        if !path.contains(&b';') {
            return Cow::Borrowed(path);
        }
        let mut output = Vec::with_capacity(path.len());
        for (index, segment) in path.split(|&byte| byte == b'/').enumerate() {
            if index > 0 {
                output.push(b'/');
            }
            match segment.iter().position(|&byte| byte == b';') {
                Some(semicolon) => {
                    output.extend_from_slice(&segment[..=semicolon]);
                    output.extend_from_slice(&self.query(&segment[semicolon + 1..]));
                }
                None => output.extend_from_slice(segment),
            }
        }
        if output == path { Cow::Borrowed(path) } else { Cow::Owned(output) }
    }

    /// What follows a `?` or `#`, with it.
    fn marked<'i>(&mut self, part: &'i [u8]) -> Cow<'i, [u8]> {
        let Some((mark, pairs)) = part.split_first() else { return Cow::Borrowed(part) };
        match self.query(pairs) {
            Cow::Borrowed(_) => Cow::Borrowed(part),
            Cow::Owned(pairs) => Cow::Owned([&[*mark][..], &pairs].concat()),
        }
    }
}

/// Where the path begins: after `scheme://authority`, `//authority`, or at once.
fn authority_end(url: &[u8]) -> usize {
    let first = url.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(url.len());
    let has_authority = url[first..].starts_with(b"//") && (first == 0 || url[..first].ends_with(b":"));
    if !has_authority {
        return 0;
    }
    let start = first + 2;
    url[start..]
        .iter()
        .position(|byte| matches!(byte, b'/' | b'?' | b'#'))
        .map_or(url.len(), |end| start + end)
}

pub(crate) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
