//! Users for whom services call are judged by a verifier, the same way in every service (G2), and the section `verifier`.

use std::{sync::Arc, time::Duration};

use carelink_verifier::{Purpose, Verifier};
use serde::{Deserialize, Serialize};

use crate::{
    config::duration,
    errors::{Failure, Reason},
    grpc::{Hooks, User},
};

/// The section `verifier`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct VerifierConfig {
    /// How long a verifier that hears nothing goes on by what it last knew (V3).
    #[serde(with = "duration")]
    pub max_staleness: Duration,
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

/// Judges users' tokens by a verifier. `find` is asked each time: the verifier may come into being after the service.
pub fn verified_by(find: impl Fn() -> Option<Verifier> + Send + Sync + 'static) -> Hooks {
    let verify = move |token: String| -> futures::future::BoxFuture<'static, Result<User, Failure>> {
        let verifier = find();
        Box::pin(async move {
            let verifier = verifier.ok_or_else(|| Failure::new(Reason::Unready))?;
            let claims = verifier
                .check(&token, Purpose::Grant)
                .await
                .map_err(|refusal| Failure::new(refusal.reason().parse().unwrap_or(Reason::TokenInvalid)))?;
            Ok(User {
                subject: claims.subject,
                user_id: claims.user_id.to_string(),
                session: claims.session,
                roles: claims.roles.to_vec().into(),
            })
        })
    };
    Hooks { verify_user: Some(Arc::new(verify)), on_refused: None }
}
