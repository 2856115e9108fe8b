//! Header and trailer fields by name.

use std::{borrow::Cow, collections::HashSet};

use bytes::Bytes;
use tap_flow::{Header, Headers};

use crate::{
    key::Key,
    names::Names,
    pairs::Scope,
    record::{Action, Place, Record},
    token, url,
};

mod base64;

/// Fields whose whole value is a secret or names a person, beside those whose name contains such a word.
const STANDARD: &[&str] = &[
    "authentication",
    "authorization",
    "cf-access-jwt-assertion",
    "from",
    "proxy-authorization",
    "sec-websocket-protocol",
    "session-id",
    "x-amz-security-token",
    "x-amzn-oidc-accesstoken",
    "x-amzn-oidc-data",
    "x-amzn-oidc-identity",
    "x-api-key",
    "x-auth-request-user",
    "x-auth-user",
    "x-authenticated-user",
    "x-csrf-token",
    "x-forwarded-user",
    "x-goog-api-key",
    "x-goog-authenticated-user-email",
    "x-goog-authenticated-user-id",
    "x-goog-iap-jwt-assertion",
    "x-remote-user",
    "x-session",
    "x-ssl-client-cert",
    "x-ssl-client-s-dn",
    "x-forwarded-client-cert",
];

/// Fields that hold a URL.
const URLS: &[&str] = &[
    "content-location",
    "destination",
    "location",
    "referer",
    "referrer",
    "x-forwarded-uri",
    "x-forwarded-url",
    "x-original-uri",
    "x-original-url",
    "x-rewrite-url",
    "x-envoy-original-path",
];

/// Schemes after which an authorization goes on with credentials.
const SCHEMES: &[&str] = &[
    "apikey",
    "api-key",
    "aws4-hmac-sha256",
    "basic",
    "bearer",
    "digest",
    "dpop",
    "gnap",
    "hawk",
    "hoba",
    "jwt",
    "mutual",
    "negotiate",
    "ntlm",
    "oauth",
    "privatetoken",
    "scram-sha-1",
    "scram-sha-256",
    "sharedkey",
    "signature",
    "token",
    "vapid",
];

/// Attributes of a Set-Cookie that pass.
const COOKIE_ATTRIBUTES: &[&str] =
    &["domain", "expires", "httponly", "max-age", "partitioned", "path", "priority", "samesite", "secure"];

/// Redacts header fields.
#[derive(Debug)]
pub(crate) struct HeaderRules {
    /// In lower case.
    names: HashSet<String>,
}

impl HeaderRules {
    /// The standard fields and these.
    pub(crate) fn standard_and(configured: &[String]) -> Self {
        let standard = STANDARD.iter().map(|name| (*name).to_owned());
        Self { names: standard.chain(configured.iter().map(|name| name.to_ascii_lowercase())).collect() }
    }

    /// Redacts the fields in place. `place` is e.g. "request.headers".
    pub(crate) fn redact(&self, headers: &mut Headers, scope: &mut HeaderScope<'_>) {
        for header in &mut headers.0 {
            let Header { name, value } = header;
            if value.is_empty() {
                continue;
            }
            let lower = name.to_ascii_lowercase();
            if let Cow::Owned(redacted) = self.value(&lower, value, scope) {
                *value = Bytes::from(redacted);
            }
        }
    }

    fn value<'v>(&self, name: &[u8], value: &'v [u8], scope: &mut HeaderScope<'_>) -> Cow<'v, [u8]> {
        let known = std::str::from_utf8(name).unwrap_or_default();
        match known {
            "authorization" | "proxy-authorization" => {
                scope.whole(known, name);
                Cow::Owned(authorization(scope.key, value))
            }
            "cookie" => Cow::Owned(scope.at(name, |pairs| cookies(pairs, value))),
            "set-cookie" => Cow::Owned(scope.at(name, |pairs| set_cookie(pairs, value))),
            _ if self.names.contains(known) => {
                scope.whole(known, name);
                Cow::Owned(token::text(scope.key, value).into_bytes())
            }
            _ if URLS.contains(&known) => scope.at(name, |pairs| pairs.url(value)),
            "refresh" | "link" => scope.at(name, |pairs| embedded_urls(pairs, value)),
            // `…-credentials: true` is no credential.
            _ if known.starts_with("access-control-") => Cow::Borrowed(value),
            _ => match scope.fields.find(name) {
                Some(rule) => {
                    scope.whole(rule, name);
                    Cow::Owned(token::text(scope.key, value).into_bytes())
                }
                None => Cow::Borrowed(value),
            },
        }
    }
}

