//! One head: start line and header fields, by `httparse`, and what of them decides the body's framing.

use std::mem::MaybeUninit;

use bytes::Bytes;

use super::detect::MAX_METHOD;
use crate::{
    exchange::{Header, Headers, Version},
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

/// What became of an attempt to parse a head.
#[derive(Debug)]
pub(crate) enum HeadResult {
    Complete {
        head: Head,
        length: usize,
    },
    /// More bytes are needed.
    Partial,
    Invalid,
    TooManyFields,
}

/// Parses the head at the start of `bytes`.
pub(crate) fn parse_head(kind: Kind, bytes: &[u8], limits: &Limits) -> HeadResult {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_HEADER_COUNT];
    let fields = &mut fields[..limits.header_count.min(MAX_HEADER_COUNT)];
    let config = httparse::ParserConfig::default();
    match kind {
        Kind::Request => {
            let mut request = httparse::Request::new(&mut []);
            match config.parse_request_with_uninit_headers(&mut request, bytes, fields) {
                // As where a head comes in pieces.
                Ok(_) if request.method.is_some_and(|method| method.len() > MAX_METHOD) => {
                    HeadResult::Invalid
                }
                Ok(httparse::Status::Complete(length)) => {
                    let copy = Copy::new(&bytes[..length]);
                    let method = copy.slice(request.method.unwrap_or_default().as_bytes());
                    let target = copy.slice(request.path.unwrap_or_default().as_bytes());
                    copy.into_head(StartLine::Request { method, target }, request.version, request.headers)
                }
                Ok(httparse::Status::Partial) => HeadResult::Partial,
                Err(httparse::Error::TooManyHeaders) => HeadResult::TooManyFields,
                Err(_) => HeadResult::Invalid,
            }
        }
        Kind::Response => {
            let mut response = httparse::Response::new(&mut []);
            match config.parse_response_with_uninit_headers(&mut response, bytes, fields) {
                Ok(httparse::Status::Complete(length)) => {
                    let copy = Copy::new(&bytes[..length]);
                    let reason = copy.slice(response.reason.unwrap_or_default().as_bytes());
                    let status = response.code.unwrap_or_default();
                    copy.into_head(StartLine::Response { status, reason }, response.version, response.headers)
                }
                Ok(httparse::Status::Partial) => HeadResult::Partial,
                Err(httparse::Error::TooManyHeaders) => HeadResult::TooManyFields,
                Err(_) => HeadResult::Invalid,
            }
        }
    }
}

/// Parses a trailer section, with the empty line that ends it.
pub(crate) fn parse_trailers(bytes: &[u8], limits: &Limits) -> Option<Headers> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_HEADER_COUNT];
    let fields = &mut fields[..limits.header_count.min(MAX_HEADER_COUNT)];
    match httparse::parse_headers(bytes, fields) {
        Ok(httparse::Status::Complete((length, fields))) if length == bytes.len() => {
            let copy = Copy::new(bytes);
            Some(Headers(fields.iter().map(|field| copy.header(field)).collect()))
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

/// One copy of a head, of which every field is a slice.
struct Copy<'a> {
    original: &'a [u8],
    bytes: Bytes,
}

impl<'a> Copy<'a> {
    fn new(original: &'a [u8]) -> Self {
        Self { original, bytes: Bytes::copy_from_slice(original) }
    }

    /// The part of the copy that corresponds to a part of the original.
    fn slice(&self, part: &[u8]) -> Bytes {
        if part.is_empty() {
            return Bytes::new();
        }
        let start = part.as_ptr().addr().wrapping_sub(self.original.as_ptr().addr());
        if start.saturating_add(part.len()) > self.bytes.len() {
            // A literal of the parser's: an obsolete reason phrase that is not text.
            return Bytes::copy_from_slice(part);
        }
        self.bytes.slice(start..start + part.len())
    }

    fn header(&self, field: &httparse::Header<'_>) -> Header {
        let name = well_known(field.name).unwrap_or_else(|| self.slice(field.name.as_bytes()));
        Header { name, value: self.slice(field.value.trim_ascii()) }
    }

    fn into_head(
        self,
        start_line: StartLine,
        minor_version: Option<u8>,
        parsed: &[httparse::Header<'_>],
    ) -> HeadResult {
        let mut fields = FramingFields::default();
        let mut headers = Vec::with_capacity(parsed.len());
        for field in parsed {
            fields.read(field.name, field.value);
            headers.push(self.header(field));
        }
        let version = if minor_version == Some(0) { Version::Http10 } else { Version::Http11 };
        let length = self.bytes.len();
        let head = Head { start_line, version, headers: Headers(headers), fields, length };
        HeadResult::Complete { head, length }
    }
}

/// Names of fields in the spellings of common clients and servers: these share no counted reference, which
/// costs more than the comparison.
fn well_known(name: &str) -> Option<Bytes> {
    macro_rules! spelled {
        ($($spelling:literal)*) => {
            match name {
                $($spelling => Some(Bytes::from_static($spelling.as_bytes())),)*
                _ => None,
            }
        };
    }
    spelled!(
        "Accept" "Accept-Encoding" "Accept-Language" "Accept-Ranges" "Age" "Authorization" "Cache-Control"
        "Connection" "Content-Encoding" "Content-Length" "Content-Type" "Cookie" "Date" "ETag" "Host"
        "Keep-Alive" "Last-Modified" "Location" "Origin" "Referer" "Server" "Set-Cookie" "Transfer-Encoding"
        "User-Agent" "Vary" "Via" "X-Forwarded-For" "X-Forwarded-Proto" "X-Request-Id"
        "accept" "accept-encoding" "accept-language" "authorization" "cache-control" "connection"
        "content-encoding" "content-length" "content-type" "cookie" "date" "etag" "host" "server"
        "set-cookie" "traceparent" "tracestate" "transfer-encoding" "user-agent" "vary"
        "x-forwarded-for" "x-forwarded-proto" "x-request-id"
    )
}

impl FramingFields {
    /// Notes one field of the head.
    fn read(&mut self, name: &str, value: &[u8]) {
        // By length first: most fields are none of these.
        match name.len() {
            14 if name.eq_ignore_ascii_case("content-length") => self.read_content_length(value),
            17 if name.eq_ignore_ascii_case("transfer-encoding") => {
                let chunked = value.trim_ascii().eq_ignore_ascii_case(b"chunked");
                self.transfer_encoding = match self.transfer_encoding {
                    TransferEncoding::Absent if chunked => TransferEncoding::Chunked,
                    _ => TransferEncoding::Other,
                };
            }
            16 if name.eq_ignore_ascii_case("content-encoding") => self.has_content_encoding = true,
            6 if name.eq_ignore_ascii_case("expect") => {
                self.expects_continue = value.trim_ascii().eq_ignore_ascii_case(b"100-continue");
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
