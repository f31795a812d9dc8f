//! Whoever signs tokens in these tests.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use carelink_proto::token::{KeySet, PublicKey, Revocation, Snapshot};
use carelink_verifier::{Config, Verifier, key_set_digest, thumbprint};
use serde_json::{Value, json};
use uuid::Uuid;

/// When these tests begin, by the database's clock.
pub(crate) const START_S: i64 = 1_800_000_000;
pub(crate) const ISSUER: &str = "https://carelink.test";
pub(crate) const AUDIENCE: &str = "carelink";
pub(crate) const SESSION: Uuid = Uuid::from_u128(0x018f_2a6e_0000_7000_8000_0000_0000_0002);

pub(crate) struct Issuer {
    pair: Ed25519KeyPair,
    pub(crate) kid: String,
}

impl Issuer {
    pub(crate) fn new(seed: u8) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        let kid = thumbprint(pair.public_key().as_ref().try_into().unwrap());
        Self { pair, kid }
    }

    pub(crate) fn public(&self) -> PublicKey {
        PublicKey { kid: self.kid.clone(), algorithm: "EdDSA".into(), public_key: self.pair.public_key().as_ref().to_vec() }
    }

    pub(crate) fn header(&self) -> Value {
        json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": self.kid })
    }

    /// A good access token of 15 minutes.
    pub(crate) fn access(&self) -> String {
        self.sign(&self.header(), &claims())
    }

    /// The same with some claims changed.
    pub(crate) fn access_with(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = claims();
        change(&mut claims);
        self.sign(&self.header(), &claims)
    }

    /// A good service token for `audience`.
    pub(crate) fn service(&self, audience: &str) -> String {
        self.service_with(audience, |_| {})
    }

    pub(crate) fn service_with(&self, audience: &str, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = json!({
            "iss": ISSUER, "aud": audience, "sub": "billing", "token_type": "service", "roles": ["invoices"],
            "iat": START_S, "exp": START_S + 900, "jti": "j",
        });
        change(&mut claims);
        self.sign(&self.header(), &claims)
    }

    pub(crate) fn sign(&self, header: &Value, payload: &Value) -> String {
        self.sign_text(&header.to_string(), &payload.to_string())
    }

    pub(crate) fn sign_text(&self, header: &str, payload: &str) -> String {
        let signed = format!("{}.{}", encode(header), encode(payload));
        let signature = self.pair.sign(signed.as_bytes());
        format!("{signed}.{}", encode(signature.as_ref()))
    }
}

pub(crate) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(crate) fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "018f2a6e-0000-7000-8000-000000000001", "user_id": "1000000000",
        "sid": SESSION.to_string(), "gen": 3, "token_type": "access", "roles": ["nurse"], "amr": ["pwd"], "acr": "1",
        "auth_time": START_S - 60, "iat": START_S, "exp": START_S + 900, "jti": "j",
    })
}

pub(crate) fn key_set(issuers: &[&Issuer]) -> KeySet {
    let keys: Vec<_> = issuers.iter().map(|issuer| issuer.public()).collect();
    KeySet { digest: key_set_digest(&keys), keys }
}

pub(crate) fn snapshot(issuers: &[&Issuer]) -> Snapshot {
    Snapshot {
        keys: Some(key_set(issuers)),
        revocations: vec![],
        head: 0,
        time_us: START_S * 1_000_000,
        issuer: ISSUER.into(),
        audience: AUDIENCE.into(),
        ..Snapshot::default()
    }
}

pub(crate) fn revocation(number: u64, session: Uuid, generation: u64) -> Revocation {
    Revocation {
        number,
        session: session.as_bytes().to_vec(),
        generation,
        until_us: (START_S + 3 * 3_600) * 1_000_000,
        ..Revocation::default()
    }
}

/// A verifier that trusts these issuers and follows nothing.
pub(crate) fn pinned(issuers: &[&Issuer]) -> Verifier {
    Verifier::pinned(Config::default(), &snapshot(issuers)).unwrap()
}
