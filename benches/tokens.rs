//! What it costs to let somebody in: a token by each algorithm, a signed URL, and a decision about many channels.

use std::sync::Arc;

use divan::{Bencher, black_box};
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::json;

use courier::access::jwt::{Algorithm, Jwt, Template, Verifier};
use courier::access::keys::{KeyForm, KeyRing};
use courier::access::signed_url::{SignedUrl, Statement};
use courier::access::{Access, Credentials, Gate, Pattern, Right, Rule, Rules, SigningKey, Verdict, Way};
use courier::base::channel::ChannelName;
use courier::base::time::UnixTime;

#[global_allocator]
static ALLOCATOR: divan::AllocProfiler = divan::AllocProfiler::system();

fn main() {
    divan::main();
}

const NOW: UnixTime = UnixTime::from_secs(1_000_000);
const SECRET: &[u8] = &[7; 64];

#[divan::bench(args = Algorithm::NAMES)]
fn a_token(bencher: Bencher<'_, '_>, name: &str) {
    let algorithm = Algorithm::parse(name).expect("it is one of the names");
    let (gate, token) = gate_and_token(algorithm);
    let verifier = Arc::clone(&gate.rules.rows()[0].jwt.as_ref().expect("the rule is for tokens").verifier);
    bencher.bench_local(|| {
        verifier.check(&gate.keys, black_box(token.as_bytes()), NOW).expect("the token holds")
    });
}

/// One verification, whatever the number of channels.
#[divan::bench(args = [1, 8, 64])]
fn channels_by_one_token(bencher: Bencher<'_, '_>, count: usize) {
    let (gate, token) = gate_and_token(Algorithm::Hs256);
    let field = format!("Bearer {token}");
    let credentials = Credentials { authorization: Some(field.as_bytes()), ..Credentials::default() };
    let names = names(count);
    bencher.bench_local(|| {
        let verdict = gate.decide(Right::Subscribe, black_box(&names), &credentials, NOW);
        assert!(matches!(verdict, Verdict::Granted(_)));
        verdict
    });
}

#[divan::bench]
fn a_signed_url(bencher: Bencher<'_, '_>) {
    let mut ring = KeyRing::default();
    let key = ring.push(KeyForm::Url.read(SECRET).expect("it is a secret"));
    let rule = Rule {
        signed_url: Some(SignedUrl { key }),
        ..Rule::new(Pattern::parse("*").expect("a pattern"), Access::new(vec![Way::SignedUrl]))
    };
    let gate = Gate { keys: Arc::new(ring), ..Gate::new(Rules::new(vec![rule])) };
    let names = names(1);
    let statement = Statement { right: Right::Subscribe, expires: UnixTime::from_secs(2_000_000), user: "7" };
    let query = statement.query(&names, &SigningKey::new(SECRET));
    let credentials = Credentials { query: query.as_bytes(), ..Credentials::default() };
    bencher.bench_local(|| {
        let verdict = gate.decide(Right::Subscribe, black_box(&names), &credentials, NOW);
        assert!(matches!(verdict, Verdict::Granted(_)));
        verdict
    });
}

fn names(count: usize) -> Vec<ChannelName> {
    let name = |index| ChannelName::parse(format!("chat.{index}").as_bytes()).expect("a name");
    (0..count).map(name).collect()
}

/// A gate with one rule, and a token as applications make them.
fn gate_and_token(algorithm: Algorithm) -> (Gate, String) {
    let (of_library, text, private): (_, &[u8], _) = match algorithm {
        Algorithm::Hs256 => (jsonwebtoken::Algorithm::HS256, SECRET, EncodingKey::from_secret(SECRET)),
        Algorithm::Hs384 => (jsonwebtoken::Algorithm::HS384, SECRET, EncodingKey::from_secret(SECRET)),
        Algorithm::Hs512 => (jsonwebtoken::Algorithm::HS512, SECRET, EncodingKey::from_secret(SECRET)),
        Algorithm::Rs256 => (
            jsonwebtoken::Algorithm::RS256,
            include_bytes!("../tests/keys/rsa_public.pem"),
            EncodingKey::from_rsa_pem(include_bytes!("../tests/keys/rsa_private.pem")).expect("a key"),
        ),
        Algorithm::Es256 => (
            jsonwebtoken::Algorithm::ES256,
            include_bytes!("../tests/keys/ec_public.pem"),
            EncodingKey::from_ec_pem(include_bytes!("../tests/keys/ec_private.pem")).expect("a key"),
        ),
        Algorithm::EdDsa => (
            jsonwebtoken::Algorithm::EdDSA,
            include_bytes!("../tests/keys/ed_public.pem"),
            EncodingKey::from_ed_pem(include_bytes!("../tests/keys/ed_private.pem")).expect("a key"),
        ),
    };
    let mut ring = KeyRing::default();
    let keys = ring.push(KeyForm::Token(algorithm).read(text).expect("it is a key"));
    let verifier = Arc::new(Verifier {
        algorithm,
        keys,
        audience: Some("courier".into()),
        issuer: None,
        cookie: "courier_access_token".into(),
        query: false,
        endless: false,
    });
    let template = Template::parse("user.{sub}").expect("a template");
    let rule = Rule {
        jwt: Some(Arc::new(Jwt { verifier, template: Some(template) })),
        ..Rule::new(Pattern::parse("*").expect("a pattern"), Access::new(vec![Way::Jwt]))
    };
    let claims = json!({
        "sub": "1234567", "exp": 2_000_000, "iat": 1_000_000, "aud": "courier", "iss": "https://app.example",
        "courier": { "subscribe": ["chat.*"], "publish": ["chat.7"] }
    });
    let token = encode(&Header::new(of_library), &claims, &private).expect("it is signed");
    (Gate { keys: Arc::new(ring), ..Gate::new(Rules::new(vec![rule])) }, token)
}
