//! What a body is, by its Content-Type, and by its first bytes where that says too little.

use tap_flow::Headers;

use super::DropReason;

/// How a body is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Media {
    Json,
    /// JSON if it parses, else text: `[` also opens lines of logs.
    PerhapsJson,
    Form,
    /// Text without named fields.
    Text,
    Opaque,
}

/// Types beside `text/*`, `*+xml` and `*+json`. Anything that is not here is opaque.
const TYPES: &[(&str, Media)] = &[
    ("application/ecmascript", Media::Text),
    ("application/graphql", Media::Text),
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
    ("application/xml", Media::Text),
    ("application/xml-dtd", Media::Text),
    ("application/yaml", Media::Text),
    ("text/json", Media::Json),
    ("text/x-json", Media::Json),
];

/// Charsets in which ASCII is ASCII. In another a name can be written so that it is not found.
const CHARSETS: &[&str] =
    &["utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "iso-8859-15", "latin1", "windows-1252"];

/// What the body of a message with these headers is.
pub(super) fn of(headers: &Headers, content: &[u8]) -> Result<Media, DropReason> {
    let mut types = headers.all("content-type");
    let Some(first) = types.next() else { return Ok(sniff(content)) };
    // Which of two a server believes is not known.
    if types.any(|other| other != first) {
        return Err(DropReason::Opaque);
    }
    let text = first.to_ascii_lowercase();
    let mut parts = text.split(|&byte| byte == b';');
    let essence = parts.next().unwrap_or_default().trim_ascii();
    if essence.is_empty() {
        return Ok(sniff(content));
    }
    for parameter in parts {
        if let Some(charset) = parameter.trim_ascii().strip_prefix(b"charset=") {
            let charset = charset.trim_ascii().trim_ascii_start();
            let charset = charset.strip_prefix(b"\"").and_then(|c| c.strip_suffix(b"\"")).unwrap_or(charset);
            if !CHARSETS.iter().any(|known| known.as_bytes() == charset) {
                return Err(DropReason::Opaque);
            }
        }
    }
    Ok(match named(essence) {
        // Much JSON is sent as text.
        Media::Text => sniff(content),
        media => media,
    })
}

fn named(essence: &[u8]) -> Media {
    if let Some((_, media)) = TYPES.iter().find(|(name, _)| name.as_bytes() == essence) {
        return *media;
    }
    if essence.ends_with(b"+json") {
        Media::Json
    } else if essence.starts_with(b"text/") || essence.ends_with(b"+xml") {
        Media::Text
    } else {
        Media::Opaque
    }
}

/// What text may be, by its look.
fn sniff(content: &[u8]) -> Media {
    let trimmed = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content).trim_ascii_start();
    if content.contains(&0) {
        return Media::Opaque;
    }
    match trimmed.first() {
        Some(b'{' | b'[') => {
            let next = trimmed[1..].trim_ascii_start().first();
            if next.is_none_or(|next| b"\"{}[]".contains(next)) { Media::Json } else { Media::PerhapsJson }
        }
        _ if is_pairs(trimmed) => Media::Form,
        _ => Media::Text,
    }
}

/// Whether text is pairs without white space: at least `name=value`.
fn is_pairs(text: &[u8]) -> bool {
    let text = text.trim_ascii_end();
    let equals = text.iter().position(|&byte| byte == b'=');
    equals.is_some_and(|equals| equals > 0)
        && !text.iter().any(|byte| byte.is_ascii_whitespace() || *byte == b'<')
}
