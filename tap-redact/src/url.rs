//! Request targets and URLs elsewhere: credentials, segments and parameters of paths, queries, fragments.

use std::borrow::Cow;

use percent_encoding::percent_decode;

use crate::{
    pairs::{self, Of, decode, encode},
    policy::{Kind, RuleName, Segment, Site, path_parts},
    session::{Change, Session},
    settings::Action,
    splice::Splice,
    trail::Trail,
};

/// What becomes of the host of a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hosts {
    /// Passes: the server's own name.
    Kept,
    /// Searched as any text is.
    Searched,
}

/// Redacts a URL, absolute or relative.
pub(crate) fn redact<'i>(
    url: &'i [u8],
    session: &mut Session<'_>,
    trail: &Trail<'_>,
    hosts: Hosts,
    nesting: u8,
) -> Cow<'i, [u8]> {
    let path_start = authority_end(url);
    let (authority, rest) = url.split_at(path_start);
    let query_start = rest.iter().position(|byte| matches!(byte, b'?' | b'#')).unwrap_or(rest.len());
    let (path, rest) = rest.split_at(query_start);
    let (query, fragment) = match rest.iter().position(|byte| *byte == b'#') {
        Some(hash) => rest.split_at(hash),
        None => (rest, &[][..]),
    };
    let parts = [
        self::authority(authority, session, trail, hosts),
        self::path(path, session, trail, nesting),
        marked(query, session, trail, nesting),
        marked(fragment, session, trail, nesting),
    ];
    if parts.iter().all(|part| matches!(part, Cow::Borrowed(_))) {
        return Cow::Borrowed(url);
    }
    Cow::Owned(parts.concat())
}

/// `user:password@host`: credentials are replaced, each by its token.
pub(crate) fn authority<'i>(
    authority: &'i [u8],
    session: &mut Session<'_>,
    trail: &Trail<'_>,
    hosts: Hosts,
) -> Cow<'i, [u8]> {
    let mut splice = Splice::new(authority);
    let start = find(authority, b"//").map_or(0, |slashes| slashes + 2);
    let at = authority.iter().rposition(|byte| *byte == b'@').filter(|at| *at >= start);
    let site = Site::new(Kind::Text, b"", *trail);
    if let Some(at) = at {
        let mut tokens = Vec::new();
        for (index, part) in authority[start..at].splitn(2, |byte| *byte == b':').enumerate() {
            if index > 0 {
                tokens.push(b':');
            }
            encode(&mut tokens, &session.replacement(Action::Token, &decode(part)));
        }
        if tokens != authority[start..at] {
            splice.replace(start..at, &tokens);
            session.note(&site, RuleName { kind: "url", name: "credentials" }, Action::Token);
        }
    }
    let host = at.map_or(start, |at| at + 1);
    if hosts == Hosts::Searched
        && let Ok(text) = std::str::from_utf8(&authority[host..])
        && let Some(redacted) = session.parts(&site, text)
    {
        splice.replace(host..authority.len(), redacted.as_bytes());
    }
    splice.finish(authority.len())
}

/// Each segment, and `;name=value` within it, such as `;jsessionid=…`.
fn path<'i>(path: &'i [u8], session: &mut Session<'_>, trail: &Trail<'_>, nesting: u8) -> Cow<'i, [u8]> {
    let mut splice = Splice::new(path);
    let mut start = usize::from(path.starts_with(b"/"));
    let trail = trail.known("path");
    for (index, segment) in path_parts(path).enumerate() {
        let end = start + segment.len();
        let word = segment.iter().position(|byte| *byte == b';').unwrap_or(segment.len());
        let decoded: Cow<'_, [u8]> = percent_decode(&segment[..word]).into();
        let site = Site { segment: Some(Segment { path, index }), ..Site::new(Kind::Path, b"", trail) };
        if !decoded.is_empty() {
            match session.value(&site, &String::from_utf8_lossy(&decoded), nesting) {
                Change::None => {}
                // An empty segment keeps the shape of the path.
                Change::Gone => splice.replace(start..start + word, b"-"),
                Change::Text(new) => {
                    let mut encoded = Vec::with_capacity(new.len());
                    encode(&mut encoded, &new);
                    splice.replace(start..start + word, &encoded);
                }
            }
        }
        if word < segment.len()
            && let Cow::Owned(pairs) =
                pairs::redact(&segment[word + 1..], session, &trail, Of::Query, nesting)
        {
            splice.replace(start + word + 1..end, &pairs);
        }
        start = end + 1;
    }
    splice.finish(path.len())
}

/// What follows a `?` or `#`, with it.
fn marked<'i>(part: &'i [u8], session: &mut Session<'_>, trail: &Trail<'_>, nesting: u8) -> Cow<'i, [u8]> {
    let Some((mark, pairs)) = part.split_first() else { return Cow::Borrowed(part) };
    // A fragment may go on as a URL of its own: `#/callback?token=…`.
    let within = pairs.iter().position(|byte| *byte == b'?').filter(|_| *mark == b'#');
    let start = within.map_or(0, |question| question + 1);
    let mut splice = Splice::new(part);
    if start > 0
        && let Cow::Owned(path) = path(&pairs[..start - 1], session, trail, nesting)
    {
        splice.replace(1..start, &path);
    }
    if let Cow::Owned(pairs) = pairs::redact(&pairs[start..], session, trail, Of::Query, nesting) {
        splice.replace(1 + start..part.len(), &pairs);
    }
    splice.finish(part.len())
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
    memchr::memmem::find(haystack, needle)
}
