//! Where the body of an HTTP/1 answer ends (RFC 9112, 6.3). Pure.

use super::head::Head;

/// A chunk's extensions, or the trailers: nobody sends more in earnest.
const MAX_OVERHEAD_BYTES: usize = 64 * 1024;
/// Sixteen digits are all that a `u64` has.
const MAX_SIZE_DIGITS: u32 = 16;

/// The answer is not HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Invalid;

/// What is still to come of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// So many bytes.
    Length(u64),
    Chunked(Chunked),
    /// All until the connection ends.
    UntilClose,
}

/// What a piece of input was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fed {
    /// Bytes of the input that belong to the body's framing or content.
    pub(super) consumed: usize,
    pub(super) done: bool,
}

/// The place in a chunked body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chunked {
    state: State,
    /// Of extensions and trailers so far.
    overhead: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size { size: u64, digits: u32 },
    Extension { size: u64 },
    SizeLineFeed { size: u64 },
    Data { left: u64 },
    DataCarriageReturn,
    DataLineFeed,
    TrailerStart,
    Trailer,
    EndLineFeed,
}

impl Body {
    /// The body that follows `head`, in answer to a request with or without HEAD's method.
    pub(super) fn of(head: &Head<'_>, answers_head: bool) -> Result<Self, Invalid> {
        if answers_head || matches!(head.status(), 100..=199 | 204 | 304) {
            return Ok(Self::Length(0));
        }
        let codings = head.all("transfer-encoding").last();
        if let Some(codings) = codings {
            let last = codings.rsplit(|&byte| byte == b',').next().unwrap_or_default();
            return Ok(if last.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                Self::Chunked(Chunked::new())
            } else {
                Self::UntilClose
            });
        }
        let mut length = None;
        for value in head.all("content-length") {
            for value in value.split(|&byte| byte == b',') {
                let value = parse_length(value.trim_ascii())?;
                if length.is_some_and(|length| length != value) {
                    return Err(Invalid);
                }
                length = Some(value);
            }
        }
        Ok(length.map_or(Self::UntilClose, Self::Length))
    }

    /// Takes what belongs to the body from the start of `input`, and gives the content to `content`.
    pub(super) fn feed(&mut self, input: &[u8], mut content: impl FnMut(&[u8])) -> Result<Fed, Invalid> {
        match self {
            Self::Length(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                if taken > 0 {
                    content(&input[..taken]);
                }
                *left -= taken as u64;
                Ok(Fed { consumed: taken, done: *left == 0 })
            }
            Self::Chunked(chunked) => chunked.feed(input, content),
            Self::UntilClose => {
                if !input.is_empty() {
                    content(input);
                }
                Ok(Fed { consumed: input.len(), done: false })
            }
        }
    }
}

impl Chunked {
    fn new() -> Self {
        Self { state: State::Size { size: 0, digits: 0 }, overhead: 0 }
    }

    fn feed(&mut self, input: &[u8], mut content: impl FnMut(&[u8])) -> Result<Fed, Invalid> {
        let mut position = 0;
        while position < input.len() {
            if let State::Data { left } = self.state {
                let rest = &input[position..];
                let taken = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                content(&rest[..taken]);
                position += taken;
                let left = left - taken as u64;
                self.state = if left == 0 { State::DataCarriageReturn } else { State::Data { left } };
                continue;
            }
            let byte = input[position];
            position += 1;
            self.state = match (self.state, byte) {
                (State::EndLineFeed, b'\n') => return Ok(Fed { consumed: position, done: true }),
                (state, byte) => self.step(state, byte)?,
            };
        }
        Ok(Fed { consumed: position, done: false })
    }

    fn step(&mut self, state: State, byte: u8) -> Result<State, Invalid> {
        Ok(match (state, byte) {
            (State::Size { size, digits }, byte) if byte.is_ascii_hexdigit() => {
                if digits == MAX_SIZE_DIGITS {
                    return Err(Invalid);
                }
                let digit = char::from(byte).to_digit(16).ok_or(Invalid)?;
                State::Size { size: size << 4 | u64::from(digit), digits: digits + 1 }
            }
            (State::Size { digits: 0, .. }, _) => return Err(Invalid),
            (State::Size { size, .. } | State::Extension { size }, b'\r') => State::SizeLineFeed { size },
            // A space after the size is what some servers pad it with.
            (State::Size { size, .. }, b';' | b' ' | b'\t') => State::Extension { size },
            (State::Extension { size }, byte) if byte != b'\n' => {
                self.grow()?;
                State::Extension { size }
            }
            (State::SizeLineFeed { size: 0 }, b'\n') => State::TrailerStart,
            (State::SizeLineFeed { size }, b'\n') => State::Data { left: size },
            (State::DataCarriageReturn, b'\r') => State::DataLineFeed,
            (State::DataLineFeed, b'\n') => State::Size { size: 0, digits: 0 },
            (State::TrailerStart, b'\r') => State::EndLineFeed,
            (State::TrailerStart | State::Trailer, b'\n') if state == State::Trailer => State::TrailerStart,
            (State::TrailerStart | State::Trailer, byte) if byte != b'\n' => {
                self.grow()?;
                State::Trailer
            }
            _ => return Err(Invalid),
        })
    }

