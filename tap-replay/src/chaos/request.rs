//! The head of a request that is ready to be written, with what a fault says of its body.

use bytes::Bytes;
use http::HeaderValue;

use crate::request::Outgoing;

const NAME: &str = "content-type:";
const LINE_END: &[u8] = b"\r\n";

/// `request` with another `Content-Type`, whether it had one or not.
pub(crate) fn with_content_type(request: &Outgoing, value: &HeaderValue) -> Outgoing {
    let (head, body) = request.bytes.split_at(request.head_length);
    // Its last two bytes end the empty line after the fields.
    let fields = head.strip_suffix(LINE_END).unwrap_or(head);
    let mut bytes = Vec::with_capacity(request.bytes.len() + NAME.len() + value.len() + 8);
    for line in fields.split_inclusive(|byte| *byte == b'\n') {
        let is_it = line.get(..NAME.len()).is_some_and(|name| name.eq_ignore_ascii_case(NAME.as_bytes()));
        if !is_it {
            bytes.extend_from_slice(line);
        }
    }
    bytes.extend_from_slice(b"Content-Type: ");
    bytes.extend_from_slice(value.as_bytes());
    bytes.extend_from_slice(b"\r\n\r\n");
    let head_length = bytes.len();
    bytes.extend_from_slice(body);
    Outgoing { bytes: Bytes::from(bytes), head_length, ..request.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outgoing(head: &str, body: &str) -> Outgoing {
        Outgoing {
            bytes: format!("{head}{body}").into(),
            head_length: head.len(),
            is_head: false,
            is_idempotent: false,
        }
    }

    #[test]
    fn the_type_becomes_another_and_nothing_else_does() {
        let value = HeaderValue::from_static("text/plain");
        for head in [
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\r\n",
            "POST / HTTP/1.1\r\ncontent-type: a/b\r\nHost: x\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: x\r\n\r\n",
        ] {
            let changed = with_content_type(&outgoing(head, "Content-Type: body\r\n"), &value);
            let (head, body) = changed.bytes.split_at(changed.head_length);
            assert_eq!(head, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n\r\n");
            assert_eq!(body, b"Content-Type: body\r\n");
        }
    }
}
