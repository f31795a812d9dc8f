//! The other side of a service token: whoever needs one to call another service.

use std::time::Duration;

use carelink_proto::token::{IssueServiceTokenRequest, token_service_client::TokenServiceClient};
use tokio::{sync::Mutex, time::Instant};
use tonic::{Request, Status, metadata::MetadataValue};

use crate::{channel::Channel, verifier::Verifier};

/// After a failure the old token is used for so long before the next try.
const PAUSE: Duration = Duration::from_secs(5);
/// How long token-service may take.
const WITHIN: Duration = Duration::from_secs(5);

/// Tokens of this process for one audience: asked for when there is none, and anew when two thirds of its life are over.
/// token-service knows who asks by the certificate of the channel.
pub struct ServiceTokens {
    verifier: Verifier,
    client: TokenServiceClient<Channel>,
    audience: String,
    held: Mutex<Option<Held>>,
}

struct Held {
    token: String,
    renew: Instant,
    ends: Instant,
}

impl ServiceTokens {
    /// Nothing is asked for yet. The verifier lends its clock.
    pub fn new(verifier: Verifier, channel: Channel, audience: impl Into<String>) -> Self {
        Self { verifier, client: TokenServiceClient::new(channel), audience: audience.into(), held: Mutex::default() }
    }

    /// A token that is good now. Whoever asks at the same time shares one question; while token-service is away a token
    /// that still lives is used on.
    pub async fn get(&self) -> Result<String, Status> {
        let mut held = self.held.lock().await;
        let now = Instant::now();
        match held.as_mut() {
            Some(held) if now < held.renew => Ok(held.token.clone()),
            Some(old) if now < old.ends => match self.issue(now).await {
                Ok(new) => Ok(held.insert(new).token.clone()),
                Err(error) => {
                    tracing::warn!(%error, audience = self.audience, "the service token was not renewed; the old one goes on");
                    old.renew = now + PAUSE;
                    Ok(old.token.clone())
                }
            },
            _ => Ok(held.insert(self.issue(now).await?).token.clone()),
        }
    }

    /// Puts it into a call.
    pub async fn authorize<T>(&self, request: &mut Request<T>) -> Result<(), Status> {
        let value = MetadataValue::try_from(format!("Bearer {}", self.get().await?)).map_err(|_| Status::internal("no token"))?;
        request.metadata_mut().insert("authorization", value);
        Ok(())
    }

    async fn issue(&self, now: Instant) -> Result<Held, Status> {
        let mut request = Request::new(IssueServiceTokenRequest { audience: self.audience.clone(), roles: Vec::new() });
        request.set_timeout(WITHIN);
        let issued = self.client.clone().issue_service_token(request).await?.into_inner();
        let life = self.verifier.until(issued.expires);
        Ok(Held { token: issued.token, renew: now + life * 2 / 3, ends: now + life })
    }
}
