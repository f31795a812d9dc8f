//! Users for whom services call are judged by a verifier, the same way in every service (G2), and the section `verifier`.

use std::{sync::Arc, time::Duration};

use carelink_verifier::{Purpose, Refusal, Verifier};
use serde::{Deserialize, Serialize};

use crate::{
    config::duration,
    errors::{Failure, Reason},
    grpc::{Effect, Hooks, User},
};

crate::settings! {
    /// The section `verifier`.
    #[derive(Clone, Debug, Deserialize, Serialize)]
    pub struct VerifierConfig {
        /// How long a verifier that hears nothing goes on by what it last knew (V3).
        #[serde(with = "duration")]
        pub max_staleness: Duration,
    }
}

impl Default for VerifierConfig {
    fn default() -> Self {
        Self { max_staleness: carelink_verifier::Config::default().max_staleness }
    }
}

impl VerifierConfig {
    /// For the verifier of `service`.
    pub fn named(self, service: &'static str) -> carelink_verifier::Config {
        carelink_verifier::Config { max_staleness: self.max_staleness, ..carelink_verifier::Config::named(service) }
    }
}

/// Judges users' tokens by a verifier; one that is stale and hears nothing lets pass only what takes away (V3). `find` is asked each time: the verifier may come into being after the service.
pub fn verified_by(find: impl Fn() -> Option<Verifier> + Send + Sync + 'static) -> Hooks {
    let verify = move |token: String, effect: Effect| -> futures::future::BoxFuture<'static, Result<User, Failure>> {
        let verifier = find();
        Box::pin(async move {
            let verifier = verifier.ok_or_else(|| Failure::new(Reason::Unready))?;
            let (claims, stale) = match (verifier.check(&token, Purpose::Grant).await, effect) {
                (Err(Refusal::Unavailable), Effect::TakesAway) => (verifier.check(&token, Purpose::TakeAway).await, true),
                (judged, _) => (judged, false),
            };
            let claims = claims.map_err(|refusal| Failure::new(refusal.reason().parse().unwrap_or(Reason::TokenInvalid)))?;
            Ok(User {
                subject: claims.subject,
                user_id: claims.user_id.to_string(),
                session: claims.session,
                roles: claims.roles.to_vec().into(),
                stale,
            })
        })
    };
    Hooks { verify_user: Some(Arc::new(verify)), on_refused: None }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    use carelink_proto::token::{KeySet, PublicKey, Snapshot, WatchRequest, WatchResponse, watch_response::Message};
    use carelink_verifier::{channel, key_set_digest, thumbprint};
    use futures::{StreamExt, future, stream, stream::BoxStream};
    use tonic::{Request, Response, Status, body::Body, codegen::http, server::ServerStreamingService};

    use super::*;

    const NOW: i64 = 1_800_000_000;

    /// Watch says this once, and then nothing more.
    #[derive(Clone)]
    struct Once(Snapshot);

    impl ServerStreamingService<WatchRequest> for Once {
        type Response = WatchResponse;
        type ResponseStream = BoxStream<'static, Result<WatchResponse, Status>>;
        type Future = future::Ready<Result<Response<Self::ResponseStream>, Status>>;

        fn call(&mut self, _: Request<WatchRequest>) -> Self::Future {
            let first = WatchResponse { message: Some(Message::Snapshot(self.0.clone())) };
            future::ready(Ok(Response::new(stream::iter([Ok(first)]).chain(stream::pending()).boxed())))
        }
    }

    /// A verifier whose token-service says what it knows and falls silent, and a token that it takes.
    fn silent() -> (Verifier, String) {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[1; 32]).unwrap();
        let public: [u8; 32] = pair.public_key().as_ref().try_into().unwrap();
        let keys = vec![PublicKey { kid: thumbprint(&public), algorithm: "EdDSA".into(), public_key: public.to_vec() }];
        let header = serde_json::json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": keys[0].kid });
        let claims = serde_json::json!({
            "iss": "house", "aud": "carelink", "sub": uuid::Uuid::from_u128(1), "user_id": "1", "sid": uuid::Uuid::from_u128(2), "gen": 0,
            "token_type": "access", "roles": ["admin"], "amr": ["pwd"], "acr": "1", "auth_time": NOW, "iat": NOW, "exp": NOW + 900, "jti": "j",
        });
        let signed = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
        let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(pair.sign(signed.as_bytes())));
        let once = Once(Snapshot {
            keys: Some(KeySet { digest: key_set_digest(&keys), keys }),
            time_us: NOW * 1_000_000,
            issuer: "house".into(),
            audience: "carelink".into(),
            ..Snapshot::default()
        });
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let once = once.clone();
            async move {
                Ok::<_, std::convert::Infallible>(if request.uri().path().ends_with("/Watch") {
                    let codec = tonic_prost::ProstCodec::<WatchResponse, WatchRequest>::default();
                    tonic::server::Grpc::new(codec).server_streaming(once, request).await
                } else {
                    Status::unavailable("silent").into_http()
                })
            }
        });
        (Verifier::start(carelink_verifier::Config::default(), channel(service)), token)
    }

    #[tokio::test(start_paused = true)]
    async fn v3_a_stale_verifier_inside_a_service_lets_pass_what_takes_away_and_says_so() {
        let (verifier, token) = silent();
        verifier.ready().await;
        let verify = verified_by(move || Some(verifier.clone())).verify_user.unwrap();
        for effect in [Effect::Any, Effect::TakesAway] {
            assert!(!verify(token.clone(), effect).await.unwrap().stale);
        }
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert_eq!(verify(token.clone(), Effect::Any).await.unwrap_err().reason().http(), 503);
        let user = verify(token.clone(), Effect::TakesAway).await.unwrap();
        assert!(user.stale && user.has_any(&["admin"]));
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert_eq!(verify(token, Effect::TakesAway).await.unwrap_err().reason().http(), 503, "past max_staleness nobody is believed");
    }
}
