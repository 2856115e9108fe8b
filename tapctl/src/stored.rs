//! Stored exchanges through redaction, as on the node.

use tap_flow::{Body, Request, RequestTarget};
use tap_formats::stored::{exchange, header_messages};
use tap_proto::v1::{self, body::Content};
use tap_redact::{DropReason, Redaction, Redactor};

/// `stored` as it would have been stored, had it been captured by an agent with this redactor.
pub(crate) fn redact(mut stored: v1::Exchange, redactor: &Redactor) -> v1::Exchange {
    let redacted = redactor.redact(exchange(stored.clone()));
    let dropped = (redacted.request_body_dropped(), redacted.response_body_dropped());
    let (redacted, redactions) = redacted.into_parts();
    if let (Some(stored), Some(redacted)) = (&mut stored.request, redacted.request) {
        let RequestTarget { scheme: _, host: _, path, query } = Request::parts(&redacted);
        (stored.path, stored.query) = (path.into_owned(), query.into_owned());
        stored.headers = header_messages(&redacted.headers);
        put(&mut stored.body, redacted.body, dropped.0);
    }
    if let (Some(stored), Some(redacted)) = (&mut stored.response, redacted.response) {
        stored.reason = String::from_utf8_lossy(&redacted.reason).into_owned();
        stored.headers = header_messages(&redacted.headers);
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
