//! Tokens made by the library and by hand, against rules: what holds, what does not, and for which reason.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{EncodingKey, encode};
use serde_json::{Value, json};

use super::*;
use crate::access::keys::KeyForm;

const NOW: UnixTime = UnixTime::from_secs(1_000_000);
const SECRET: &[u8] = b"a secret that is thirty-two bytes";

/// A ring with one source, and a verifier by it.
fn verifier(form: KeyForm, key: &[u8]) -> (KeyRing, Verifier) {
    let mut ring = KeyRing::default();
    let keys = ring.push(form.read(key).unwrap());
    let (KeyForm::Token(algorithm) | KeyForm::TokenSet(algorithm)) = form else { panic!("for tokens") };
    let verifier = Verifier {
        algorithm,
        keys,
        audience: None,
        issuer: None,
        cookie: "courier_access_token".into(),
        query: false,
        endless: false,
    };
    (ring, verifier)
}

fn token(claims: &Value) -> String {
    signed(jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256), claims)
}

fn signed(header: jsonwebtoken::Header, claims: &Value) -> String {
    encode(&header, claims, &EncodingKey::from_secret(SECRET)).unwrap()
}

/// A token with this header as it stands, signed by HMAC-SHA256 all the same.
fn by_hand(header: &str, payload: &str) -> String {
    let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let key = EncodingKey::from_secret(SECRET);
    let signature =
        jsonwebtoken::crypto::sign(text.as_bytes(), &key, jsonwebtoken::Algorithm::HS256).unwrap();
    format!("{text}.{signature}")
}

fn check(token: &str) -> Result<Claims, Fault> {
    let (ring, verifier) = verifier(KeyForm::Token(Algorithm::Hs256), SECRET);
    verifier.check(&ring, token.as_bytes(), NOW)
}

fn name(text: &str) -> ChannelName {
    ChannelName::parse(text.as_bytes()).unwrap()
}

#[test]
fn a_good_token_says_who_and_until_when() {
    let claims = check(&token(&json!({ "sub": "7", "exp": 1_000_060 }))).unwrap();
    assert_eq!(claims.user.as_deref(), Some("7"));
    assert_eq!(claims.expires, Some(UnixTime::from_secs(1_000_060)));
    let number = check(&token(&json!({ "sub": 7, "exp": 1_000_060.5 }))).unwrap();
    assert_eq!(number.user.as_deref(), Some("7"));
    assert_eq!(number.expires, Some(UnixTime::from_millis(1_000_060_500)));
}