    fn grow(&mut self) -> Result<(), Invalid> {
        self.overhead += 1;
        if self.overhead > MAX_OVERHEAD_BYTES { Err(Invalid) } else { Ok(()) }
    }
}

fn parse_length(digits: &[u8]) -> Result<u64, Invalid> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Invalid);
    }
    std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).ok_or(Invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(headers: &[(&str, &str)]) -> Result<Body, Invalid> {
        let headers: Vec<_> =
            headers.iter().map(|&(name, value)| httparse::Header { name, value: value.as_bytes() }).collect();
        Body::of(&Head::new(200, 1, &headers), false)
    }

    /// The content of `input`, fed in pieces of `size` bytes, and what follows the body.
    fn content(mut body: Body, input: &[u8], size: usize) -> Result<(Vec<u8>, bool), Invalid> {
        let mut content = Vec::new();
        for piece in input.chunks(size) {
            let fed = body.feed(piece, |bytes| content.extend_from_slice(bytes))?;
            if fed.done {
                return Ok((content, true));
            }
            assert_eq!(fed.consumed, piece.len());
        }
        Ok((content, false))
    }

    #[test]
    fn the_framing_is_what_the_head_says() {
        assert_eq!(body(&[("Content-Length", "12")]), Ok(Body::Length(12)));
        assert_eq!(body(&[("Content-Length", "3, 3")]), Ok(Body::Length(3)));
        assert_eq!(body(&[]), Ok(Body::UntilClose));
        assert_eq!(
            body(&[("Transfer-Encoding", "gzip, Chunked"), ("Content-Length", "1")]),
            Ok(Body::Chunked(Chunked::new()))
        );
        assert_eq!(body(&[("Transfer-Encoding", "gzip")]), Ok(Body::UntilClose));
        for wrong in ["", "-1", "+1", "1x", "99999999999999999999", "1,2"] {
            assert_eq!(body(&[("content-length", wrong)]), Err(Invalid), "{wrong}");
        }
        let headers = [httparse::Header { name: "content-length", value: b"5" }];
        for status in [101, 204, 304] {
            assert_eq!(Body::of(&Head::new(status, 1, &headers), false), Ok(Body::Length(0)));
        }
        assert_eq!(Body::of(&Head::new(200, 1, &headers), true), Ok(Body::Length(0)));
    }

    #[test]
    fn chunks_are_put_together_however_they_are_cut() {
        let input = b"5\r\nhello\r\n1;a=\"b\"\r\n \r\n00A \r\n0123456789\r\n0\r\nX-Sum: 1\r\nY: 2\r\n\r\n";
        for size in 1..input.len() {
            let (content, done) = content(Body::Chunked(Chunked::new()), input, size).unwrap();
            assert_eq!(content, b"hello 0123456789", "{size}");
            assert!(done, "{size}");
        }
    }

    #[test]
    fn what_follows_a_body_is_left() {
        let mut chunked = Body::Chunked(Chunked::new());
        let fed = chunked.feed(b"1\r\nx\r\n0\r\n\r\nHTTP", |_| {}).unwrap();
        assert_eq!(fed, Fed { consumed: 11, done: true });
        let fed = Body::Length(2).feed(b"abc", |_| {}).unwrap();
        assert_eq!(fed, Fed { consumed: 2, done: true });
    }

    #[test]
    fn broken_chunks_are_not_http() {
        for input in [&b"zz\r\n"[..], b"\r\n", b"1\nx", b"1\r\nxy\r\n", b"00000000000000001\r\n", b"0\r\n\n"]
        {
            assert_eq!(content(Body::Chunked(Chunked::new()), input, 1), Err(Invalid), "{input:?}");
        }
        let endless = [b"1;".to_vec(), vec![b'x'; MAX_OVERHEAD_BYTES + 1]].concat();
        assert_eq!(content(Body::Chunked(Chunked::new()), &endless, 4_096), Err(Invalid));
    }
}
