//! Bytes as text. JSON has them in the standard alphabet; tokens that clients put into an address are in the one for URLs.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Reads text with or without its padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// In the standard alphabet, padded.
pub(crate) fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// In the alphabet for URLs, padded.
pub(crate) fn encode_url(bytes: &[u8]) -> String {
    URL_SAFE.encode(bytes)
}

/// The bytes of a text in either alphabet; `None` where it is in neither. A space stands for the plus that became one in an
/// address.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let standard = |character: char| match character {
        '-' | ' ' => '+',
        '_' => '/',
        other => other,
    };
    LENIENT.decode(text.chars().map(standard).collect::<String>()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_alphabets_are_read_padded_or_not() {
        let bytes = [0xfb, 0xff, 0xfe, 1];
        for text in [encode(&bytes), encode_url(&bytes), "-__-AQ".into(), "+//+AQ".into(), " // AQ==".into()] {
            assert_eq!(decode(&text), Some(bytes.to_vec()), "{text}");
        }
        assert_eq!(decode("a*b"), None);
    }
}
