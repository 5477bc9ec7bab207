//! What signatures are checked with: the keys of every source that the configuration names, each in its place.
//!
//! A source is a text that an operator wrote, in the file of options or in a file of its own; its keys may be replaced
//! while courier runs. Reading is here, the file is the driver's. Keys are never printed.

use std::sync::Arc;

use aws_lc_rs::rsa::PublicKey;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyOperations, PublicKeyUse};
use jsonwebtoken::{DecodingKey, DecodingKeyKind};

use crate::access::jwt::Algorithm;
use crate::access::signing_key::SigningKey;
use crate::base::limits::KEYS_PER_SET;

/// The keys of all sources. The same for every shard.
#[derive(Debug, Clone, Default)]
pub struct KeyRing(Vec<Keys>);

/// The place of a source in the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeyIndex(usize);

/// The keys of one source.
#[derive(Debug, Clone)]
pub enum Keys {
    /// At least one.
    Tokens(Arc<[TokenKey]>),
    Urls(SigningKey),
}

/// A key that tokens may be signed with.
#[derive(Debug, Clone)]
pub struct TokenKey {
    /// Its `kid`, in a set.
    pub id: Option<String>,
    key: DecodingKey,
}

/// How a source is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyForm {
    /// One key: a secret as it is, a public key as PEM.
    Token(Algorithm),
    /// A JSON Web Key Set (RFC 7517), of which the keys that fit are used.
    TokenSet(Algorithm),
    /// A secret for signed URLs.
    Url,
}

/// Why a source has no keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadKey {
    Empty,
    /// PEM where a secret belongs: whoever has the public key could sign.
    PemAsSecret,
    PrivateKey,
    Certificate,
    NotPem,
    /// A key of another kind, of another curve, or too short.
    Unusable,
    NotASet,
    NoneFits,
    TooMany,
}

impl KeyRing {
    /// Adds a source.
    pub fn push(&mut self, keys: Keys) -> KeyIndex {
        self.0.push(keys);
        KeyIndex(self.0.len() - 1)
    }

    /// Other keys for a source.
    pub fn replace(&mut self, index: KeyIndex, keys: Keys) {
        self.0[index.0] = keys;
    }

    /// The keys of a source for tokens.
    ///
    /// # Panics
    /// If the source is for something else: who made the rule made the ring.
    pub fn token_keys(&self, index: KeyIndex) -> &[TokenKey] {
        match &self.0[index.0] {
            Keys::Tokens(keys) => keys,
            Keys::Urls(_) => panic!("a rule for tokens has keys for tokens"),
        }
    }

    /// The key of a source for URLs.
    ///
    /// # Panics
    /// If the source is for something else: who made the rule made the ring.
    pub fn url_key(&self, index: KeyIndex) -> &SigningKey {
        match &self.0[index.0] {
            Keys::Urls(key) => key,
            Keys::Tokens(_) => panic!("a rule for URLs has a key for URLs"),
        }
    }
}

impl KeyForm {
    /// The keys that a text holds.
    pub fn read(self, text: &[u8]) -> Result<Keys, BadKey> {
        match self {
            Self::Token(algorithm) => one(algorithm, text).map(|key| Keys::Tokens([key].into())),
            Self::TokenSet(algorithm) => set(algorithm, text).map(Keys::Tokens),
            Self::Url => secret(text).map(|secret| Keys::Urls(SigningKey::new(secret))),
        }
    }

    /// How long a secret should be at least, if this text is a shorter one.
    pub fn wanted_bytes(self, text: &[u8]) -> Option<usize> {
        let wanted = match self {
            Self::Token(algorithm) => algorithm.secret_bytes()?,
            Self::TokenSet(_) => return None,
            Self::Url => Algorithm::Hs256.secret_bytes()?,
        };
        (trim(text).len() < wanted).then_some(wanted)
    }
}

impl TokenKey {
    /// Whether the text was signed with this key.
    pub fn is_signature(&self, algorithm: Algorithm, text: &[u8], signature: &str) -> bool {
        jsonwebtoken::crypto::verify(signature, text, &self.key, algorithm.of_library()).unwrap_or(false)
    }
}

impl BadKey {
    /// What to do, as the end of a line about the source.
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Empty => "is empty: it holds the key and nothing else",
            Self::PemAsSecret => {
                "is PEM, and this algorithm takes a secret: whoever knows a public key could sign with it; set \
                 jwt.algorithm to RS256, ES256 or EdDSA"
            }
            Self::PrivateKey => {
                "is a private key, which courier need not know: give the public one (openssl pkey -pubout)"
            }
            Self::Certificate => "is a certificate: give its public key (openssl x509 -pubkey -noout)",
            Self::NotPem => "is no public key in PEM: it begins with -----BEGIN PUBLIC KEY-----",
            Self::Unusable => {
                "is no key of this algorithm: RS256 takes RSA of 2048 to 8192 bits, ES256 the curve P-256, EdDSA Ed25519"
            }
            Self::NotASet => "is no JSON Web Key Set: {\"keys\": [..]}",
            Self::NoneFits => "has no key of this algorithm for signatures",
            Self::TooMany => "has more than 256 keys",
        }
    }
}

