//! The outside of a token (RFC 7515, section 7.1): three parts, and the header that says which key.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

/// The parts of a token, encoded as they came.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    pub header: &'a str,
    pub payload: &'a str,
    pub signature: &'a str,
    /// Header, dot and payload: what the signature is over.
    pub signed: &'a [u8],
}

impl<'a> Parts<'a> {
    /// None: it is no token.
    pub fn split(token: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(token).ok()?;
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        (!payload.contains('.')).then_some(Self { header, payload, signature, signed: signed.as_bytes() })
    }
}

/// What of a header is looked at. Keys and addresses of keys that it may carry are not.
#[derive(Debug, Deserialize)]
pub struct Header {
    #[serde(rename = "alg")]
    pub algorithm: String,
    #[serde(rename = "kid")]
    pub key_id: Option<String>,
    #[serde(rename = "crit")]
    pub critical: Option<serde_json::Value>,
}

impl Header {
    /// None: it is not base64url of a JSON object with the members of their types.
    pub fn read(part: &str) -> Option<Self> {
        serde_json::from_slice(&decode(part)?).ok()
    }
}

/// The bytes of a part.
pub(super) fn decode(part: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(part).ok()
}
