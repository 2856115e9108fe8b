//! A request's target taken apart (RFC 9112, section 3.2): origin-form, absolute-form, authority-form (CONNECT) and
//! asterisk-form.

use std::borrow::Cow;

use percent_encoding::{CONTROLS, percent_encode};

use crate::exchange::Request;

/// Where a request went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestTarget<'a> {
    /// "http" or "https".
    pub scheme: String,
    /// From the target in absolute form, else from the Host field; in lower case, with the port if given.
    pub host: String,
    /// As sent, without the query. Bytes that are not UTF-8 are percent-encoded, which means the same to a server.
    pub path: Cow<'a, str>,
    /// What follows the first `?`.
    pub query: Cow<'a, str>,
}

impl Request {
    /// The target's parts.
    pub fn parts(&self) -> RequestTarget<'_> {
        let target: Cow<'_, str> = match std::str::from_utf8(&self.target) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => percent_encode(&self.target, CONTROLS).into(),
        };
        let (scheme, host, path, query) = match &target {
            Cow::Borrowed(target) => {
                let Parts { scheme, host, path, query } = split(&self.method, target);
                (scheme, host, Cow::Borrowed(path), Cow::Borrowed(query))
            }
            Cow::Owned(target) => {
                let Parts { scheme, host, path, query } = split(&self.method, target);
                (scheme, host, Cow::Owned(path.to_owned()), Cow::Owned(query.to_owned()))
            }
        };
        let host = match host {
            Some(host) => host.to_ascii_lowercase(),
            None => self
                .headers
                .get("host")
                .map_or_else(String::new, |host| String::from_utf8_lossy(host).to_ascii_lowercase()),
        };
        RequestTarget { scheme: scheme.to_ascii_lowercase(), host, path, query }
    }
}

/// Slices of a target. What it leaves out is not in the target.
struct Parts<'a> {
    scheme: &'a str,
    host: Option<&'a str>,
    path: &'a str,
    query: &'a str,
}

fn split<'a>(method: &[u8], target: &'a str) -> Parts<'a> {
    if method == b"CONNECT" {
        return Parts { scheme: "http", host: Some(target), path: target, query: "" };
    }
    let (scheme, host, rest) = match target.split_once("://") {
        // In origin-form "://" can only be part of the path or query.
        Some((scheme, rest)) if !target.starts_with('/') && is_http(scheme) => {
            let end = rest.find(['/', '?']).unwrap_or(rest.len());
            let (authority, rest) = rest.split_at(end);
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            (scheme, Some(host), rest)
        }
        _ => ("http", None, target),
    };
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    // RFC 9112, section 3.2.2: an empty path in absolute-form means "/".
    let path = if path.is_empty() && host.is_some() { "/" } else { path };
    Parts { scheme, host, path, query }
}

fn is_http(scheme: &str) -> bool {
    scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{
        exchange::{Body, Completeness, Span, Version},
        headers::Headers,
    };

    fn parts(method: &str, target: &[u8]) -> (String, String, String, String) {
        let request = Request {
            method: Bytes::copy_from_slice(method.as_bytes()),
            target: Bytes::copy_from_slice(target),
            version: Version::Http11,
            headers: [("host", "Named")].into_iter().collect(),
            body: Body::default(),
            trailers: Headers::default(),
            completeness: Completeness::Complete,
            span: Span::default(),
        };
        let RequestTarget { scheme, host, path, query } = request.parts();
        (scheme, host, path.into_owned(), query.into_owned())
    }

    #[test]
    fn targets_are_taken_apart() {
        for (method, target, expected) in [
            ("GET", &b"/"[..], ("http", "named", "/", "")),
            ("GET", b"/a?", ("http", "named", "/a", "")),
            ("GET", b"/go?to=http://x/y", ("http", "named", "/go", "to=http://x/y")),
            ("GET", b"http://Host:1/a?b", ("http", "host:1", "/a", "b")),
            ("GET", b"HTTPS://u:p@host", ("https", "host", "/", "")),
            ("GET", b"http://host?q", ("http", "host", "/", "q")),
            ("OPTIONS", b"*", ("http", "named", "*", "")),
            ("CONNECT", b"host:443", ("http", "host:443", "host:443", "")),
            ("GET", b"ftp://host/", ("http", "named", "ftp://host/", "")),
            ("GET", b"/caf\xe9?\xe9", ("http", "named", "/caf%E9", "%E9")),
            ("GET", "/caf\u{e9}".as_bytes(), ("http", "named", "/caf\u{e9}", "")),
        ] {
            let (scheme, host, path, query) = parts(method, target);
            assert_eq!((scheme.as_str(), host.as_str(), path.as_str(), query.as_str()), expected);
        }
    }
}
