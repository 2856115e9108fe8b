//! Content codings (RFC 9110, section 8.4.1): gzip, deflate, br, zstd and lists of them, within limits.
//!
//! Decoding happens once, when the message has ended, from what was kept of it. The output is capped at each
//! step, so a bomb costs no more than an honest body of the same cap.

use std::io::Read;

use bytes::Bytes;

use crate::{exchange::Cause, headers::Headers, limits::Limits};

/// Whether the encoded bytes are all there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    Whole,
    Prefix,
}

/// A body with its codings removed, or not.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Decoded {
    pub(crate) content: Bytes,
    /// The codings that were removed, in the order of the header.
    pub(crate) decoded_from: Bytes,
    /// `content` is still encoded.
    pub(crate) undecoded: bool,
    /// Why the end of the decoded body is not there.
    pub(crate) capped: Option<Cause>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Gzip,
    Deflate,
    Brotli,
    Zstd,
}

/// How one decoder came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Ended,
    Capped,
    Failed,
}

/// More are a bomb or a mistake.
const MAX_CODINGS: usize = 4;
/// Below this the ratio of output to input says nothing.
const RATIO_FREE_BYTES: usize = 64 * 1024;
/// 8 MiB: what RFC 9659 allows in HTTP.
const ZSTD_WINDOW_LOG: u32 = 23;
const BROTLI_BUFFER: usize = 4096;

/// Removes the codings that `headers` name; none if they name none.
pub(crate) fn decode(headers: &Headers, encoded: &[u8], input: Input, limits: &Limits) -> Option<Decoded> {
    let mut words = headers
        .all("content-encoding")
        .flat_map(|value| value.split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|word| !word.is_empty() && !word.eq_ignore_ascii_case(b"identity"))
        .peekable();
    words.peek()?;
    let mut codings = Vec::new();
    let mut names = Vec::new();
    for word in words {
        match Coding::from_word(word) {
            Some(coding) if codings.len() < MAX_CODINGS => codings.push(coding),
            _ => return Some(Decoded::undecoded(encoded, limits)),
        }
        if !names.is_empty() {
            names.extend_from_slice(b", ");
        }
        names.extend_from_slice(word);
    }
    let mut content: Option<Vec<u8>> = None;
    let mut input = input;
    let mut capped = None;
    for (left, coding) in codings.into_iter().enumerate().rev() {
        let source = content.as_deref().unwrap_or(encoded);
        let ratio = source.len().saturating_mul(limits.decode_ratio).max(RATIO_FREE_BYTES);
        let size = if left == 0 { limits.body_bytes } else { limits.encoded_body_bytes };
        let (decoded, outcome) = coding.decode(source, size.min(ratio));
        match (outcome, input) {
            (Outcome::Ended, _) => {}
            (Outcome::Capped, _) => {
                input = Input::Prefix;
                let is_body_cap = left == 0 && size <= ratio;
                capped.get_or_insert(if is_body_cap { Cause::BodyCap } else { Cause::DecodeCap });
            }
            (Outcome::Failed, Input::Prefix) if !decoded.is_empty() => {}
            (Outcome::Failed, _) => return Some(Decoded::undecoded(encoded, limits)),
        }
        content = Some(decoded);
    }
    let content = Bytes::from(content.unwrap_or_default());
    Some(Decoded { content, decoded_from: Bytes::from(names), undecoded: false, capped })
}

impl Decoded {
    fn undecoded(encoded: &[u8], limits: &Limits) -> Self {
        let kept = encoded.len().min(limits.body_bytes);
        Self {
            content: Bytes::copy_from_slice(&encoded[..kept]),
            decoded_from: Bytes::new(),
            undecoded: true,
            capped: (kept < encoded.len()).then_some(Cause::BodyCap),
        }
    }
}

impl Coding {
    fn from_word(word: &[u8]) -> Option<Self> {
        let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
        match () {
            () if is(b"gzip") || is(b"x-gzip") => Some(Self::Gzip),
            () if is(b"deflate") => Some(Self::Deflate),
            () if is(b"br") => Some(Self::Brotli),
            () if is(b"zstd") => Some(Self::Zstd),
            () => None,
        }
    }

    fn decode(self, encoded: &[u8], cap: usize) -> (Vec<u8>, Outcome) {
        match self {
            Self::Gzip => read_capped(flate2::read::MultiGzDecoder::new(encoded), cap),
            Self::Deflate if is_zlib(encoded) => read_capped(flate2::read::ZlibDecoder::new(encoded), cap),
            Self::Deflate => read_capped(flate2::read::DeflateDecoder::new(encoded), cap),
            Self::Brotli => read_capped(brotli_decompressor::Decompressor::new(encoded, BROTLI_BUFFER), cap),
            Self::Zstd => {
                let decoder = zstd::Decoder::with_buffer(encoded).and_then(|mut decoder| {
                    decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                    Ok(decoder)
                });
                decoder.map_or((Vec::new(), Outcome::Failed), |decoder| read_capped(decoder, cap))
            }
        }
    }
}

/// The header of RFC 1950; some senders of "deflate" leave it out.
fn is_zlib(encoded: &[u8]) -> bool {
    matches!(encoded, [cmf, flg, ..] if cmf & 0x0f == 8 && u16::from_be_bytes([*cmf, *flg]) % 31 == 0)
}

fn read_capped(mut decoder: impl Read, cap: usize) -> (Vec<u8>, Outcome) {
    let mut output = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match decoder.read(&mut piece) {
            Ok(0) => return (output, Outcome::Ended),
            Ok(length) if length > cap - output.len() => {
                output.extend_from_slice(&piece[..cap - output.len()]);
                return (output, Outcome::Capped);
            }
            Ok(length) => output.extend_from_slice(&piece[..length]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return (output, Outcome::Failed),
        }
    }
}
