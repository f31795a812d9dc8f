//! Tokens that nobody minted, wherever a token is taken: refused, without asking anybody, and with the caller none the wiser.

use aws_lc_rs::{
    hmac,
    signature::{Ed25519KeyPair, KeyPair},
};
use axum::body::Body;
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD},
};
use http::Method;
use serde_json::{Value, json};

use super::{Ward, access, claims, kid, request, signing_key};

fn signed_by(key: &Ed25519KeyPair, header: &str, claims: &str) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes())))
}

/// Signed by the key that is trusted: what is wrong with it is not the signature.
fn signed(header: &Value) -> String {
    signed_by(&signing_key(), &header.to_string(), &claims(&json!({})).to_string())
}

fn header(changes: &Value) -> Value {
    let mut header = json!({"alg": "EdDSA", "kid": kid(), "typ": "at+jwt"});
    for (name, value) in changes.as_object().unwrap() {
        header[name] = value.clone();
    }
    header
}

/// The same signature with the group's order added to its scalar: as good, to whoever does not look (RFC 8032, 5.1.7).
fn malleated(token: &str) -> String {
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0x10,
    ];
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let mut signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let mut carry = 0;
    for (byte, more) in signature[32..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(more) + carry;
        (*byte, carry) = (sum.to_le_bytes()[0], sum >> 8);
    }
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn forged() -> Vec<String> {
    let good = access(&json!({}));
    let (head, rest) = good.split_once('.').unwrap();
    let (payload, signature) = rest.split_once('.').unwrap();
    let stranger = Ed25519KeyPair::from_seed_unchecked(&[9; 32]).unwrap();
    let plain = claims(&json!({})).to_string();
    let mut forged = Vec::new();
    for algorithm in ["none", "None", "NONE", "", "HS256", "RS256", "ES256", "Ed25519", "eddsa", "EdDSA "] {
        let token = signed(&header(&json!({"alg": algorithm})));
        forged.push(token.rsplit_once('.').unwrap().0.to_owned() + ".");
        forged.push(token);
    }
    for algorithm in [json!(null), json!(["EdDSA"]), json!(1), json!({})] {
        forged.push(signed(&header(&json!({"alg": algorithm}))));
    }
    // A public key taken for a secret that was shared.
    let public = signing_key().public_key().as_ref().to_vec();
    for secret in [public.clone(), URL_SAFE_NO_PAD.encode(&public).into_bytes(), kid().into_bytes(), Vec::new()] {
        for algorithm in ["HS256", "EdDSA"] {
            let unsigned =
                format!("{}.{}", URL_SAFE_NO_PAD.encode(header(&json!({"alg": algorithm})).to_string()), URL_SAFE_NO_PAD.encode(&plain));
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), unsigned.as_bytes());
            forged.push(format!("{unsigned}.{}", URL_SAFE_NO_PAD.encode(tag)));
        }
    }
    // Keys that are not ours, and tokens that say where to find one.
    let own = URL_SAFE_NO_PAD.encode(stranger.public_key());
    for more in [
        json!({}),
        json!({"jwk": {"kty": "OKP", "crv": "Ed25519", "x": own}}),
        json!({"jku": "https://evil.example/jwks.json"}),
        json!({"x5u": "https://evil.example/x.pem"}),
        json!({"x5c": ["MIIB"]}),
        json!({"kid": "../../dev/null"}),
        json!({"kid": "x' OR '1'='1"}),
        json!({"kid": ""}),
        json!({"kid": [kid()]}),
        json!({"kid": null}),
    ] {
        forged.push(signed_by(&stranger, &header(&more).to_string(), &plain));
    }
    for more in [
        json!({"jwk": {}}),
        json!({"jku": "https://x"}),
        json!({"crit": ["exp"]}),
        json!({"crit": []}),
        json!({"b64": false}),
        json!({"zip": "DEF"}),
        json!({"typ": "JWT"}),
        json!({"typ": "refresh+jwt"}),
        json!({"typ": 1}),
    ] {
        forged.push(signed(&header(&more)));
    }
    // Members named twice: whoever reads the other one is somebody else.
    let text = header(&json!({})).to_string();
    forged.push(signed_by(&signing_key(), &text.replacen('{', r#"{"alg":"none","#, 1), &plain));
    forged.push(signed_by(&signing_key(), &text, &plain.replacen('{', r#"{"sub":"00000000-0000-0000-0000-000000000009","#, 1)));
    // The same bytes spelt otherwise, and other bytes.
    forged.push(malleated(&good));
    forged.push(format!("{head}.{payload}.{signature}="));
    forged.push(format!("{head}.{payload}.{}", URL_SAFE.encode(URL_SAFE_NO_PAD.decode(signature).unwrap())));
    forged.push(format!("{head}.{}.{signature}", STANDARD.encode(&plain)));
    forged.push(format!("{head}.{payload}."));
    forged.push(format!("{head}.{payload}"));
    forged.push(format!("{head}..{signature}"));
    forged.push(format!(".{payload}.{signature}"));
    forged.push(format!("{good}.{signature}"));
    forged.push(format!("{good}."));
    forged.push(format!(".{good}"));
    forged.push(format!("{head}.{payload}.{}", URL_SAFE_NO_PAD.encode([0; 64])));
    for at in [0, 10, head.len() + 5, good.len() - 3] {
        let mut bytes = good.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        forged.push(String::from_utf8(bytes).unwrap());
    }
    // Claims that are none.
    for change in [
        json!({"exp": null}),
        json!({"exp": "9999999999"}),
        json!({"exp": super::NOW - 60}),
        json!({"aud": "another"}),
        json!({"iss": "another"}),
        json!({"sub": "nobody"}),
        json!({"sub": null}),
        json!({"token_type": "refresh"}),
        json!({"token_type": null}),
        json!({"sid": super::ENDED.to_string()}),
        json!({"gen": "0"}),
        json!({"user_id": ["1"]}),
    ] {
        forged.push(access(&change));
    }
    // Long, deep, and no tokens at all.
    let deep = format!("{}{}", "[".repeat(8_000), "]".repeat(8_000));
    forged.push(signed_by(&signing_key(), &text, &plain.replacen('{', &format!(r#"{{"sub":{deep},"#), 1)));
    forged.push(signed_by(&signing_key(), &text.replacen('{', &format!(r#"{{"x":{deep},"#), 1), "{}"));
    forged.push("e30.".repeat(2_000));
    forged.push("A".repeat(20_000));
    forged.push("..".to_owned());
    forged.push("null".to_owned());
    forged
}

#[tokio::test(start_paused = true)]
async fn v5_no_forged_token_is_taken_anywhere_and_none_is_asked_about() {
    let ward = Ward::new();
    assert_eq!(ward.me(&access(&json!({}))).await.status, 200);
    let asked = ward.played.script().rpcs();
    for token in forged() {
        let shown: String = token.chars().take(300).collect();
        let answer = ward.me(&token).await;
        assert_eq!((answer.status, answer.json()["code"].as_str()), (401, Some("token_not_valid")), "{shown}: {answer:?}");
        assert!(!answer.header("www-authenticate").is_empty() && !answer.text.contains(&shown), "{shown}: {answer:?}");
        for path in ["/v1/session", "/v1/sessions"] {
            let asked = request(Method::GET, path).header("authorization", format!("Bearer {token}")).body(Body::empty()).unwrap();
            assert_eq!(ward.ask(asked).await.status, 401, "{path} {shown}");
        }
    }
    let script = ward.played.script();
    assert_eq!((script.rpcs(), script.others.len()), (asked, 0));
}

#[tokio::test(start_paused = true)]
async fn v5_no_forged_token_verifies_or_signs_anybody_out() {
    let ward = Ward::configured(|config| config.limits.enabled = false);
    for token in forged() {
        let shown: String = token.chars().take(300).collect();
        for (path, field) in [("verify", "token"), ("refresh", "refresh"), ("blacklist", "refresh")] {
            let answer = ward.post(&format!("/account/token/{path}/"), json!({ field: token }).to_string()).await;
            assert_eq!((answer.status, answer.json()["code"].as_str()), (401, Some("token_not_valid")), "{path} {shown}: {answer:?}");
        }
    }
}
