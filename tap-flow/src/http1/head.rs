//! One head: start line and header fields, by `httparse`, and what of them decides the body's framing.

use std::mem::MaybeUninit;

use bytes::Bytes;

use super::detect::MAX_METHOD;
use crate::{
    exchange::Version,
    headers::{Headers, Place},
    limits::{Limits, MAX_HEADER_COUNT},
};

/// Which side of an exchange a direction carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Request,
    Response,
}

/// A parsed head.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) start_line: StartLine,
    pub(crate) version: Version,
    pub(crate) headers: Headers,
    pub(crate) fields: FramingFields,
    /// Bytes of the head on the wire.
    pub(crate) length: usize,
}

#[derive(Debug)]
pub(crate) enum StartLine {
    Request { method: Bytes, target: Bytes },
    Response { status: u16, reason: Bytes },
}

/// The fields that decide how long the body is and how it is coded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FramingFields {
    pub(crate) content_length: ContentLength,
    pub(crate) transfer_encoding: TransferEncoding,
    pub(crate) has_content_encoding: bool,
    pub(crate) expects_continue: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ContentLength {
    #[default]
    Absent,
    Valid(u64),
    /// Not a number, or several that differ.
    Invalid,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum TransferEncoding {
    #[default]
    Absent,
    /// Once, and nothing else.
    Chunked,
    Other,
}

/// The methods that decide how long the response is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Method {
    Head,
    Connect,
    #[default]
    Other,
}

/// What became of an attempt to parse a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeadStatus {
    /// It has so many bytes.
    Complete(usize),
    /// More bytes are needed.
    Partial,
    Invalid,
    TooManyFields,
}

/// Parses the head at the start of `bytes`; where it is complete, `head` is it.
pub(crate) fn parse_head(kind: Kind, bytes: &[u8], limits: &Limits, head: &mut Option<Head>) -> HeadStatus {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_HEADER_COUNT];
    let fields = &mut fields[..limits.header_count.min(MAX_HEADER_COUNT)];
    let config = httparse::ParserConfig::default();
    let parsed = match kind {
        Kind::Request => {
            let mut request = httparse::Request::new(&mut []);
            let parsed = config.parse_request_with_uninit_headers(&mut request, bytes, fields);
            // As where a head comes in pieces.
            if request.method.is_some_and(|method| method.len() > MAX_METHOD) && parsed.is_ok() {
                return HeadStatus::Invalid;
            }
            if let Ok(httparse::Status::Complete(length)) = parsed {
                let method = method(request.method.unwrap_or_default());
                let target = Bytes::copy_from_slice(request.path.unwrap_or_default().as_bytes());
                let start_line = StartLine::Request { method, target };
                *head = Some(Head::new(start_line, request.version, &bytes[..length], request.headers));
            }
            parsed
        }
        Kind::Response => {
            let mut response = httparse::Response::new(&mut []);
            let parsed = config.parse_response_with_uninit_headers(&mut response, bytes, fields);
            if let Ok(httparse::Status::Complete(length)) = parsed {
                let reason = reason(response.reason.unwrap_or_default());
                let status = response.code.unwrap_or_default();
                let start_line = StartLine::Response { status, reason };
                *head = Some(Head::new(start_line, response.version, &bytes[..length], response.headers));
            }
            parsed
        }
    };
    match parsed {
        Ok(httparse::Status::Complete(length)) => HeadStatus::Complete(length),
        Ok(httparse::Status::Partial) => HeadStatus::Partial,
        Err(httparse::Error::TooManyHeaders) => HeadStatus::TooManyFields,
        Err(_) => HeadStatus::Invalid,
    }
}

/// Parses a trailer section, with the empty line that ends it.
pub(crate) fn parse_trailers(bytes: &[u8], limits: &Limits) -> Option<Headers> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_HEADER_COUNT];
    let fields = &mut fields[..limits.header_count.min(MAX_HEADER_COUNT)];
    match httparse::parse_headers(bytes, fields) {
        Ok(httparse::Status::Complete((length, fields))) if length == bytes.len() => {
            Some(copy_fields(bytes, fields, |_, _| {}))
        }
        _ => None,
    }
}

/// Replaces obsolete line folding by spaces (RFC 9112, 5.2), in place. False if there was none.
pub(crate) fn unfold(head: &mut [u8]) -> bool {
    let mut found = false;
    for at in 1..head.len().saturating_sub(1) {
        if head[at] == b'\n' && matches!(head[at + 1], b' ' | b'\t') {
            head[at] = b' ';
            if head[at - 1] == b'\r' {
                head[at - 1] = b' ';
            }
            found = true;
        }
    }
    found
}

