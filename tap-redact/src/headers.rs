//! Header and trailer fields.

use std::borrow::Cow;

use tap_flow::{Header, Headers, Rewrite};

use crate::{
    encoded::{self, Variant},
    pairs,
    policy::{Kind, Site, URLS, Verdict, is_embedding},
    session::{Change, Session},
    settings::Action,
    token,
    trail::Trail,
    url::{self, Hosts},
    value::NESTING,
};

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

/// Redacts the fields in place. `known` is e.g. "request.headers".
pub(crate) fn redact(headers: &mut Headers, session: &mut Session<'_>, known: &'static str) {
    let root = Trail::root(known);
    headers.rewrite(|Header { name, value }| {
        if value.is_empty() {
            return Rewrite::Keep;
        }
        let lower = name.to_ascii_lowercase();
        let trail = root.name(&lower);
        self::value(&lower, value, session, &trail)
    });
}

fn value(name: &[u8], value: &[u8], session: &mut Session<'_>, trail: &Trail<'_>) -> Rewrite {
    let known = std::str::from_utf8(name).unwrap_or_default();
    let site = Site::new(Kind::Header, name, *trail);
    let verdict = session.verdict(&site);
    let by_rule = match verdict {
        Verdict::Keep => return Rewrite::Keep,
        Verdict::Replace(_, rule) => rule.kind == "rule",
        Verdict::Search | Verdict::Shape => false,
    };
    match known {
        "cookie" if !by_rule => return joined(cookies(value, session, trail), value),
        "set-cookie" if !by_rule => return joined(set_cookie(value, session, trail), value),
        "authorization" | "proxy-authorization" => {
            if let Verdict::Replace(Action::Token, rule) = verdict {
                let new = authorization(session, value);
                if new == value {
                    return Rewrite::Keep;
                }
                session.note(&site, rule, Action::Token);
                return Rewrite::Replace(new);
            }
        }
        _ if verdict == Verdict::Search && URLS.contains(&known) => {
            return rewritten(url::redact(value, session, trail, Hosts::Kept, NESTING));
        }
        _ if verdict == Verdict::Search && is_embedding(known) => {
            return rewritten(embedded_urls(value, session, trail));
        }
        _ => {}
    }
    match session.treat(verdict, &site, &String::from_utf8_lossy(value), NESTING) {
        Change::None => Rewrite::Keep,
        Change::Text(new) => Rewrite::Replace(new.into_bytes()),
        Change::Gone => Rewrite::Remove,
    }
}

fn rewritten(value: Cow<'_, [u8]>) -> Rewrite {
    match value {
        Cow::Borrowed(_) => Rewrite::Keep,
        Cow::Owned(new) => Rewrite::Replace(new),
    }
}

/// Removed where nothing is left of it.
fn joined(new: Vec<u8>, old: &[u8]) -> Rewrite {
    match new {
        new if new == old => Rewrite::Keep,
        new if new.is_empty() => Rewrite::Remove,
        new => Rewrite::Replace(new),
    }
}

/// `Scheme credentials`: the scheme stays where it is one, and Basic stays decodable.
fn authorization(session: &Session<'_>, value: &[u8]) -> Vec<u8> {
    let space = value.iter().position(u8::is_ascii_whitespace).unwrap_or(value.len());
    let (scheme, rest) = value.split_at(space);
    let known = SCHEMES.iter().any(|known| scheme.eq_ignore_ascii_case(known.as_bytes()));
    let credentials = rest.trim_ascii();
    if !known || credentials.is_empty() {
        return token::text(session.key(), value).into_bytes();
    }
    let token = if scheme.eq_ignore_ascii_case(b"basic") {
        let (user, password) = basic(session, credentials);
        encoded::encode(format!("{user}:{password}").as_bytes(), Variant::STANDARD)
    } else {
        token::text(session.key(), credentials)
    };
    [scheme, b" ", token.as_bytes()].concat()
}

/// The tokens of the user and the password; of the whole, where it is not decodable.
fn basic(session: &Session<'_>, credentials: &[u8]) -> (String, String) {
    let key = session.key();
    let decoded = encoded::decode(credentials, Variant::of(&String::from_utf8_lossy(credentials)));
    let parts = decoded.as_deref().and_then(|decoded| {
        let colon = decoded.iter().position(|byte| *byte == b':')?;
        Some((&decoded[..colon], &decoded[colon + 1..]))
    });
    match parts {
        Some((user, password)) => (token::text(key, user), token::text(key, password)),
        None => (token::opaque(key, credentials), String::new()),
    }
}

fn cookies(value: &[u8], session: &mut Session<'_>, trail: &Trail<'_>) -> Vec<u8> {
    let mut output = Vec::with_capacity(value.len());
    for pair in value.split(|byte| *byte == b';') {
        let before = output.len();
        if before > 0 {
            output.extend_from_slice(b"; ");
        }
        let start = output.len();
        pairs::cookie(pair.trim_ascii(), session, trail, &mut output);
        if output.len() == start {
            output.truncate(before);
        }
    }
    output
}

/// The cookie is replaced; attributes stay as far as they are known. Nothing is left where the cookie is dropped.
fn set_cookie(value: &[u8], session: &mut Session<'_>, trail: &Trail<'_>) -> Vec<u8> {
    let mut output = Vec::with_capacity(value.len());
    for (index, part) in value.split(|byte| *byte == b';').enumerate() {
        if index > 0 {
            output.push(b';');
        }
        let name = part.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii();
        if index > 0 && COOKIE_ATTRIBUTES.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes())) {
            output.extend_from_slice(part);
        } else {
            let padding = part.len() - part.trim_ascii_start().len();
            output.extend_from_slice(&part[..padding]);
            let before = output.len();
            pairs::cookie(part.trim_ascii(), session, trail, &mut output);
            if index == 0 && output.len() == before {
                return Vec::new();
            }
        }
    }
    output
}

/// `<url>; rel=next, <url>` and `5; url=…`
fn embedded_urls<'v>(value: &'v [u8], session: &mut Session<'_>, trail: &Trail<'_>) -> Cow<'v, [u8]> {
    let mut output = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some(start) = rest.iter().position(|byte| *byte == b'<') {
        let end = rest[start..].iter().position(|byte| *byte == b'>').map_or(rest.len(), |end| start + end);
        output.extend_from_slice(&rest[..=start]);
        output.extend_from_slice(&url::redact(&rest[start + 1..end], session, trail, Hosts::Kept, NESTING));
        rest = &rest[end..];
    }
    let url = url::find(&rest.to_ascii_lowercase(), b"url=").map_or(rest.len(), |at| at + 4);
    output.extend_from_slice(&rest[..url]);
    output.extend_from_slice(&url::redact(&rest[url..], session, trail, Hosts::Kept, NESTING));
    if output == value { Cow::Borrowed(value) } else { Cow::Owned(output) }
}
