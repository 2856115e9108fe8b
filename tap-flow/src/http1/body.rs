//! How long a body is (RFC 9112, section 6.3), and the chunked transfer coding (section 7.1).

use super::head::{ContentLength, Head, Method, StartLine, TransferEncoding};
use crate::exchange::Version;

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    NoBody,
    Length(u64),
    Chunked,
    /// Everything until the connection ends.
    UntilClose,
    /// Two readers may disagree: nobody guesses.
    Ambiguous,
    /// No body, and what follows is another protocol.
    Tunnel,
}

pub(crate) fn framing_of_request(head: &Head) -> Framing {
    match (head.fields.transfer_encoding, head.fields.content_length) {
        (TransferEncoding::Absent, ContentLength::Absent | ContentLength::Valid(0)) => Framing::NoBody,
        _ => framing_by_fields(head),
    }
}

/// The request's method decides whether its response has a body at all; without one it is like most.
pub(crate) fn framing_of_response(head: &Head, method: Method) -> Framing {
    let StartLine::Response { status, .. } = head.start_line else {
        return Framing::Ambiguous;
    };
    match (status, method) {
        (101, _) => Framing::Tunnel,
        (200..=299, Method::Connect) => Framing::Tunnel,
        (100..=199 | 204 | 304, _) | (_, Method::Head) => Framing::NoBody,
        _ => framing_by_fields(head),
    }
}

fn framing_by_fields(head: &Head) -> Framing {
    match (head.fields.transfer_encoding, head.fields.content_length) {
        (TransferEncoding::Absent, ContentLength::Absent) => Framing::UntilClose,
        (TransferEncoding::Absent, ContentLength::Valid(0)) => Framing::NoBody,
        (TransferEncoding::Absent, ContentLength::Valid(length)) => Framing::Length(length),
        // HTTP/1.0 knows no chunks: whoever sends them there is faulty or smuggles (RFC 9112, 6.1).
        (TransferEncoding::Chunked, ContentLength::Absent) if head.version == Version::Http11 => {
            Framing::Chunked
        }
        _ => Framing::Ambiguous,
    }
}

/// Where in the chunked coding the next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chunked {
    Size {
        value: u64,
        digits: u8,
    },
    /// Spaces after the size, which some senders pad it with.
    SizePadding {
        value: u64,
    },
    Extension {
        value: u64,
    },
    SizeLineFeed {
        value: u64,
    },
    Content {
        remaining: u64,
    },
    ContentCarriageReturn,
    ContentLineFeed,
    /// After the last chunk: the trailer section, which the caller reads.
    Trailers,
}

/// What one step through chunked bytes found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChunkedStep {
    /// Framing: to be skipped.
    Framing {
        length: usize,
    },
    /// Body content.
    Content {
        length: usize,
    },
    /// The trailer section begins.
    Trailers,
    Invalid,
}

/// Hex digits of a chunk size that fits in 64 bits.
const MAX_SIZE_DIGITS: u8 = 16;

impl Chunked {
    pub(crate) const START: Self = Self::Size { value: 0, digits: 0 };

    /// Takes a run of `bytes`, which are not empty.
    pub(crate) fn step(&mut self, bytes: &[u8]) -> ChunkedStep {
        let Some(&byte) = bytes.first() else {
            return ChunkedStep::Framing { length: 0 };
        };
        let mut length = 1;
        *self = match *self {
            Self::Size { value, digits } => match ((byte as char).to_digit(16), byte) {
                (Some(digit), _) if digits < MAX_SIZE_DIGITS => {
                    Self::Size { value: value << 4 | u64::from(digit), digits: digits + 1 }
                }
                (None, b'\r') if digits > 0 => Self::SizeLineFeed { value },
                (None, b';') if digits > 0 => Self::Extension { value },
                (None, b' ' | b'\t') if digits > 0 => Self::SizePadding { value },
                _ => return ChunkedStep::Invalid,
            },
            Self::SizePadding { value } => match byte {
                b' ' | b'\t' => Self::SizePadding { value },
                b';' => Self::Extension { value },
                b'\r' => Self::SizeLineFeed { value },
                _ => return ChunkedStep::Invalid,
            },
            // A bare line feed here is read differently by different servers.
            Self::Extension { value } => match memchr::memchr2(b'\r', b'\n', bytes) {
                Some(at) if bytes[at] == b'\r' => {
                    length = at + 1;
                    Self::SizeLineFeed { value }
                }
                Some(_) => return ChunkedStep::Invalid,
                None => {
                    length = bytes.len();
                    Self::Extension { value }
                }
            },
            Self::SizeLineFeed { value } => match (byte, value) {
                (b'\n', 0) => Self::Trailers,
                (b'\n', remaining) => Self::Content { remaining },
                _ => return ChunkedStep::Invalid,
            },
            Self::Content { remaining } => {
                let length = usize::try_from(remaining).map_or(bytes.len(), |n| n.min(bytes.len()));
                *self = match remaining - length as u64 {
                    0 => Self::ContentCarriageReturn,
                    remaining => Self::Content { remaining },
                };
                return ChunkedStep::Content { length };
            }
            Self::ContentCarriageReturn if byte == b'\r' => Self::ContentLineFeed,
            Self::ContentLineFeed if byte == b'\n' => Self::START,
            Self::ContentCarriageReturn | Self::ContentLineFeed => return ChunkedStep::Invalid,
            Self::Trailers => return ChunkedStep::Trailers,
        };
        ChunkedStep::Framing { length }
    }

    /// Skips bytes that were lost, if they lie within one chunk's content.
    pub(crate) fn skip(&mut self, lost: u64) -> bool {
        match *self {
            Self::Content { remaining } if lost <= remaining => {
                *self = match remaining - lost {
                    0 => Self::ContentCarriageReturn,
                    remaining => Self::Content { remaining },
                };
                true
            }
            _ => false,
        }
    }
}
