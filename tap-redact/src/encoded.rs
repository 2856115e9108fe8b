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

/// Whether the beginning of it decodes to text: most words and hashes do not, and are not decoded in full.
pub(crate) fn may_be_text(encoded: &[u8], variant: Variant) -> bool {
    let mut decoded = [0; 12];
    let whole = encoded.len().min(16) / 4 * 4;
    match variant.engine().decode_slice(&encoded[..whole], &mut decoded) {
        Ok(length) => {
            decoded[..length].iter().all(|byte| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~' | 0x80..))
        }
        Err(_) => false,
    }
}

pub(crate) fn encode(bytes: &[u8], variant: Variant) -> String {
    variant.engine().encode(bytes)
}

/// `None` for what is no base64.
pub(crate) fn decode(text: &[u8], variant: Variant) -> Option<Vec<u8>> {
    variant.engine().decode(text).ok()
}
