//! Minting: a pair of tokens from a session's row alone, byte for byte the same each time (S6).

use std::{collections::HashMap, fmt};

use aws_lc_rs::{
    digest,
    signature::{Ed25519KeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use carelink_verifier::thumbprint;
use uuid::{Uuid, fmt::Simple};

use super::{
    presented::RefreshKeys,
    service::ServiceClaims,
    session::{Jti, Session},
};

/// The keys of access tokens. Several may verify; one signs.
pub struct AccessKeys {
    current: String,
    by_kid: HashMap<String, AccessKey>,
}

struct AccessKey {
    pair: Ed25519KeyPair,
    /// The header as it stands before the first dot.
    header: String,
    public: [u8; 32],
}

/// A seed that is no Ed25519 key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signing key cannot be used")]
pub struct KeyUnusable;

impl fmt::Debug for AccessKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.by_kid.keys()).finish()
    }
}

impl AccessKeys {
    /// Of these seeds the first signs.
    ///
    /// # Errors
    /// Where one is not a key.
    pub fn new(seeds: impl IntoIterator<Item = [u8; 32]>) -> Result<Self, KeyUnusable> {
        let mut by_kid = HashMap::new();
        let mut current = None;
        for seed in seeds {
            let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| KeyUnusable)?;
            let public: [u8; 32] = pair.public_key().as_ref().try_into().map_err(|_| KeyUnusable)?;
            let kid = thumbprint(&public);
            let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"EdDSA","typ":"at+jwt","kid":"{kid}"}}"#));
            current.get_or_insert_with(|| kid.clone());
            by_kid.insert(kid, AccessKey { pair, header, public });
        }
        Ok(Self { current: current.unwrap_or_default(), by_kid })
    }

    /// The id of the key that signs.
    pub fn current(&self) -> &str {
        &self.current
    }

    /// Every key's id and public half, in the order of ids.
    pub fn public(&self) -> Vec<(String, [u8; 32])> {
        let mut keys: Vec<_> = self.by_kid.iter().map(|(kid, key)| (kid.clone(), key.public)).collect();
        keys.sort();
        keys
    }

    /// Whether there is a key of this id.
    pub fn knows(&self, kid: &str) -> bool {
        self.by_kid.contains_key(kid)
    }

    /// Whether the token names one of our keys.
    pub fn is_ours(&self, token: &str) -> bool {
        token.split_once('.').is_some_and(|(header, _)| self.public_of_header(header).is_some())
    }

    pub(crate) fn public_of_header(&self, header: &str) -> Option<[u8; 32]> {
        self.by_kid.values().find(|key| key.header == header).map(|key| key.public)
    }

    fn sign(&self, kid: &str, claims: &str) -> Option<String> {
        let key = self.by_kid.get(kid)?;
        let mut token = String::with_capacity(key.header.len() + claims.len() * 4 / 3 + 100);
        token.push_str(&key.header);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(claims, &mut token);
        let signature = key.pair.sign(token.as_bytes());
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature.as_ref(), &mut token);
        Some(token)
    }
}

/// A pair of tokens.
#[derive(Clone, PartialEq, Eq)]
pub struct Pair {
    /// The access token.
    pub access: String,
    /// The refresh token.
    pub refresh: String,
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pair(..)")
    }
}

/// Makes tokens. Holds every key and the two names that each access token carries.
#[derive(Debug)]
pub struct Mint {
    /// Keys of access tokens.
    pub access: AccessKeys,
    /// Keys of refresh tokens.
    pub refresh: RefreshKeys,
    issuer: String,
    audience: String,
}

impl Mint {
    /// With these keys, for this issuer and audience.
    pub fn new(access: AccessKeys, refresh: RefreshKeys, issuer: &str, audience: &str) -> Self {
        Self { access, refresh, issuer: json(issuer), audience: json(audience) }
    }

