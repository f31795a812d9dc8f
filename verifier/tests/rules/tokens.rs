//! What is a good token (V5), until when (T2), and what a remembered signature does not stand for (V4).

use std::time::Duration;

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use carelink_proto::token::watch_response::Message;
use carelink_verifier::{Config, Refusal, Verifier};
use serde_json::{Value, json};
use tokio::time::{Instant, advance, sleep};
use uuid::Uuid;

use crate::{
    issuer::{AUDIENCE, ISSUER, Issuer, SESSION, START_S, claims, encode, key_set, pinned, revocation, snapshot},
    service::Ward,
};

#[tokio::test(start_paused = true)]
async fn v5_a_good_token_is_read_whole() {
    let issuer = Issuer::new(1);
    let read = pinned(&[&issuer]).verify(&issuer.access()).unwrap();
    assert_eq!((read.issuer.as_str(), read.session, read.generation, read.user_id), (ISSUER, SESSION, 3, 1_000_000_000));
    assert_eq!((read.audience.as_slice(), read.roles.as_slice()), ([AUDIENCE.to_owned()].as_slice(), ["nurse".to_owned()].as_slice()));
}

#[tokio::test(start_paused = true)]
async fn v5_none_and_symmetric_algorithms_are_never_accepted() {
    let issuer = Issuer::new(1);
    let verifier = pinned(&[&issuer]);
    let public = issuer.public().public_key;
    for alg in ["none", "None", "", "HS256", "HS384", "HS512", "ES256", "RS256", "Ed25519", "eddsa", "EdDSA "] {
        let header = json!({ "alg": alg, "typ": "at+jwt", "kid": issuer.kid });
        let signed = format!("{}.{}", encode(header.to_string()), encode(claims().to_string()));
        // The classic: a MAC under the public key, which everybody has.
        let jwks = verifier.jwks().unwrap();
        for secret in [public.as_slice(), encode(&public).as_bytes(), issuer.kid.as_bytes(), &jwks, b""] {
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes());
            assert_eq!(verifier.verify(&format!("{signed}.{}", encode(tag))), Err(Refusal::AlgorithmWrong), "{alg}");
        }
        assert_eq!(verifier.verify(&format!("{signed}.")), Err(Refusal::AlgorithmWrong), "{alg}");
        // Even where the signature is the key's own.
        assert_eq!(verifier.verify(&issuer.sign(&header, &claims())), Err(Refusal::AlgorithmWrong), "{alg}");
    }
}

#[tokio::test(start_paused = true)]
async fn v5_a_refresh_token_is_told_that_it_has_the_wrong_type() {
    let issuer = Issuer::new(1);
    let verifier = pinned(&[&issuer]);
    let unverifiable = |alg: &str, kind: &str| {
        let header = json!({ "alg": alg, "typ": "JWT", "kid": "r" });
        format!("{}.{}.{}", encode(header.to_string()), encode(json!({ "token_type": kind }).to_string()), encode([0; 32]))
    };
    assert_eq!(verifier.verify(&unverifiable("HS256", "refresh")), Err(Refusal::NotAccess));
    assert_eq!(verifier.verify(&unverifiable("HS256", "access")), Err(Refusal::AlgorithmWrong));
    assert_eq!(verifier.verify(&unverifiable("none", "refresh")), Err(Refusal::AlgorithmWrong));
    assert_eq!(Refusal::NotAccess.to_string(), "Token has wrong type");
    // Genuine, but of another kind.
    assert_eq!(verifier.verify(&issuer.access_with(|claims| claims["token_type"] = "service".into())), Err(Refusal::TypeWrong));
    for typ in [json!("JWT"), json!("AT+JWT"), json!("carelink-assertion+jwt"), json!("")] {
        let header = json!({ "alg": "EdDSA", "typ": typ, "kid": issuer.kid });
        assert_eq!(verifier.verify(&issuer.sign(&header, &claims())), Err(Refusal::TypeWrong), "{typ}");
    }
    assert_eq!(verifier.verify(&issuer.sign(&json!({ "alg": "EdDSA", "kid": issuer.kid }), &claims())), Err(Refusal::TypeWrong));
}

