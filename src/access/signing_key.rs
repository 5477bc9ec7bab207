//! HMAC-SHA256 with a secret that is shared with the application: signs texts, and checks signatures in constant time.
//!
//! A signature is written as 64 hexadecimal digits, which every language prints without help.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign, verify};

/// The secret, ready for use: 1.2 KB, shared by its copies; never printed.
#[derive(Clone)]
pub struct SigningKey(Arc<Key>);

impl SigningKey {
    pub fn new(secret: &[u8]) -> Self {
        Self(Arc::new(Key::new(HMAC_SHA256, secret)))
    }

    /// The signature of a text.
    pub fn sign(&self, text: &[u8]) -> String {
        sign(&self.0, text).as_ref().iter().flat_map(|byte| [byte >> 4, byte & 15]).map(digit).collect()
    }

    /// Whether this is the signature of the text. How long that takes says nothing about the secret.
    pub fn is_signature(&self, text: &[u8], signature: &[u8]) -> bool {
        // A malformed signature takes as long as a wrong one.
        let tag = parse_hex(signature).unwrap_or([0; TAG_BYTES]);
        verify(&self.0, text, &tag).is_ok()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SigningKey(..)")
    }
}

/// SHA-256's.
const TAG_BYTES: usize = 32;

fn digit(nibble: u8) -> char {
    char::from_digit(u32::from(nibble), 16).expect("half a byte is one digit")
}

fn parse_hex(text: &[u8]) -> Option<[u8; TAG_BYTES]> {
    let mut tag = [0; TAG_BYTES];
    if text.len() != 2 * TAG_BYTES {
        return None;
    }
    for (byte, digits) in tag.iter_mut().zip(text.chunks_exact(2)) {
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, test case 2.
    const SIGNATURE: &str = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    const TEXT: &[u8] = b"what do ya want for nothing?";

    #[test]
    fn a_signature_is_that_of_hmac_sha256() {
        let key = SigningKey::new(b"Jefe");
        assert_eq!(key.sign(TEXT), SIGNATURE);
        assert!(key.is_signature(TEXT, SIGNATURE.as_bytes()));
        assert!(key.is_signature(TEXT, SIGNATURE.to_uppercase().as_bytes()));
    }

    #[test]
    fn anything_else_is_no_signature() {
        let key = SigningKey::new(b"Jefe");
        let last_differs = SIGNATURE.replace("3843", "3844");
        let is_signed = |signature: &str| key.is_signature(TEXT, signature.as_bytes());
        for signature in ["", &SIGNATURE[1..], &format!("{SIGNATURE}00"), &last_differs] {
            assert!(!is_signed(signature), "{signature}");
        }
        // What `from_str_radix` alone would take for a number.
        assert!(!is_signed(&SIGNATURE.replacen("5b", "+b", 1)));
        assert!(!key.is_signature(b"what do ya want", SIGNATURE.as_bytes()));
        assert!(!SigningKey::new(b"jefe").is_signature(TEXT, SIGNATURE.as_bytes()));
    }

    #[test]
    fn a_key_is_not_printed() {
        assert_eq!(format!("{:?}", SigningKey::new(b"Jefe")), "SigningKey(..)");
    }
}
