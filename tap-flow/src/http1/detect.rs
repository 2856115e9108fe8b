//! Whether bytes look like the start of an HTTP/1 message, or of something else.

use super::head::Kind;
use crate::stats::Protocol;

/// The verdict on the first bytes of what may be a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// The start line is complete and plausible.
    Plausible,
    /// More bytes are needed.
    Undecided,
    Implausible,
}

/// Longer than any registered method (UPDATEREDIRECTREF has 17 letters).
pub(super) const MAX_METHOD: usize = 32;
/// "HTTP/1.1 200": what identifies a response.
const STATUS_PREFIX: usize = 12;

/// Looks at the start line alone; the head's parser has the last word.
pub(crate) fn detect_start(kind: Kind, bytes: &[u8]) -> Start {
    match kind {
        Kind::Request => detect_request(bytes),
        Kind::Response => detect_response(bytes),
    }
}

fn detect_request(bytes: &[u8]) -> Start {
    let method = bytes.iter().take(MAX_METHOD + 1).take_while(|byte| is_token(**byte)).count();
    match bytes.get(method) {
        _ if method > MAX_METHOD => return Start::Implausible,
        None => return Start::Undecided,
        Some(b' ') if method > 0 => {}
        Some(_) => return Start::Implausible,
    }
    let target = &bytes[method + 1..];
    match target.first() {
        None => return Start::Undecided,
        Some(first) if !first.is_ascii_graphic() && first.is_ascii() => return Start::Implausible,
        Some(_) => {}
    }
    let Some(end) = memchr::memchr(b'\n', target) else {
        return Start::Undecided;
    };
    let line = target[..end].strip_suffix(b"\r").unwrap_or(&target[..end]);
    let version = line.len().checked_sub(b" HTTP/1.x".len()).map(|at| &line[at..]);
    match version {
        Some([b' ', b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0' | b'1']) => Start::Plausible,
        _ => Start::Implausible,
    }
}

fn detect_response(bytes: &[u8]) -> Start {
    let shape = b"HTTP/1.v nnn";
    for (byte, expected) in bytes.iter().zip(shape) {
        let fits = match expected {
            b'v' => matches!(byte, b'0' | b'1'),
            b'n' => byte.is_ascii_digit(),
            literal => byte == literal,
        };
        if !fits {
            return Start::Implausible;
        }
    }
    if bytes.len() < STATUS_PREFIX { Start::Undecided } else { Start::Plausible }
}

/// Names what the first bytes of a connection are that are not HTTP/1.
pub(crate) fn detect_protocol(bytes: &[u8]) -> Protocol {
    match bytes {
        // A TLS record: handshake, alert, change cipher spec or application data of SSL 3.0 to TLS 1.3.
        [0x14..=0x17, 0x03, 0x00..=0x04, ..] => Protocol::Tls,
        [b'P', b'R', b'I', b' ', b'*', b' ', b'H', b'T', b'T', b'P', b'/', b'2', ..] => Protocol::Http2,
        _ => Protocol::Other,
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_lines() {
        let verdict = |line: &[u8]| detect_start(Kind::Request, line);
        assert_eq!(verdict(b"GET / HTTP/1.1\r\n"), Start::Plausible);
        assert_eq!(verdict(b"X-odd~verb * HTTP/1.0\n"), Start::Plausible);
        for end in 0..b"GET / HTTP/1.1\r".len() {
            assert_eq!(verdict(&b"GET / HTTP/1.1\r"[..end]), Start::Undecided, "{end}");
        }
        for line in [
            &b"\x16\x03\x01"[..],
            b"*1\r\n$4\r\nPING\r\n",
            b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n",
            b"GET foo\r\n",
            b"GET  / HTTP/1.1\r\n",
            b"PRI * HTTP/2.0\r\n",
            b"\0\0\0\x2f\0\x03\0\0user",
            b" GET / HTTP/1.1\r\n",
            b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        ] {
            assert_eq!(verdict(line), Start::Implausible, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn status_lines() {
        let verdict = |line: &[u8]| detect_start(Kind::Response, line);
        assert_eq!(verdict(b"HTTP/1.1 200 OK\r\n"), Start::Plausible);
        assert_eq!(verdict(b"HTTP/1.0 404"), Start::Plausible);
        assert_eq!(verdict(b"HTTP/1."), Start::Undecided);
        for line in [&b"HTTP/2 200 OK\r\n"[..], b"HTTP/1.1 2x0", b"SSH-2.0-x", b"+OK\r\n", b"http/1.1 200"] {
            assert_eq!(verdict(line), Start::Implausible, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn other_protocols_are_named() {
        assert_eq!(detect_protocol(b"\x16\x03\x01\x02\x00"), Protocol::Tls);
        assert_eq!(detect_protocol(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Protocol::Http2);
        assert_eq!(detect_protocol(b"+PONG\r\n"), Protocol::Other);
    }
}