#[tokio::test(start_paused = true)]
async fn v5_a_token_is_bound_to_the_key_it_names() {
    let (issuer, other, stranger) = (Issuer::new(1), Issuer::new(2), Issuer::new(3));
    let verifier = pinned(&[&issuer, &other]);
    assert!(verifier.verify(&issuer.access()).is_ok() && verifier.verify(&other.access()).is_ok());
    assert_eq!(verifier.verify(&issuer.sign(&other.header(), &claims())), Err(Refusal::SignatureWrong));
    assert_eq!(verifier.verify(&stranger.sign(&issuer.header(), &claims())), Err(Refusal::SignatureWrong));
    assert_eq!(verifier.verify(&stranger.access()), Err(Refusal::KeyUnknown));
    assert_eq!(verifier.verify(&issuer.sign(&json!({ "alg": "EdDSA", "typ": "at+jwt" }), &claims())), Err(Refusal::Malformed));
    for name in ["jku", "jwk", "x5u", "x5c", "crit", "b64", "zip"] {
        let mut header = issuer.header();
        header[name] = json!(false);
        assert_eq!(verifier.verify(&issuer.sign(&header, &claims())), Err(Refusal::Malformed), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn v5_a_changed_token_is_refused_wherever_it_was_changed() {
    let issuer = Issuer::new(1);
    let verifier = pinned(&[&issuer]);
    let token = issuer.access();
    verifier.verify(&token).unwrap(); // remembered, so that a near miss would show
    for at in 0..token.len() {
        let mut changed = token.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        assert!(verifier.verify(std::str::from_utf8(&changed).unwrap()).is_err(), "at {at}");
        assert!(verifier.verify(&token[..at]).is_err(), "cut at {at}");
    }
}

#[tokio::test(start_paused = true)]
async fn v5_a_signature_has_one_form() {
    // S + L verifies the same equation; RFC 8032 5.1.7 refuses it.
    const L: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0x10,
    ];
    let issuer = Issuer::new(1);
    let verifier = pinned(&[&issuer]);
    let token = issuer.access();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let mut signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let mut carry = 0;
    for (byte, l) in signature[32..].iter_mut().zip(L) {
        let sum = u16::from(*byte) + u16::from(l) + carry;
        [*byte, _] = sum.to_le_bytes();
        carry = sum >> 8;
    }
    assert_eq!(carry, 0);
    assert_eq!(verifier.verify(&format!("{signed}.{}", encode(&signature))), Err(Refusal::SignatureWrong));
    assert_eq!(verifier.verify(&format!("{signed}.{}", encode([0; 64]))), Err(Refusal::SignatureWrong));
    assert_eq!(verifier.verify(&format!("{signed}.")), Err(Refusal::SignatureWrong));
    assert_eq!(verifier.verify(&format!("{signed}.{}", encode([signature.as_slice(), &[0]].concat()))), Err(Refusal::SignatureWrong));
}

#[tokio::test(start_paused = true)]
async fn v5_genuine_tokens_with_duplicate_members_are_refused() {
    let issuer = Issuer::new(1);
    let verifier = pinned(&[&issuer]);
    let (header, payload) = (issuer.header().to_string(), claims().to_string());
    assert!(verifier.verify(&issuer.sign_text(&header, &payload)).is_ok());
    let twice = payload.replacen('{', r#"{"roles":["admin"],"#, 1);
    assert_eq!(verifier.verify(&issuer.sign_text(&header, &twice)), Err(Refusal::Malformed));
    let twice = header.replacen('{', r#"{"alg":"EdDSA","#, 1);
    assert_eq!(verifier.verify(&issuer.sign_text(&twice, &payload)), Err(Refusal::Malformed));
}

#[tokio::test(start_paused = true)]
async fn v5_issuer_audience_and_user_are_required() {
    let issuer = Issuer::new(1);
    let verifier = pinned(&[&issuer]);
    let verify = |name: &str, value| verifier.verify(&issuer.access_with(|claims| claims[name] = value));
    assert_eq!(verify("iss", json!("https://carelink.test/")), Err(Refusal::IssuerWrong));
    assert_eq!(verify("aud", json!("other")), Err(Refusal::AudienceWrong));
    assert_eq!(verify("aud", json!([])), Err(Refusal::AudienceWrong));
    assert!(verify("aud", json!(["other", AUDIENCE])).is_ok());
    let nobody = issuer.access_with(|claims| drop(claims.as_object_mut().unwrap().remove("user_id")));
    assert_eq!(verifier.verify(&nobody), Err(Refusal::NoUser));
}

#[tokio::test(start_paused = true)]
async fn t2_a_token_ends_with_its_second_by_the_databases_clock() {
    let issuer = Issuer::new(1);
    let verifier = pinned(&[&issuer]);
    let token = issuer.access();
    let never_seen = issuer.access_with(|claims| claims["jti"] = "other".into());
    advance(Duration::from_millis(899_999)).await;
    assert!(verifier.verify(&token).is_ok());
    advance(Duration::from_millis(1)).await;
    assert_eq!(verifier.verify(&token), Err(Refusal::Expired));
    assert_eq!(verifier.verify(&never_seen), Err(Refusal::Expired));
    assert_eq!(verifier.verify(&issuer.access_with(|claims| claims["exp"] = json!(i64::MAX))).map(|_| ()), Ok(()));
    assert_eq!(verifier.verify(&issuer.access_with(|claims| claims["exp"] = json!(0))), Err(Refusal::Expired));
}

#[tokio::test(start_paused = true)]
async fn v1_a_pinned_verifier_knows_what_its_snapshot_revokes() {
    let issuer = Issuer::new(1);
    let mut snapshot = snapshot(&[&issuer]);
    snapshot.revocations = vec![revocation(1, SESSION, 3), revocation(2, Uuid::from_u128(7), u64::MAX)];
    snapshot.time_us += 1_000_000;
    let verifier = Verifier::pinned(Config::default(), &snapshot).unwrap();
    assert_eq!(verifier.verify(&issuer.access()), Err(Refusal::Revoked));
    assert!(verifier.verify(&issuer.access_with(|claims| claims["gen"] = json!(4))).is_ok());
    let ended = issuer.access_with(|claims| {
        claims["sid"] = json!(Uuid::from_u128(7).to_string());
        claims["gen"] = json!(START_S);
    });
    assert_eq!(verifier.verify(&ended), Err(Refusal::Revoked));
    assert_eq!(verifier.check(&ended, carelink_verifier::Purpose::Edge).await, Err(Refusal::Revoked));
}

#[test]
fn v5_every_refusal_has_the_predecessors_words_and_a_stable_reason() {
    for (refusal, words, reason) in [
        (Refusal::Malformed, "Token is invalid", "token_invalid"),
        (Refusal::KeyUnknown, "Token is invalid", "token_invalid"),
        (Refusal::TypeWrong, "Token has wrong type", "token_type_wrong"),
        (Refusal::TypeMissing, "Token has no type", "token_type_missing"),
        (Refusal::NoUser, "Token contained no recognizable user identification", "token_no_user"),
        (Refusal::Expired, "Token is expired", "token_expired"),
        (Refusal::Revoked, "Token is blacklisted", "session_revoked"),
        (Refusal::SessionExpired, "Token is expired", "session_expired"),
    ] {
        assert_eq!((refusal.to_string().as_str(), refusal.reason()), (words, reason));
        assert_eq!(refusal.retry_after(), None);
    }
    assert!(Refusal::Unavailable.retry_after().is_some());
}

#[tokio::test(start_paused = true)]
async fn v5_a_service_token_is_good_for_its_audience_alone_and_never_for_a_user() {
    let issuer = Issuer::new(1);
    let verifier = pinned(&[&issuer]);
    let token = issuer.service("ward-board");
    for _ in 0..2 {
        // the second time remembered
        let claims = verifier.verify_service(&token, "ward-board").unwrap();
        assert_eq!((claims.service.as_str(), claims.has_role("invoices")), ("billing", true));
        assert_eq!(verifier.verify_service(&token, "carelink"), Err(Refusal::AudienceWrong));
        assert_eq!(verifier.verify(&token), Err(Refusal::TypeWrong));
        assert_eq!(verifier.verify_service(&issuer.access(), AUDIENCE), Err(Refusal::TypeWrong));
    }
    for (refusal, change) in [
        (Refusal::Expired, (|claims| claims["exp"] = START_S.into()) as fn(&mut Value)),
        (Refusal::IssuerWrong, |claims| claims["iss"] = "https://elsewhere.test".into()),
        (Refusal::AudienceWrong, |claims| claims["aud"] = json!([AUDIENCE, "ward"])),
        (Refusal::TypeWrong, |claims| claims["sid"] = "x".into()),
    ] {
        assert_eq!(verifier.verify_service(&issuer.service_with("ward-board", change), "ward-board"), Err(refusal));
    }
    assert_eq!(verifier.verify_service(&Issuer::new(2).service("ward-board"), "ward-board"), Err(Refusal::KeyUnknown));
}

#[tokio::test(start_paused = true)]
async fn v3_a_service_token_is_judged_by_what_is_known_until_max_staleness() {
    let issuer = Issuer::new(1);
    let ward = Ward::new(&[&issuer]);
    let verifier = ward.verifier().await;
    let token = issuer.service("ward-board");
    ward.go_away().await;
    sleep(Duration::from_secs(200)).await;
    assert!(verifier.verify_service(&token, "ward-board").is_ok());
    assert_eq!(verifier.verify_service(&Issuer::new(2).service("ward-board"), "ward-board"), Err(Refusal::Unavailable));
    assert_eq!(verifier.verify_service(&token, "elsewhere"), Err(Refusal::AudienceWrong));
    sleep(Duration::from_secs(110)).await;
    assert_eq!(verifier.verify_service(&token, "ward-board"), Err(Refusal::Unavailable));
}

#[tokio::test(start_paused = true)]
async fn v1_whoever_is_served_for_long_is_let_go_when_it_is_revoked_or_over() {
    let issuer = Issuer::new(1);
    for (expected, what) in [(Refusal::Revoked, 0), (Refusal::Expired, 1), (Refusal::KeyUnknown, 2), (Refusal::Unavailable, 3)] {
        let ward = Ward::new(&[&issuer]);
        let verifier = ward.verifier().await;
        let claims = verifier.verify(&issuer.access_with(|claims| claims["exp"] = (START_S + 400).into())).unwrap();
        let watching = tokio::spawn({
            let verifier = verifier.clone();
            async move { (verifier.until_refused(&claims).await, Instant::now()) }
        });
        ward.beat_for(3, 0, &[&issuer]).await;
        assert!(!watching.is_finished());
        let since = Instant::now();
        match what {
            0 => ward.entries(vec![revocation(1, SESSION, u64::MAX)]).await,
            1 => ward.beat_for(400, 0, &[&issuer]).await,
            2 => ward.send(Message::Keys(key_set(&[&Issuer::new(2)]))).await,
            _ => ward.fall_silent().await,
        }
        let (refusal, at) = watching.await.unwrap();
        assert_eq!(refusal, expected);
        let took = at - since;
        match what {
            0 => assert!(took < Duration::from_millis(10), "{took:?}"),
            2 => assert!(took <= Duration::from_secs(1), "{took:?}"),
            1 => assert!(took.as_secs().abs_diff(397) <= 1, "{took:?}"),
            _ => assert!((299..=302).contains(&took.as_secs()), "{took:?}"),
        }
    }
}
