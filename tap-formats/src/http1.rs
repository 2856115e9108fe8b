//! Messages as HTTP/1.1 bytes, for formats that hold connections or what was sent on them.
//!
//! Heads keep order and spelling of their fields. What was decoded when it was captured stays so: transfer and content
//! codings that were removed are removed from the head, and the length is that of the content. Trailers need the chunked
//! coding, and so does a body whose end is not known; then the head says that.

use tap_proto::v1::{self, completeness::State};

use crate::{fit::Unfit, stored};

/// A length that is claimed beyond this is not believed: a hole in a TCP stream must be far below its window of 2³¹.
const MAX_MISSING: u64 = 1 << 30;

/// A message on a connection.
pub(crate) struct Wire {
    /// The head, and the body as far as it was kept.
    pub(crate) bytes: Vec<u8>,
    /// Bytes of the body that follow and were not kept.
    pub(crate) missing: u64,
    /// The body goes on for nobody knows how long: nothing can follow on the connection.
    pub(crate) unfinished: bool,
}

impl Wire {
    /// Whether all of the message is in `bytes`.
    pub(crate) fn is_whole(&self) -> bool {
        self.missing == 0 && !self.unfinished
    }
}

/// How the end of a body is told.
enum Framing {
    /// There is none, whatever the head says.
    NoBody,
    Length(u64),
    Chunked,
}

/// A request; `Err` where HTTP/1 can't carry its head.
pub(crate) fn request(request: &v1::Request) -> Result<Wire, Unfit> {
    let target = target(request);
    if !is_token(request.method.as_bytes())
        || target.is_empty()
        || target.bytes().any(|byte| byte <= b' ' || byte == 0x7f)
    {
        return Err(Unfit::InvalidHead);
    }
    let start = format!("{} {target} {}", request.method, version(&request.version));
    let has_host = request.headers.iter().any(|header| header.name.eq_ignore_ascii_case("host"));
    // HTTP/2 has no Host.
    let host = (!has_host && !request.host.is_empty()).then_some(request.host.as_str());
    let body =
        Body::of(request.body.as_ref(), request.completeness.as_ref(), &request.headers, &request.trailers);
    let says_length = request.headers.iter().any(|header| is_framing(&header.name));
    let framing = match body.framing() {
        Framing::Length(0) if !says_length => Framing::NoBody,
        framing => framing,
    };
    message(&start, host, &request.headers, framing, &body)
}

/// A response to a request of this method.
pub(crate) fn response(response: &v1::Response, method: &str) -> Result<Wire, Unfit> {
    if !(100..=999).contains(&response.status) || response.reason.contains(['\r', '\n', '\0']) {
        return Err(Unfit::InvalidHead);
    }
    let start = format!("{} {} {}", version(&response.version), response.status, response.reason);
    let body = Body::of(
        response.body.as_ref(),
        response.completeness.as_ref(),
        &response.headers,
        &response.trailers,
    );
    let bodiless = method == "HEAD"
        || matches!(response.status, 100..=199 | 204 | 304)
        || method == "CONNECT" && (200..300).contains(&response.status);
    let framing = if bodiless { Framing::NoBody } else { body.framing() };
    message(&start, None, &response.headers, framing, &body)
}

/// An interim response.
pub(crate) fn interim(status: u32) -> Vec<u8> {
    format!("HTTP/1.1 {status} \r\n\r\n").into_bytes()
}

/// The target as it was sent, in origin-form.
pub(crate) fn target(request: &v1::Request) -> String {
    let v1::Request { path, query, .. } = request;
    if query.is_empty() { path.clone() } else { format!("{path}?{query}") }
}

/// Whether the name of a field is one (RFC 9110, section 5.6.2).
pub(crate) fn is_token(name: &[u8]) -> bool {
    let is_token_byte = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !name.is_empty() && name.iter().all(is_token_byte)
}

/// Whether a field's value can be sent.
pub(crate) fn is_value(value: &[u8]) -> bool {
    !value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | b'\0'))
}

pub(crate) fn is_framing(name: &str) -> bool {
    name.eq_ignore_ascii_case("content-length") || name.eq_ignore_ascii_case("transfer-encoding")
}

/// A body with what its framing depends on.
struct Body<'a> {
    content: &'a [u8],
    trailers: &'a [v1::Header],
    decoded: bool,
    /// How many bytes of it were not kept; `None` where that is not known.
    missing: Option<u64>,
}

