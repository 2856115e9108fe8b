//! Base64, to open it and to put it back as it was.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

/// As most readers do: with or without padding, whatever the last bits say.
const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const STANDARD_BARE: GeneralPurpose =
    GeneralPurpose::new(&alphabet::STANDARD, LENIENT.with_encode_padding(false));
const URL: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);
const URL_BARE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT.with_encode_padding(false));

/// How something is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Variant {
    is_url: bool,
    is_padded: bool,
}

impl Variant {
    /// The standard alphabet with padding.
    pub(crate) const STANDARD: Self = Self { is_url: false, is_padded: true };

    /// As a text is encoded, as far as it shows.
    pub(crate) fn of(text: &str) -> Self {
        let is_url = text.contains(['-', '_']);
        Self { is_url, is_padded: text.ends_with('=') || (!is_url && text.len().is_multiple_of(4)) }
    }

    fn engine(self) -> GeneralPurpose {
        match (self.is_url, self.is_padded) {
            (false, true) => STANDARD,
            (false, false) => STANDARD_BARE,
            (true, true) => URL,
            (true, false) => URL_BARE,
        }
    }
}

/// Digits that are looked at before all are decoded.
const FIRST_DIGITS: usize = 16;

/// The values of the digits of both alphabets; none of what is no digit.
const VALUES: [u8; 256] = {
    let mut values = [u8::MAX; 256];
    let mut byte = 0;
    while byte < 256 {
        values[byte] = match byte as u8 {
            upper @ b'A'..=b'Z' => upper - b'A',
            lower @ b'a'..=b'z' => lower - b'a' + 26,
            digit @ b'0'..=b'9' => digit - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => u8::MAX,
        };
        byte += 1;
    }
    values
};

/// Whether the beginning of it decodes to text: most words and hashes do not, and are not decoded in full.
pub(crate) fn may_be_text(encoded: &[u8]) -> bool {
    let mut decoded = [0; FIRST_DIGITS / 4 * 3];
    let mut length = 0;
    for chunk in encoded.chunks_exact(4).take(FIRST_DIGITS / 4) {
        let group =
            chunk.iter().fold(0_u32, |group, digit| group << 6 | u32::from(VALUES[usize::from(*digit)]));
        let [_, first, second, third] = group.to_be_bytes();
        if first < b' ' && !matches!(first, b'\t' | b'\n' | b'\r') {
            return false;
        }
        decoded[length..length + 3].copy_from_slice(&[first, second, third]);
        length += 3;
    }
    // The last group may be short, and the last character cut in two.
    let is_end = encoded.len() <= FIRST_DIGITS;
    match std::str::from_utf8(&decoded[..length]) {
        Ok(text) => is_end || !text.contains(|c: char| c.is_ascii_control() && !c.is_ascii_whitespace()),
        Err(error) => error.error_len().is_none() || is_end && error.valid_up_to() + 3 >= length,
    }
}

pub(crate) fn encode(bytes: &[u8], variant: Variant) -> String {
    variant.engine().encode(bytes)
}

/// `None` for what is no base64.
pub(crate) fn decode(text: &[u8], variant: Variant) -> Option<Vec<u8>> {
    variant.engine().decode(text).ok()
}
