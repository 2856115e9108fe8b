//! What a body is, by its Content-Type, and by its first bytes where that says too little or may be wrong.

use tap_flow::Headers;

use super::DropReason;
use crate::pairs::is_pairs;

/// How a body is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Media {
    Json,
    /// JSON if it parses, else text: `[` also opens lines of logs.
    PerhapsJson,
    Form,
    Multipart,
    /// XML and HTML.
    Markup,
    Csv,
    /// Server-sent events.
    Events,
    GraphQl,
    /// Text without named fields.
    Text,
    Opaque,
}

/// A media type with what of its parameters is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Type {
    pub(super) media: Media,
    /// Of multipart bodies.
    pub(super) boundary: Vec<u8>,
}

/// Types beside `text/*`, `*+xml` and `*+json`. Anything that is not here is opaque.
const TYPES: &[(&str, Media)] = &[
    ("application/csv", Media::Csv),
    ("application/ecmascript", Media::Text),
    ("application/graphql", Media::GraphQl),
    ("application/javascript", Media::Text),
    ("application/json", Media::Json),
    ("application/json-seq", Media::Json),
    ("application/jsonl", Media::Json),
    ("application/jsonlines", Media::Json),
    ("application/ndjson", Media::Json),
    ("application/toml", Media::Text),
    ("application/x-javascript", Media::Text),
    ("application/x-json", Media::Json),
    ("application/x-jsonlines", Media::Json),
    ("application/x-ndjson", Media::Json),
    ("application/x-www-form-urlencoded", Media::Form),
    ("application/x-yaml", Media::Text),
    ("application/xml", Media::Markup),
    ("application/xml-dtd", Media::Text),
    ("application/yaml", Media::Text),
    ("text/csv", Media::Csv),
    ("text/event-stream", Media::Events),
    ("text/html", Media::Markup),
    ("text/json", Media::Json),
    ("text/tab-separated-values", Media::Csv),
    ("text/x-json", Media::Json),
    ("text/xml", Media::Markup),
];

