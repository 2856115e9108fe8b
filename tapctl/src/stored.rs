//! Stored exchanges as the ones that they were made of, so that they can be gone through as they were on the node.

use bytes::Bytes;
use tap_flow::{
    Body, Cause, CgroupId, Completeness, Exchange, FlowKey, Header, Headers, Request, Response, Role, Span,
    TapId, Version,
};
use tap_proto::v1::{self, body::Content, completeness::State};
use tap_redact::{DropReason, Redaction, Redactor};

/// The exchange, as far as it was stored: no times, no addresses.
pub(crate) fn exchange(stored: v1::Exchange) -> Exchange {
    let address = std::net::SocketAddr::from(([0, 0, 0, 0], 0));
    Exchange {
        flow: FlowKey { tap: TapId(0), local: address, remote: address },
        cgroup: CgroupId(0),
        flow_serial: stored.flow,
        index: stored.flow_index,
        role: Role::Inbound,
        request: stored.request.map(request),
        response: stored.response.map(response),
        wire_bytes: stored.wire_bytes,
    }
}

fn request(stored: v1::Request) -> Request {
    let target =
        if stored.query.is_empty() { stored.path } else { format!("{}?{}", stored.path, stored.query) };
    let (body, completeness) = body(stored.body, stored.completeness);
    Request {
        method: stored.method.into(),
        target: target.into(),
        version: Version::Http11,
        headers: headers(stored.headers),
        body,
        trailers: headers(stored.trailers),
        completeness,
        span: Span::default(),
    }
}

fn response(stored: v1::Response) -> Response {
    let (body, completeness) = body(stored.body, stored.completeness);
    Response {
        status: u16::try_from(stored.status).unwrap_or_default(),
        reason: stored.reason.into(),
        version: Version::Http11,
        headers: headers(stored.headers),
        body,
        trailers: headers(stored.trailers),
        completeness,
        span: Span::default(),
        interim: Vec::new(),
    }
}

fn headers(stored: Vec<v1::Header>) -> Headers {
    let field = |stored: v1::Header| {
        let v1::Header { name, value, raw_value } = stored;
        (name, if raw_value.is_empty() { value.into_bytes() } else { raw_value })
    };
    stored.into_iter().map(field).collect()
}

/// The content that was kept, and whether more of it existed.
fn body(stored: Option<v1::Body>, completeness: Option<v1::Completeness>) -> (Body, Completeness) {
    let content: Bytes = match stored.and_then(|body| body.content) {
        Some(Content::Text(text)) => text.into(),
        Some(Content::Binary(bytes)) => bytes,
        None => Bytes::new(),
    };
    let is_whole = completeness.is_some_and(|completeness| completeness.state() == State::Complete);
    let completeness = if is_whole {
        Completeness::Complete
    } else {
        // What is stored begins at its beginning; how it ended does not matter to who reads it.
        Completeness::Truncated { bytes: 0, cause: Cause::BodyCap }
    };
    // Decoded when it was captured: a coding in the header does not tell of these bytes.
    (Body { size: content.len() as u64, content, ..Body::default() }, completeness)
}

/// `stored` as it would have been stored, had it been captured by an agent with this redactor.
pub(crate) fn redact(mut stored: v1::Exchange, redactor: &Redactor) -> v1::Exchange {
    let redacted = redactor.redact(exchange(stored.clone()));
    let dropped = (redacted.request_body_dropped(), redacted.response_body_dropped());
    let (redacted, redactions) = redacted.into_parts();
    if let (Some(stored), Some(redacted)) = (&mut stored.request, redacted.request) {
        let target = String::from_utf8_lossy(&redacted.target).into_owned();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        (stored.path, stored.query) = (path.to_owned(), query.to_owned());
        stored.headers = stored_headers(&redacted.headers);
        put(&mut stored.body, redacted.body, dropped.0);
    }
    if let (Some(stored), Some(redacted)) = (&mut stored.response, redacted.response) {
        stored.reason = String::from_utf8_lossy(&redacted.reason).into_owned();
        stored.headers = stored_headers(&redacted.headers);
        put(&mut stored.body, redacted.body, dropped.1);
    }
    stored.redactions = redactions
        .into_iter()
        .map(|Redaction { rule, place, action, count }| v1::Redaction { rule, place, action, count })
        .collect();
    stored
}

fn put(stored: &mut Option<v1::Body>, redacted: Body, dropped: Option<DropReason>) {
    let Some(stored) = stored else { return };
    if let Some(reason) = dropped {
        stored.content = None;
        stored.dropped = reason.as_str().to_owned();
        return;
    }
    stored.content = Some(match String::from_utf8(redacted.content.to_vec()) {
        Ok(text) => Content::Text(text),
        Err(_) => Content::Binary(redacted.content),
    });
}

fn stored_headers(headers: &Headers) -> Vec<v1::Header> {
    let field = |Header { name, value }: Header<'_>| {
        let raw_value = if std::str::from_utf8(value).is_ok() { Vec::new() } else { value.to_vec() };
        v1::Header {
            name: String::from_utf8_lossy(name).into_owned(),
            value: String::from_utf8_lossy(value).into_owned(),
            raw_value,
        }
    };
    headers.iter().map(field).collect()
}