const _: () = assert!(KEYS_PER_SET == 256, "the sentence above says so");

fn one(algorithm: Algorithm, text: &[u8]) -> Result<TokenKey, BadKey> {
    if algorithm.secret_bytes().is_some() {
        return secret(text).map(|secret| TokenKey { id: None, key: DecodingKey::from_secret(secret) });
    }
    if trim(text).is_empty() {
        return Err(BadKey::Empty);
    }
    if holds(text, b"PRIVATE KEY-----") {
        return Err(BadKey::PrivateKey);
    }
    if holds(text, b"-----BEGIN CERTIFICATE-----") {
        return Err(BadKey::Certificate);
    }
    if !holds(text, PEM) {
        return Err(BadKey::NotPem);
    }
    let key = match algorithm {
        Algorithm::Rs256 => DecodingKey::from_rsa_pem(text),
        Algorithm::Es256 => DecodingKey::from_ec_pem(text),
        Algorithm::EdDsa => DecodingKey::from_ed_pem(text),
        Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512 => unreachable!("secrets were read above"),
    };
    let key = key.map_err(|_| BadKey::Unusable)?;
    is_usable(algorithm, &key).then_some(TokenKey { id: None, key }).ok_or(BadKey::Unusable)
}

/// The secret in a text: an editor ends the last line, a secret does not end in one.
fn secret(text: &[u8]) -> Result<&[u8], BadKey> {
    let secret = trim(text);
    if secret.is_empty() {
        return Err(BadKey::Empty);
    }
    if holds(secret, PEM) {
        return Err(BadKey::PemAsSecret);
    }
    Ok(secret)
}

fn trim(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r')).map_or(0, |last| last + 1);
    &text[..end]
}

fn holds(text: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(text, part).is_some()
}

fn set(algorithm: Algorithm, text: &[u8]) -> Result<Arc<[TokenKey]>, BadKey> {
    let set: JwkSet = serde_json::from_slice(text).map_err(|_| BadKey::NotASet)?;
    if set.keys.len() > KEYS_PER_SET {
        return Err(BadKey::TooMany);
    }
    let keys: Arc<[TokenKey]> = set.keys.iter().filter_map(|key| of_set(algorithm, key)).collect();
    if keys.is_empty() { Err(BadKey::NoneFits) } else { Ok(keys) }
}

/// The key, if it is for signatures by this algorithm. A set may have others, which are for others.
fn of_set(algorithm: Algorithm, jwk: &Jwk) -> Option<TokenKey> {
    let common = &jwk.common;
    let is_named = common.key_algorithm.is_none_or(|named| named.to_string() == algorithm.name());
    let is_for_signatures =
        common.public_key_use.as_ref().is_none_or(|purpose| *purpose == PublicKeyUse::Signature)
            && common.key_operations.as_ref().is_none_or(|list| list.contains(&KeyOperations::Verify));
    let is_of_kind = match &jwk.algorithm {
        AlgorithmParameters::OctetKey(_) => algorithm.secret_bytes().is_some(),
        AlgorithmParameters::RSA(_) => algorithm == Algorithm::Rs256,
        AlgorithmParameters::EllipticCurve(key) => {
            algorithm == Algorithm::Es256 && key.curve == EllipticCurve::P256
        }
        AlgorithmParameters::OctetKeyPair(key) => {
            algorithm == Algorithm::EdDsa && key.curve == EllipticCurve::Ed25519
        }
        _ => false,
    };
    if !(is_named && is_for_signatures && is_of_kind) {
        return None;
    }
    let key = DecodingKey::from_jwk(jwk).ok().filter(|key| is_usable(algorithm, key))?;
    Some(TokenKey { id: common.key_id.clone(), key })
}

/// Whether anything could be verified with it: the library looks at a key only when it is used.
fn is_usable(algorithm: Algorithm, key: &DecodingKey) -> bool {
    let bytes = key.try_get_as_bytes();
    match algorithm {
        Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512 => {
            bytes.is_ok_and(|secret| !secret.is_empty())
        }
        Algorithm::Es256 => {
            bytes.is_ok_and(|key| ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key).is_ok())
        }
        Algorithm::EdDsa => bytes.is_ok_and(|key| ParsedPublicKey::new(&ED25519, key).is_ok()),
        Algorithm::Rs256 => match key.kind() {
            DecodingKeyKind::SecretOrDer(der) => {
                PublicKey::from_der(der).is_ok_and(|key| RSA_MODULUS_BYTES.contains(&key.modulus_len()))
            }
            DecodingKeyKind::RsaModulusExponent { n, e } => {
                let length = n.iter().skip_while(|byte| **byte == 0).count();
                RSA_MODULUS_BYTES.contains(&length)
                    && RsaPublicKeyComponents { n, e }
                        .to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256)
                        .is_ok()
            }
        },
    }
}

/// 2048 to 8192 bits: what the backend verifies with.
const RSA_MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=1_024;
const PEM: &[u8] = b"-----BEGIN ";

#[cfg(test)]
mod tests;