#[test]
fn the_token_does_not_choose_its_algorithm() {
    let claims = r#"{"exp":2000000}"#;
    assert!(check(&by_hand(r#"{"alg":"HS256"}"#, claims)).is_ok());
    for (header, fault) in [
        (r#"{"alg":"none"}"#, Fault::Algorithm),
        (r#"{"alg":"None"}"#, Fault::Algorithm),
        (r#"{"alg":"HS512"}"#, Fault::Algorithm),
        (r#"{"alg":"RS256"}"#, Fault::Algorithm),
        (r#"{"alg":"hs256"}"#, Fault::Algorithm),
        (r#"{"alg":1}"#, Fault::Header),
        (r#"{}"#, Fault::Header),
        (r#"{"alg":"HS256","alg":"HS256"}"#, Fault::Header),
        ("", Fault::Header),
        (r#"{"alg":"HS256","crit":["b64"],"b64":false}"#, Fault::Critical),
    ] {
        assert_eq!(check(&by_hand(header, claims)), Err(fault), "{header}");
    }
    let unsigned = by_hand(r#"{"alg":"none"}"#, claims);
    let unsigned = &unsigned[..=unsigned.rfind('.').unwrap()];
    assert_eq!(check(unsigned), Err(Fault::Algorithm));
}

#[test]
fn a_public_key_is_not_a_secret() {
    // The classic: HS256 with the text of the RSA public key, which everybody has, as the secret.
    let (ring, verifier) = verifier(KeyForm::Token(Algorithm::Rs256), RSA_PUBLIC.as_bytes());
    let key = EncodingKey::from_secret(RSA_PUBLIC.as_bytes());
    let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
    let forged = encode(&header, &json!({ "exp": 2_000_000 }), &key).unwrap();
    assert_eq!(verifier.check(&ring, forged.as_bytes(), NOW), Err(Fault::Algorithm));
}

#[test]
fn what_is_no_token_or_is_not_signed_does_not_hold() {
    let good = token(&json!({ "exp": 2_000_000 }));
    let (head, signature) = good.rsplit_once('.').unwrap();
    let other = encode(
        &jsonwebtoken::Header::default(),
        &json!({ "exp": 2_000_000 }),
        &EncodingKey::from_secret(b"another secret, of as many bytes"),
    )
    .unwrap();
    for (token, fault) in [
        ("", Fault::Shape),
        ("a", Fault::Shape),
        ("a.b", Fault::Shape),
        ("a.b.c.d", Fault::Shape),
        ("a.b.c", Fault::Header),
        (&*format!("{head}."), Fault::Signature),
        (&*format!("{head}.{}", &signature[1..]), Fault::Signature),
        (&*format!("{head}.{signature}="), Fault::Signature),
        (&*other, Fault::Signature),
        (&*good.replacen("ey", "fz", 1), Fault::Header),
    ] {
        assert_eq!(check(token), Err(fault), "{token}");
    }
    let (ring, verifier) = verifier(KeyForm::Token(Algorithm::Hs256), SECRET);
    assert_eq!(verifier.check(&ring, b"\xff.\xff.\xff", NOW), Err(Fault::Shape));
}

#[test]
fn times_are_numbers_and_the_calendar_is_ours() {
    for (claims, outcome) in [
        (json!({}), Some(Fault::NoExpiry)),
        (json!({ "exp": 1_000_001 }), None),
        (json!({ "exp": 1_000_000 }), Some(Fault::Expired)),
        (json!({ "exp": 999_999.9 }), Some(Fault::Expired)),
        (json!({ "exp": -5 }), Some(Fault::Expired)),
        (json!({ "exp": 0 }), Some(Fault::Expired)),
        (json!({ "exp": 1e300 }), None),
        (json!({ "exp": u64::MAX }), None),
        (json!({ "exp": "1000001" }), Some(Fault::Times)),
        (json!({ "exp": null }), Some(Fault::Times)),
        (json!({ "exp": [1_000_001] }), Some(Fault::Times)),
        (json!({ "exp": true }), Some(Fault::Times)),
        (json!({ "exp": 1_000_001, "nbf": 1_000_005 }), None),
        (json!({ "exp": 1_000_099, "nbf": 1_000_006 }), Some(Fault::NotYet)),
        (json!({ "exp": 1_000_099, "nbf": "0" }), Some(Fault::Times)),
    ] {
        assert_eq!(check(&token(&claims)).err(), outcome, "{claims}");
    }
    let (ring, mut verifier) = verifier(KeyForm::Token(Algorithm::Hs256), SECRET);
    verifier.endless = true;
    let endless = verifier.check(&ring, token(&json!({ "sub": "7" })).as_bytes(), NOW).unwrap();
    assert_eq!(endless.expires, None);
    let past = token(&json!({ "exp": 1 }));
    assert_eq!(verifier.check(&ring, past.as_bytes(), NOW), Err(Fault::Expired));
}

#[test]
fn audience_and_issuer_are_those_of_the_rule() {
    let (ring, plain) = verifier(KeyForm::Token(Algorithm::Hs256), SECRET);
    let strict = Verifier {
        audience: Some("courier".into()),
        issuer: Some("https://app.example".into()),
        ..plain.clone()
    };
    for (claims, of_plain, of_strict) in [
        (json!({}), None, Some(Fault::Audience)),
        (json!({ "aud": "courier" }), Some(Fault::ForeignAudience), Some(Fault::Issuer)),
        (json!({ "aud": "courier", "iss": "https://app.example" }), Some(Fault::ForeignAudience), None),
        (
            json!({ "aud": ["a", "courier"], "iss": "https://app.example" }),
            Some(Fault::ForeignAudience),
            None,
        ),
        (json!({ "aud": "couriers" }), Some(Fault::ForeignAudience), Some(Fault::Audience)),
        (json!({ "aud": [] }), Some(Fault::ForeignAudience), Some(Fault::Audience)),
        (json!({ "aud": 5 }), Some(Fault::Audience), Some(Fault::Audience)),
        (json!({ "aud": [5] }), Some(Fault::Audience), Some(Fault::Audience)),
        (json!({ "iss": "anybody" }), None, Some(Fault::Audience)),
        (json!({ "iss": 5 }), Some(Fault::Issuer), Some(Fault::Issuer)),
        (
            json!({ "aud": "courier", "iss": "https://app.example.evil" }),
            Some(Fault::ForeignAudience),
            Some(Fault::Issuer),
        ),
    ] {
        let mut claims = claims;
        claims["exp"] = json!(2_000_000);
        let token = token(&claims);
        assert_eq!(plain.check(&ring, token.as_bytes(), NOW).err(), of_plain, "{claims}");
        assert_eq!(strict.check(&ring, token.as_bytes(), NOW).err(), of_strict, "{claims}");
    }
}

#[test]
fn rights_are_patterns_and_never_reach_reserved_names() {
    let claims = check(&token(&json!({
        "exp": 2_000_000,
        "courier": { "subscribe": ["chat.*", "*", "courier:li*"], "publish": ["chat.7"] }
    })))
    .unwrap();
    assert!(claims.open(Right::Subscribe, &name("chat.1")));
    assert!(claims.open(Right::Subscribe, &name("anything")));
    assert!(!claims.open(Right::Subscribe, &name("courier:live")));
    assert!(!claims.open(Right::Subscribe, &name("__keyspace@0__:a")));
    assert!(claims.open(Right::Publish, &name("chat.7")));
    assert!(!claims.open(Right::Publish, &name("chat.71")));
    for rights in [
        json!("chat.*"),
        json!(["chat.*"]),
        json!(null),
        json!({ "subscribe": "chat.*" }),
        json!({ "subscribe": [7] }),
        json!({ "subscribe": [""] }),
        json!({ "subscribe": ["a\nb"] }),
        json!({ "subscribe": vec!["a"; 257] }),
    ] {
        let claims = json!({ "exp": 2_000_000, "courier": rights });
        assert_eq!(check(&token(&claims)), Err(Fault::Rights), "{claims}");
    }
}

#[test]
fn a_user_is_a_short_text_or_a_whole_number() {
    for sub in [json!(""), json!(null), json!(1.5), json!(["7"]), json!("a\nb"), json!("a".repeat(256))] {
        assert_eq!(check(&token(&json!({ "exp": 2_000_000, "sub": sub }))), Err(Fault::Subject), "{sub}");
    }
}

#[test]
fn a_claim_in_a_template_stands_for_itself() {
    let opens = |template: &str, claims: Value, channel: &str| {
        let mut claims = claims;
        claims["exp"] = json!(2_000_000);
        let claims = check(&token(&claims)).unwrap();
        Template::parse(template).unwrap().matches(&claims, &name(channel))
    };
    assert!(opens("user.{sub}", json!({ "sub": "7" }), "user.7"));
    assert!(opens("user.{sub}", json!({ "sub": 7 }), "user.7"));
    assert!(opens("team.{team}.*", json!({ "team": "red" }), "team.red.chat"));
    assert!(opens("{{{sub}}}", json!({ "sub": "7" }), "{7}"));
    assert!(opens("{a}{b}", json!({ "a": "x", "b": 2 }), "x2"));
    assert!(opens("user.{sub}", json!({ "sub": "*" }), "user.*"));
    assert!(opens("user.{sub}", json!({ "sub": "[a]?\\" }), "user.[a]?\\"));
    for (template, claims, channel) in [
        ("user.{sub}", json!({ "sub": "*" }), "user.7"),
        ("user.{sub}", json!({ "sub": "?" }), "user.7"),
        ("user.{sub}", json!({ "sub": "[0-9]" }), "user.7"),
        ("user.{sub}", json!({ "sub": "\\7" }), "user.7"),
        ("user.{sub}", json!({ "sub": "7" }), "user.77"),
        ("user.{sub}", json!({}), "user."),
        ("user.{name}", json!({ "sub": "7", "name": "" }), "user."),
        ("user.{name}", json!({ "name": ["7"] }), "user.7"),
        ("user.{name}", json!({ "name": true }), "user.true"),
        ("user.{name}", json!({ "name": null }), "user.null"),
        ("{sub}", json!({ "sub": "courier:live" }), "courier:live"),
        ("*", json!({ "sub": "7" }), "courier:live"),
    ] {
        assert!(!opens(template, claims, channel), "{template} on {channel}");
    }
}

#[test]
fn a_kid_chooses_among_the_rules_keys() {
    let set = json!({ "keys": [
        { "kty": "oct", "kid": "old", "k": URL_SAFE_NO_PAD.encode(b"another secret, of as many bytes") },
        { "kty": "oct", "kid": "new", "k": URL_SAFE_NO_PAD.encode(SECRET), "use": "sig", "alg": "HS256" },
    ]});
    let (ring, verifier) = verifier(KeyForm::TokenSet(Algorithm::Hs256), set.to_string().as_bytes());
    let with = |kid: Option<&str>| {
        let header = jsonwebtoken::Header { kid: kid.map(str::to_owned), ..Default::default() };
        verifier.check(&ring, signed(header, &json!({ "exp": 2_000_000 })).as_bytes(), NOW).map(drop)
    };
    assert_eq!(with(Some("new")), Ok(()));
    assert_eq!(with(Some("old")), Err(Fault::Signature));
    assert_eq!(with(Some("other")), Err(Fault::UnknownKey));
    assert_eq!(with(None), Err(Fault::UnknownKey));
    // A file with one key has no names to choose from.
    let header = jsonwebtoken::Header { kid: Some("whatever".into()), ..Default::default() };
    assert!(check(&signed(header, &json!({ "exp": 2_000_000 }))).is_ok());
}

#[test]
fn every_algorithm_verifies_what_it_signed() {
    let claims = json!({ "exp": 2_000_000 });
    let secret = [7; 64];
    for (algorithm, public, private) in [
        (Algorithm::Hs256, &secret[..], EncodingKey::from_secret(&secret)),
        (Algorithm::Hs384, &secret, EncodingKey::from_secret(&secret)),
        (Algorithm::Hs512, &secret, EncodingKey::from_secret(&secret)),
        (Algorithm::Rs256, RSA_PUBLIC.as_bytes(), EncodingKey::from_rsa_pem(RSA_PRIVATE.as_bytes()).unwrap()),
        (Algorithm::Es256, EC_PUBLIC.as_bytes(), EncodingKey::from_ec_pem(EC_PRIVATE.as_bytes()).unwrap()),
        (Algorithm::EdDsa, ED_PUBLIC.as_bytes(), EncodingKey::from_ed_pem(ED_PRIVATE.as_bytes()).unwrap()),
    ] {
        let (ring, verifier) = verifier(KeyForm::Token(algorithm), public);
        let token = encode(&jsonwebtoken::Header::new(algorithm.of_library()), &claims, &private).unwrap();
        assert!(verifier.check(&ring, token.as_bytes(), NOW).is_ok(), "{algorithm:?}");
        let (head, signature) = token.rsplit_once('.').unwrap();
        let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
        bytes[10] ^= 1;
        let forged = format!("{head}.{}", URL_SAFE_NO_PAD.encode(bytes));
        assert_eq!(verifier.check(&ring, forged.as_bytes(), NOW), Err(Fault::Signature), "{algorithm:?}");
    }
}

#[test]
fn a_token_is_looked_for_where_the_rule_says() {
    let (_, mut verifier) = verifier(KeyForm::Token(Algorithm::Hs256), SECRET);
    let everywhere = Credentials {
        authorization: Some(b"Bearer field"),
        cookies: [&b"courier_access_token=cookie"[..]].into_iter().collect(),
        query: b"channel=a&access_token=query",
        ..Credentials::default()
    };
    let found = |verifier: &Verifier, credentials: &Credentials<'_>| {
        verifier.find(credentials).map(|token| String::from_utf8(token.into_owned()).unwrap())
    };
    let without_field = Credentials { authorization: None, ..everywhere.clone() };
    let only_query = Credentials { cookies: Default::default(), ..without_field.clone() };
    assert_eq!(found(&verifier, &everywhere).as_deref(), Some("field"));
    assert_eq!(found(&verifier, &without_field).as_deref(), Some("cookie"));
    assert_eq!(found(&verifier, &only_query), None);
    verifier.query = true;
    assert_eq!(found(&verifier, &without_field).as_deref(), Some("query"));
    verifier.cookie = "other".into();
    verifier.query = false;
    assert_eq!(found(&verifier, &without_field), None);
}

const RSA_PRIVATE: &str = include_str!("../../../tests/keys/rsa_private.pem");
const RSA_PUBLIC: &str = include_str!("../../../tests/keys/rsa_public.pem");
const EC_PRIVATE: &str = include_str!("../../../tests/keys/ec_private.pem");
const EC_PUBLIC: &str = include_str!("../../../tests/keys/ec_public.pem");
const ED_PRIVATE: &str = include_str!("../../../tests/keys/ed_private.pem");
const ED_PUBLIC: &str = include_str!("../../../tests/keys/ed_public.pem");