/// What headers are redacted with, and where they are.
pub(crate) struct HeaderScope<'r> {
    pub(crate) key: &'r Key,
    pub(crate) fields: &'r Names,
    pub(crate) query: &'r Names,
    pub(crate) record: &'r mut Record,
    /// "request.headers", "response.trailers", …
    pub(crate) place: &'static str,
}

impl HeaderScope<'_> {
    /// Records that a whole value was replaced.
    fn whole(&mut self, rule: &str, name: &[u8]) {
        self.record.add("header", rule, Place::new(self.place).name(name).build(), Action::Token);
    }

    /// Redacts the pairs within the field `name`.
    fn at<T>(&mut self, name: &[u8], redact: impl FnOnce(&mut Scope<'_>) -> T) -> T {
        let place = Place::new(self.place).name(name).build();
        redact(&mut Scope { key: self.key, names: self.query, record: self.record, place: &place })
    }
}

/// `Scheme credentials`: the scheme stays where it is one, and Basic stays decodable.
fn authorization(key: &Key, value: &[u8]) -> Vec<u8> {
    let space = value.iter().position(u8::is_ascii_whitespace).unwrap_or(value.len());
    let (scheme, rest) = value.split_at(space);
    let known = SCHEMES.iter().any(|known| scheme.eq_ignore_ascii_case(known.as_bytes()));
    let credentials = rest.trim_ascii();
    if !known || credentials.is_empty() {
        return token::text(key, value).into_bytes();
    }
    let token = if scheme.eq_ignore_ascii_case(b"basic") {
        let (user, password) = basic(key, credentials);
        base64::encode(format!("{user}:{password}").as_bytes())
    } else {
        token::text(key, credentials)
    };
    [scheme, b" ", token.as_bytes()].concat()
}

/// The tokens of the user and the password; of the whole, where it is not decodable.
fn basic(key: &Key, credentials: &[u8]) -> (String, String) {
    let decoded = base64::decode(credentials);
    let parts = decoded.as_deref().and_then(|decoded| {
        let colon = decoded.iter().position(|&byte| byte == b':')?;
        Some((&decoded[..colon], &decoded[colon + 1..]))
    });
    match parts {
        Some((user, password)) => (token::text(key, user), token::text(key, password)),
        None => (token::opaque(key, credentials), String::new()),
    }
}

fn cookies(pairs: &mut Scope<'_>, value: &[u8]) -> Vec<u8> {
    let mut output = Vec::with_capacity(value.len());
    for (index, pair) in value.split(|&byte| byte == b';').enumerate() {
        if index > 0 {
            output.extend_from_slice(b"; ");
        }
        pairs.cookie(pair.trim_ascii(), &mut output);
    }
    output
}

/// The cookie is replaced; attributes stay as far as they are known.
fn set_cookie(pairs: &mut Scope<'_>, value: &[u8]) -> Vec<u8> {
    let mut output = Vec::with_capacity(value.len());
    for (index, part) in value.split(|&byte| byte == b';').enumerate() {
        if index > 0 {
            output.push(b';');
        }
        let name = part.split(|&byte| byte == b'=').next().unwrap_or_default().trim_ascii();
        if index > 0 && COOKIE_ATTRIBUTES.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes())) {
            output.extend_from_slice(part);
        } else {
            let padding = part.len() - part.trim_ascii_start().len();
            output.extend_from_slice(&part[..padding]);
            pairs.cookie(part.trim_ascii(), &mut output);
        }
    }
    output
}

/// `<url>; rel=next, <url>` and `5; url=…`
fn embedded_urls<'v>(pairs: &mut Scope<'_>, value: &'v [u8]) -> Cow<'v, [u8]> {
    let mut output = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some(start) = rest.iter().position(|&byte| byte == b'<') {
        let end = rest[start..].iter().position(|&byte| byte == b'>').map_or(rest.len(), |end| start + end);
        output.extend_from_slice(&rest[..=start]);
        output.extend_from_slice(&pairs.url(&rest[start + 1..end]));
        rest = &rest[end..];
    }
    let url = url::find(&rest.to_ascii_lowercase(), b"url=").map_or(rest.len(), |at| at + 4);
    output.extend_from_slice(&rest[..url]);
    output.extend_from_slice(&pairs.url(&rest[url..]));
    if output == value { Cow::Borrowed(value) } else { Cow::Owned(output) }
}