impl<'a> Body<'a> {
    fn of(
        body: Option<&'a v1::Body>,
        completeness: Option<&v1::Completeness>,
        headers: &[v1::Header],
        trailers: &'a [v1::Header],
    ) -> Self {
        let content = stored::content(body);
        let decoded = body.is_some_and(|body| !body.decoded_from.is_empty());
        let size = body.map_or(0, |body| body.size);
        let state = completeness.map_or(State::Unspecified, v1::Completeness::state);
        let dropped = body.is_some_and(|body| body.content.is_none() && !body.dropped.is_empty());
        let kept = content.len() as u64;
        let missing = match state {
            _ if dropped && !decoded => Some(size),
            // How long it was once decoded nobody knows.
            _ if dropped => None,
            State::Complete | State::Unspecified if decoded => Some(0),
            // Redaction changes lengths: what is there is whole.
            State::Complete => Some(0),
            State::Unspecified => Some(size.saturating_sub(kept)),
            State::Truncated | State::Gap | State::JoinedMidstream | State::Missing => {
                let declared =
                    headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
                let declared = declared.and_then(|header| header.value.trim().parse().ok()).unwrap_or(0);
                let length = size.max(declared);
                (!decoded && length > kept && length - kept <= MAX_MISSING).then(|| length - kept)
            }
        };
        Self { content, trailers, decoded, missing: missing.filter(|missing| *missing <= MAX_MISSING) }
    }

    fn framing(&self) -> Framing {
        match self.missing {
            Some(0) if !self.trailers.is_empty() => Framing::Chunked,
            Some(missing) => Framing::Length(self.content.len() as u64 + missing),
            None => Framing::Chunked,
        }
    }
}

fn message(
    start: &str,
    host: Option<&str>,
    headers: &[v1::Header],
    framing: Framing,
    body: &Body<'_>,
) -> Result<Wire, Unfit> {
    let mut bytes = Vec::with_capacity(1024 + body.content.len());
    bytes.extend_from_slice(start.as_bytes());
    bytes.extend_from_slice(b"\r\n");
    if let Some(host) = host {
        field(&mut bytes, "Host", host.as_bytes())?;
    }
    let mut framing_field = match framing {
        Framing::NoBody => None,
        Framing::Length(length) => Some(("Content-Length", length.to_string())),
        Framing::Chunked => Some(("Transfer-Encoding", "chunked".to_owned())),
    };
    for header in headers {
        if is_framing(&header.name) {
            match (&framing, framing_field.take()) {
                // To HEAD, it is of the body that GET would bring.
                (Framing::NoBody, _) if header.name.eq_ignore_ascii_case("content-length") => {
                    field(&mut bytes, &header.name, stored::value(header))?;
                }
                (_, Some((name, value))) => {
                    let name = if header.name.eq_ignore_ascii_case(name) { &header.name } else { name };
                    field(&mut bytes, name, value.as_bytes())?;
                }
                (_, None) => {}
            }
        } else if body.decoded && header.name.eq_ignore_ascii_case("content-encoding") {
            continue;
        } else {
            field(&mut bytes, &header.name, stored::value(header))?;
        }
    }
    if let Some((name, value)) = framing_field {
        field(&mut bytes, name, value.as_bytes())?;
    }
    bytes.extend_from_slice(b"\r\n");
    let mut wire = Wire { bytes, missing: 0, unfinished: false };
    match framing {
        Framing::NoBody => {}
        Framing::Length(length) => {
            wire.bytes.extend_from_slice(body.content);
            wire.missing = length - body.content.len() as u64;
        }
        Framing::Chunked => {
            if !body.content.is_empty() {
                wire.bytes.extend_from_slice(format!("{:x}\r\n", body.content.len()).as_bytes());
                wire.bytes.extend_from_slice(body.content);
                wire.bytes.extend_from_slice(b"\r\n");
            }
            wire.unfinished = body.missing != Some(0);
            if !wire.unfinished {
                wire.bytes.extend_from_slice(b"0\r\n");
                for trailer in body.trailers {
                    field(&mut wire.bytes, &trailer.name, stored::value(trailer))?;
                }
                wire.bytes.extend_from_slice(b"\r\n");
            }
        }
    }
    Ok(wire)
}

fn field(bytes: &mut Vec<u8>, name: &str, value: &[u8]) -> Result<(), Unfit> {
    if !is_token(name.as_bytes()) || !is_value(value) {
        return Err(Unfit::InvalidHead);
    }
    bytes.extend_from_slice(name.as_bytes());
    bytes.extend_from_slice(b": ");
    bytes.extend_from_slice(value);
    bytes.extend_from_slice(b"\r\n");
    Ok(())
}

fn version(stored: &str) -> &'static str {
    if stored == "HTTP/1.0" { "HTTP/1.0" } else { "HTTP/1.1" }
}