    /// The present pair of a session. None where a key it was minted with is gone.
    pub fn pair(&self, session: &Session) -> Option<Pair> {
        let minted = &session.minted;
        let access = format!(
            concat!(
                r#"{{"iss":{iss},"aud":{aud},"sub":"{sub}","user_id":"{user}","token_type":"access","iat":{iat},"exp":{exp},"jti":"{jti}","#,
                r#""sid":"{sid}","gen":{generation},"roles":{roles},"amr":{amr},"acr":{acr},"auth_time":{auth_time}}}"#
            ),
            iss = self.issuer,
            aud = self.audience,
            sub = session.subject,
            user = session.user_id,
            iat = minted.at.as_secs(),
            exp = minted.access_expires.as_secs(),
            jti = access_jti(session),
            sid = session.id,
            generation = session.generation,
            roles = minted.roles,
            amr = session.amr,
            acr = json(&session.acr),
            auth_time = session.auth_time.as_secs(),
        );
        let refresh = format!(
            r#"{{"token_type":"refresh","exp":{exp},"iat":{iat},"jti":"{jti}","sid":"{sid}","gen":{generation},"user_id":"{user}"}}"#,
            exp = session.ends_at.as_secs(),
            iat = session.rotated_at.as_secs(),
            jti = Uuid::from_bytes(session.jti.0).simple(),
            sid = session.id,
            generation = session.generation,
            user = session.user_id,
        );
        Some(Pair { access: self.access.sign(&minted.access_kid, &access)?, refresh: self.refresh.sign(&minted.refresh_kid, &refresh)? })
    }
}

impl Mint {
    /// A service's token. None where its key is gone.
    pub fn service(&self, claims: &ServiceClaims) -> Option<String> {
        self.access.sign(self.access.current(), &serde_json::to_string(claims).ok()?)
    }
}

/// An access token's jti follows from the refresh token's and does not tell it.
fn access_jti(session: &Session) -> Simple {
    let Jti(secret) = session.jti;
    let at = session.minted.at.as_secs().to_be_bytes();
    let digest = digest::digest(&digest::SHA256, &[b"access".as_slice(), session.id.as_bytes(), &secret, &at].concat());
    digest.as_ref().first_chunk().map_or_else(Simple::default, |first| Uuid::from_bytes(*first).simple())
}

fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use carelink_platform::clock::Timestamp;

    use super::*;
    use crate::domain::session::{Minted, Mode};

    fn mint() -> Mint {
        Mint::new(AccessKeys::new([[1; 32], [2; 32]]).unwrap(), RefreshKeys::new([[3; 32]]), "https://ward.example", "care\"link")
    }

    fn session(mint: &Mint) -> Session {
        let at = Timestamp::from_secs(1_000);
        Session {
            id: Uuid::from_u128(1),
            subject: Uuid::from_u128(2),
            user_id: 42,
            generation: 3,
            jti: Jti([5; 16]),
            previous_jti: None,
            rotated_at: at,
            roles: r#"["doctor"]"#.into(),
            minted: Minted {
                access_kid: mint.access.current().into(),
                refresh_kid: mint.refresh.current().into(),
                at,
                access_expires: Timestamp::from_secs(1_900),
                roles: r#"["nurse"]"#.into(),
            },
            amr: r#"["pwd"]"#.into(),
            acr: "urn:x".into(),
            auth_time: Timestamp::from_secs(900),
            created_at: at,
            ends_at: Timestamp::from_secs(9_000),
            refused_generation: None,
            ended: None,
            rotated_by: None,
            mode: Mode::Bearer,
            seen_generation: 0,
        }
    }

    #[test]
    fn s6_a_pair_is_minted_again_byte_for_byte() {
        let mint = mint();
        assert_eq!(mint.pair(&session(&mint)), mint.pair(&session(&mint)));
    }

    #[test]
    fn what_is_minted_reads_back_and_grants_what_it_was_minted_with() {
        let mint = mint();
        let pair = mint.pair(&session(&mint)).unwrap();
        let claims = mint.access.read(&pair.access).unwrap();
        assert_eq!((claims.sub, claims.sid, claims.r#gen, claims.user_id.as_str()), (Uuid::from_u128(2), Uuid::from_u128(1), 3, "42"));
        assert_eq!((claims.iat, claims.exp, claims.roles, claims.aud.as_str()), (1_000, 1_900, vec!["nurse".to_owned()], "care\"link"));
        assert_eq!(mint.refresh.read(&pair.refresh).unwrap().jti, Jti([5; 16]));
        assert!(mint.access.read(&pair.refresh).is_err() && mint.refresh.read(&pair.access).is_err());
    }

    #[test]
    fn no_token_tells_the_secret_of_the_other() {
        let mint = mint();
        let session = session(&mint);
        assert!(!access_jti(&session).to_string().contains(&hex::encode(session.jti.0)));
        assert_eq!(format!("{:?}", mint.pair(&session).unwrap()), "Pair(..)");
    }
}