impl Head {
    fn new(
        start_line: StartLine,
        minor_version: Option<u8>,
        bytes: &[u8],
        parsed: &[httparse::Header<'_>],
    ) -> Self {
        let mut fields = FramingFields::default();
        let headers = copy_fields(bytes, parsed, |name, value| fields.read(name, value));
        let version = if minor_version == Some(0) { Version::Http10 } else { Version::Http11 };
        Self { start_line, version, headers, fields, length: bytes.len() }
    }
}

/// Copies the fields that lie in `section`, in one piece, without what stands before the first; shows each to `look`.
fn copy_fields(
    section: &[u8],
    parsed: &[httparse::Header<'_>],
    mut look: impl FnMut(&str, &[u8]),
) -> Headers {
    let Some(first) = parsed.first() else { return Headers::default() };
    let begin = section.as_ptr().addr();
    let skipped = first.name.as_ptr().addr().wrapping_sub(begin).min(section.len());
    let begin = begin + skipped;
    let places = parsed.iter().map(|field| {
        let value = trimmed(field.value);
        look(field.name, value);
        // The parser's slices lie in the section, but for an empty one, which may be anywhere.
        let start = |part: &[u8]| part.as_ptr().addr().wrapping_sub(begin) as u32;
        Place {
            name_start: start(field.name.as_bytes()),
            name_length: field.name.len() as u32,
            value_start: if value.is_empty() { 0 } else { start(value) },
            value_length: value.len() as u32,
        }
    });
    Headers::of_section(&section[skipped..], places)
}

/// Without white space at its ends: the parser has removed most of it.
fn trimmed(value: &[u8]) -> &[u8] {
    match value {
        [first, .., last] if !first.is_ascii_whitespace() && !last.is_ascii_whitespace() => value,
        _ => value.trim_ascii(),
    }
}

impl Method {
    pub(crate) fn of(name: &[u8]) -> Self {
        match name {
            b"HEAD" => Self::Head,
            b"CONNECT" => Self::Connect,
            _ => Self::Other,
        }
    }
}

/// The usual ones are not copied.
fn method(name: &str) -> Bytes {
    Bytes::from_static(match name {
        "GET" => b"GET",
        "HEAD" => b"HEAD",
        "POST" => b"POST",
        "PUT" => b"PUT",
        "DELETE" => b"DELETE",
        "CONNECT" => b"CONNECT",
        "OPTIONS" => b"OPTIONS",
        "PATCH" => b"PATCH",
        _ => return Bytes::copy_from_slice(name.as_bytes()),
    })
}

/// The usual ones are not copied.
fn reason(phrase: &str) -> Bytes {
    Bytes::from_static(match phrase {
        "OK" => b"OK",
        "Created" => b"Created",
        "No Content" => b"No Content",
        "Not Modified" => b"Not Modified",
        "Not Found" => b"Not Found",
        _ => return Bytes::copy_from_slice(phrase.as_bytes()),
    })
}

impl FramingFields {
    /// Notes one field of the head, its value without white space around it.
    fn read(&mut self, name: &str, value: &[u8]) {
        // By length first: most fields are none of these.
        match name.len() {
            14 if name.eq_ignore_ascii_case("content-length") => self.read_content_length(value),
            17 if name.eq_ignore_ascii_case("transfer-encoding") => {
                let chunked = value.eq_ignore_ascii_case(b"chunked");
                self.transfer_encoding = match self.transfer_encoding {
                    TransferEncoding::Absent if chunked => TransferEncoding::Chunked,
                    _ => TransferEncoding::Other,
                };
            }
            16 if name.eq_ignore_ascii_case("content-encoding") => self.has_content_encoding = true,
            6 if name.eq_ignore_ascii_case("expect") => {
                self.expects_continue = value.eq_ignore_ascii_case(b"100-continue");
            }
            _ => {}
        }
    }

    /// The same length several times is one length (RFC 9112, 6.3); everything else is refused.
    fn read_content_length(&mut self, value: &[u8]) {
        for part in value.split(|byte| *byte == b',') {
            self.content_length = match (self.content_length, parse_decimal(part.trim_ascii())) {
                (ContentLength::Absent, Some(length)) => ContentLength::Valid(length),
                (ContentLength::Valid(earlier), Some(length)) if earlier == length => {
                    ContentLength::Valid(length)
                }
                _ => ContentLength::Invalid,
            };
        }
    }
}

/// Digits and nothing else: no sign, no space, no overflow.
fn parse_decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}
