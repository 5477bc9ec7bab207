//! Any bytes as a token, as claims, as keys and as the query of a signed URL: no panic, nobody gets in without the secret,
//! and a claim in a template opens exactly the channel that it spells.
#![no_main]

use std::sync::OnceLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use courier::access::jwt::{Algorithm, Claims, Template, Verifier};
use courier::access::keys::{KeyForm, KeyIndex, KeyRing};
use courier::access::signed_url::SignedUrl;
use courier::access::{Credentials, Right};
use courier::base::channel::ChannelName;
use courier::base::time::UnixTime;
use libfuzzer_sys::fuzz_target;

const NOW: UnixTime = UnixTime::from_secs(1_000_000);

fuzz_target!(|input: (u8, &[u8])| {
    let (what, bytes) = input;
    let (ring, token, url) = keys();
    match what % 4 {
        0 => assert!(verifier(*token).check(ring, bytes, NOW).is_err(), "nobody has the secret"),
        1 => claims(bytes),
        2 => {
            for algorithm in Algorithm::ALL {
                let _ = KeyForm::Token(algorithm).read(bytes);
                let _ = KeyForm::TokenSet(algorithm).read(bytes);
            }
        }
        _ => {
            let channel = ChannelName::parse(b"user.7").expect("a name");
            let credentials = Credentials { query: bytes, ..Credentials::default() };
            let checked = SignedUrl { key: *url }.check(ring, Right::Subscribe, &[&channel], &credentials, NOW);
            assert!(checked.is_err(), "nobody has the secret");
        }
    }
});

fn claims(bytes: &[u8]) {
    let Ok(claims) = Claims::read(&URL_SAFE_NO_PAD.encode(bytes)) else { return };
    let template = Template::parse("user.{sub}").expect("a template");
    let spelled = claims.text("sub").map(|sub| format!("user.{sub}"));
    for name in ["user.7", "user.*", "user.", "courier:live"].into_iter().chain(spelled.as_deref()) {
        let Ok(channel) = ChannelName::parse(name.as_bytes()) else { continue };
        assert_eq!(template.matches(&claims, &channel), spelled.as_deref() == Some(name), "{name}");
        let _ = claims.open(Right::Publish, &channel);
    }
}

fn keys() -> &'static (KeyRing, KeyIndex, KeyIndex) {
    static KEYS: OnceLock<(KeyRing, KeyIndex, KeyIndex)> = OnceLock::new();
    KEYS.get_or_init(|| {
        let secret = b"a secret that no fuzzer will find";
        let mut ring = KeyRing::default();
        let token = ring.push(KeyForm::Token(Algorithm::Hs256).read(secret).expect("a secret"));
        let url = ring.push(KeyForm::Url.read(secret).expect("a secret"));
        (ring, token, url)
    })
}

fn verifier(keys: KeyIndex) -> Verifier {
    Verifier {
        algorithm: Algorithm::Hs256,
        keys,
        audience: None,
        issuer: None,
        cookie: "courier_access_token".into(),
        query: false,
        endless: true,
    }
}
