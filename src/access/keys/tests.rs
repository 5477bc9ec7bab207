//! What is taken for a key, and what is said of what is none.

use jsonwebtoken::jwk::Jwk;
use serde_json::{Value, json};

use super::*;

const RSA_PRIVATE: &[u8] = include_bytes!("../../../tests/keys/rsa_private.pem");
const RSA_PUBLIC: &[u8] = include_bytes!("../../../tests/keys/rsa_public.pem");
const RSA_SHORT: &[u8] = include_bytes!("../../../tests/keys/rsa1024_public.pem");
const EC_PUBLIC: &[u8] = include_bytes!("../../../tests/keys/ec_public.pem");
const P384_PUBLIC: &[u8] = include_bytes!("../../../tests/keys/p384_public.pem");
const ED_PUBLIC: &[u8] = include_bytes!("../../../tests/keys/ed_public.pem");
const CERTIFICATE: &[u8] = include_bytes!("../../../tests/keys/certificate.pem");

#[test]
fn a_key_file_holds_one_key_of_the_rules_algorithm() {
    use Algorithm::{EdDsa, Es256, Hs256, Hs512, Rs256};
    for (algorithm, text, outcome) in [
        (Hs256, &b"secret\n"[..], None),
        (Hs256, b"\r\n", Some(BadKey::Empty)),
        (Hs256, b"", Some(BadKey::Empty)),
        (Hs512, RSA_PUBLIC, Some(BadKey::PemAsSecret)),
        (Rs256, RSA_PUBLIC, None),
        (Es256, EC_PUBLIC, None),
        (EdDsa, ED_PUBLIC, None),
        (Rs256, b"", Some(BadKey::Empty)),
        (Rs256, b"secret", Some(BadKey::NotPem)),
        (Rs256, RSA_PRIVATE, Some(BadKey::PrivateKey)),
        (Rs256, CERTIFICATE, Some(BadKey::Certificate)),
        (Rs256, RSA_SHORT, Some(BadKey::Unusable)),
        (Rs256, EC_PUBLIC, Some(BadKey::Unusable)),
        (Rs256, ED_PUBLIC, Some(BadKey::Unusable)),
        (Es256, RSA_PUBLIC, Some(BadKey::Unusable)),
        (Es256, P384_PUBLIC, Some(BadKey::Unusable)),
        (EdDsa, RSA_PUBLIC, Some(BadKey::Unusable)),
        (EdDsa, EC_PUBLIC, Some(BadKey::Unusable)),
        (Rs256, &RSA_PUBLIC[..200], Some(BadKey::Unusable)),
    ] {
        assert_eq!(
            KeyForm::Token(algorithm).read(text).err(),
            outcome,
            "{algorithm:?}: {}",
            text.escape_ascii()
        );
    }
}

#[test]
fn of_a_set_the_keys_that_fit_are_used() {
    let key = |algorithm, text: &[u8]| {
        let key = one(algorithm, text).unwrap().key;
        serde_json::to_value(Jwk::from_decoding_key(&key, None).unwrap()).unwrap()
    };
    let with = |mut key: Value, name: &str, value: Value| {
        key[name] = value;
        key
    };
    let (rsa, ec, ed) = (
        key(Algorithm::Rs256, RSA_PUBLIC),
        key(Algorithm::Es256, EC_PUBLIC),
        key(Algorithm::EdDsa, ED_PUBLIC),
    );
    let all = json!({ "keys": [
        with(rsa.clone(), "kid", json!("r")),
        with(ec.clone(), "kid", json!("e")),
        with(ed.clone(), "kid", json!("d")),
        { "kty": "oct", "kid": "s", "k": "c2VjcmV0" },
        { "kty": "XYZ", "kid": "x" },
    ]});
    let ids = |algorithm, set: &Value| -> Result<Vec<String>, BadKey> {
        let keys = super::set(algorithm, set.to_string().as_bytes())?;
        Ok(keys.iter().map(|key| key.id.clone().unwrap_or_default()).collect())
    };
    assert_eq!(ids(Algorithm::Rs256, &all), Ok(vec!["r".into()]));
    assert_eq!(ids(Algorithm::Es256, &all), Ok(vec!["e".into()]));
    assert_eq!(ids(Algorithm::EdDsa, &all), Ok(vec!["d".into()]));
    assert_eq!(ids(Algorithm::Hs384, &all), Ok(vec!["s".into()]));
    for unfit in [
        with(rsa.clone(), "use", json!("enc")),
        with(rsa.clone(), "alg", json!("RS512")),
        with(rsa.clone(), "key_ops", json!(["sign"])),
        with(rsa.clone(), "n", json!("AQAB")),
        ec,
        ed,
    ] {
        assert_eq!(ids(Algorithm::Rs256, &json!({ "keys": [unfit] })), Err(BadKey::NoneFits));
    }
    for fit in [
        with(rsa.clone(), "use", json!("sig")),
        with(rsa.clone(), "alg", json!("RS256")),
        with(rsa.clone(), "key_ops", json!(["verify"])),
    ] {
        assert_eq!(ids(Algorithm::Rs256, &json!({ "keys": [fit] })).unwrap().len(), 1);
    }
    assert_eq!(ids(Algorithm::Rs256, &json!({ "keys": vec![rsa; 257] })), Err(BadKey::TooMany));
    for text in [json!({}), json!([]), json!("x"), json!({ "keys": {} })] {
        assert_eq!(ids(Algorithm::Rs256, &text), Err(BadKey::NotASet), "{text}");
    }
}

#[test]
fn a_short_secret_is_told() {
    assert_eq!(KeyForm::Token(Algorithm::Hs256).wanted_bytes(&[b'a'; 31]), Some(32));
    assert_eq!(KeyForm::Token(Algorithm::Hs256).wanted_bytes(&[b'a'; 32]), None);
    assert_eq!(KeyForm::Token(Algorithm::Hs512).wanted_bytes(&[b'a'; 63]), Some(64));
    assert_eq!(
        KeyForm::Url.wanted_bytes(b"secret\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n"),
        Some(32)
    );
    assert_eq!(KeyForm::Token(Algorithm::Rs256).wanted_bytes(b""), None);
    assert_eq!(KeyForm::TokenSet(Algorithm::Hs256).wanted_bytes(b""), None);
}

#[test]
fn keys_are_not_printed() {
    let mut ring = KeyRing::default();
    ring.push(KeyForm::Token(Algorithm::Hs256).read(b"hunter2").unwrap());
    ring.push(KeyForm::Url.read(b"hunter2").unwrap());
    let shown = format!("{ring:?}");
    let as_numbers = format!("{:?}", b"hunter2");
    assert!(!shown.contains("hunter2") && !shown.contains(as_numbers.trim_matches(['[', ']'])), "{shown}");
}