/// Charsets in which ASCII is ASCII. In another a name can be written so that it is not found.
const CHARSETS: &[&str] =
    &["utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "iso-8859-15", "latin1", "windows-1252"];

/// Longest boundary of RFC 2046.
const MAX_BOUNDARY: usize = 70;

/// What the body of a message with these headers is.
pub(super) fn of(headers: &Headers, content: &[u8]) -> Result<Type, DropReason> {
    let mut types = headers.all("content-type");
    let Some(first) = types.next() else { return Ok(sniff(content)) };
    // Which of two a server believes is not known.
    if types.any(|other| other != first) {
        return Err(DropReason::Opaque);
    }
    named(first, content)
}

/// What content of a declared type is.
pub(super) fn named(declared: &[u8], content: &[u8]) -> Result<Type, DropReason> {
    let essence = declared.split(|byte| *byte == b';').next().unwrap_or_default();
    let essence = essence.trim_ascii().to_ascii_lowercase();
    if let Some(charset) = parameter(declared, b"charset") {
        let charset = charset.to_ascii_lowercase();
        if !CHARSETS.iter().any(|known| known.as_bytes() == charset) {
            return Err(DropReason::Opaque);
        }
    }
    if essence.starts_with(b"multipart/") {
        return match parameter(declared, b"boundary") {
            Some(boundary) if !boundary.is_empty() && boundary.len() <= MAX_BOUNDARY => {
                Ok(Type { media: Media::Multipart, boundary })
            }
            _ => Err(DropReason::Malformed),
        };
    }
    let media = if essence.is_empty() { Media::Text } else { of_essence(&essence) };
    Ok(match media {
        // Much JSON is sent as text, and some as forms.
        Media::Text => sniff(content),
        Media::Form => match sniff(content) {
            lie @ Type { media: Media::Json | Media::Multipart, .. } => lie,
            _ => media.into(),
        },
        Media::Markup | Media::Csv => match sniff(content) {
            lie @ Type { media: Media::Json | Media::Form | Media::Multipart | Media::Opaque, .. } => lie,
            _ => media.into(),
        },
        // What is said to be opaque and is text is read as what it is; a filter of types must be no way out.
        Media::Opaque if std::str::from_utf8(content).is_ok() => match sniff(content) {
            lie @ Type { media: Media::Json | Media::Form | Media::Markup, .. } => lie,
            _ => Media::Opaque.into(),
        },
        media => media.into(),
    })
}

impl From<Media> for Type {
    fn from(media: Media) -> Self {
        Self { media, boundary: Vec::new() }
    }
}

fn of_essence(essence: &[u8]) -> Media {
    if let Some((_, media)) = TYPES.iter().find(|(name, _)| name.as_bytes() == essence) {
        return *media;
    }
    if essence.ends_with(b"+json") {
        Media::Json
    } else if essence.ends_with(b"+xml") {
        Media::Markup
    } else if essence.starts_with(b"text/") {
        Media::Text
    } else {
        Media::Opaque
    }
}

/// The value of a parameter, without its quotes.
pub(super) fn parameter(declared: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    let mut rest = declared;
    while let Some(semicolon) = rest.iter().position(|byte| *byte == b';') {
        rest = rest[semicolon + 1..].trim_ascii_start();
        let Some(equals) = rest.iter().position(|byte| matches!(byte, b'=' | b';')) else { break };
        if rest[equals] == b';' {
            rest = &rest[equals..];
            continue;
        }
        let (found, after) = (&rest[..equals], rest[equals + 1..].trim_ascii_start());
        let (value, after) = match after.strip_prefix(b"\"") {
            Some(quoted) => unquote(quoted),
            None => {
                let end = after.iter().position(|byte| *byte == b';').unwrap_or(after.len());
                (after[..end].trim_ascii_end().to_vec(), &after[end..])
            }
        };
        if found.trim_ascii().eq_ignore_ascii_case(name) {
            return Some(value);
        }
        rest = after;
    }
    None
}

/// A quoted string up to its quote, and what follows it.
fn unquote(quoted: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut value = Vec::new();
    let mut at = 0;
    while let Some(byte) = quoted.get(at) {
        match byte {
            b'"' => return (value, &quoted[at + 1..]),
            // Browsers write `%22` for a quote; a backslash otherwise is part of a Windows path.
            b'\\' if matches!(quoted.get(at + 1), Some(b'"' | b'\\')) => {
                value.push(quoted[at + 1]);
                at += 2;
            }
            byte => {
                value.push(*byte);
                at += 1;
            }
        }
    }
    (value, &[])
}

/// What text may be, by its look.
pub(super) fn sniff(content: &[u8]) -> Type {
    let trimmed = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content).trim_ascii_start();
    if memchr::memchr(0, content).is_some() {
        return Media::Opaque.into();
    }
    match trimmed.first() {
        Some(b'{' | b'[') => {
            let next = trimmed[1..].trim_ascii_start().first();
            if next.is_none_or(|next| b"\"{}[]".contains(next)) { Media::Json } else { Media::PerhapsJson }
                .into()
        }
        Some(b')') if trimmed.starts_with(b")]}'") => Media::Json.into(),
        Some(b'"') => Media::PerhapsJson.into(),
        Some(b'<') => Media::Markup.into(),
        Some(b'-') if trimmed.starts_with(b"--") => sniff_multipart(trimmed),
        Some(b'd' | b'e' | b'i' | b'r' | b':') if is_event(trimmed) => Media::Events.into(),
        _ if !trimmed.trim_ascii_end().iter().any(u8::is_ascii_whitespace)
            && is_pairs(trimmed.trim_ascii_end()) =>
        {
            Media::Form.into()
        }
        _ => Media::Text.into(),
    }
}

/// A first line of the event stream format.
fn is_event(text: &[u8]) -> bool {
    [&b"data:"[..], b"event:", b"id:", b"retry:"].iter().any(|field| text.starts_with(field))
}

/// Text that begins like a multipart body, with the boundary on its first line.
fn sniff_multipart(text: &[u8]) -> Type {
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let rest = &text[line.len()..];
    let boundary = line[2..].trim_ascii_end();
    let is_header = rest.trim_ascii_start().to_ascii_lowercase().starts_with(b"content-");
    if is_header && !boundary.is_empty() && boundary.len() <= MAX_BOUNDARY {
        Type { media: Media::Multipart, boundary: boundary.to_vec() }
    } else {
        Media::Text.into()
    }
}
