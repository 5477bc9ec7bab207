//! A secret: never printed, and compared in a time that does not tell how much of it was right.

use std::fmt;
use std::hint::black_box;

#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The secret itself, to be used and not to be shown.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether these bytes are the secret. The time depends on their length alone.
    pub fn is(&self, shown: &[u8]) -> bool {
        let secret = self.0.as_bytes();
        let mut difference = usize::from(secret.len() != shown.len());
        for (index, &byte) in shown.iter().enumerate() {
            // Of a secret that is shorter some byte is looked at all the same.
            let of_secret = secret.get(index).or_else(|| secret.last()).copied().unwrap_or_default();
            // Opaque, so that the loop is not left at the first difference.
            difference |= black_box(usize::from(of_secret ^ byte));
        }
        difference == 0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_secret_is_the_secret() {
        let secret = Secret::new("0123456789abcdef".into());
        assert!(secret.is(b"0123456789abcdef"));
        for other in [
            &b""[..],
            b"0",
            b"0123456789abcdeg",
            b"1123456789abcdef",
            b"0123456789abcdeff",
            b"0123456789ABCDEF",
        ] {
            assert!(!secret.is(other), "{}", other.escape_ascii());
        }
        assert!(!Secret::new(String::new()).is(b"x"));
        assert_eq!(format!("{secret:?}"), "Secret(..)");
    }
}
