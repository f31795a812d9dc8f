//! Proving who one is by a password, whichever path that is for: the limits, then auth-service, whose signed statement comes back.

use std::time::Duration;

use carelink_platform::errors::{Failure, Reason};
use carelink_proto::{
    auth::{VerifyPasswordRequest, VerifyPasswordResponse},
    token::Origin,
};

use crate::{
    account::strip,
    app::App,
    edge::Call,
    limits::{Leave, Throttled},
};

/// When to try again where auth-service does not say.
const DEFAULT_WAIT: Duration = Duration::from_secs(1);

/// Why nobody was proven to be anybody.
#[derive(Debug)]
pub(crate) enum Refused {
    /// Too many tries; nobody looked at the password.
    Throttled(Throttled),
    /// What auth-service said.
    Failed(Failure),
}

impl App {
    /// Proves who somebody is; where they are and what they use is taken from the request. Where a network's budget is used up, those
    /// who are known there go on (C4). Where auth-service has no room, sign-ins are turned away at the door from then on (C3).
    pub(crate) async fn prove(&self, call: &Call, proof: VerifyPasswordRequest) -> Result<VerifyPasswordResponse, Refused> {
        let Origin { network, user_agent } = call.origin();
        let away = |throttled: Throttled| {
            self.throttled.away(call.client, throttled.scope, call.origin().user_agent);
            Refused::Throttled(throttled)
        };
        let name = strip(&proof.username).to_owned();
        let leave = self.limits.sign_in(call.client, &name).await.map_err(away)?;
        let known_origins_only = leave != Leave::Anybody;
        match self.clients.verify_password(VerifyPasswordRequest { network, user_agent, known_origins_only, ..proof }).await {
            Ok(proven) => {
                self.limits.signed_in(call.client, leave).await;
                Ok(proven)
            }
            Err(failure) => {
                if failure.reason() == Reason::QueueFull {
                    self.door.shut(failure.retry().unwrap_or(DEFAULT_WAIT));
                    self.limits.not_tried(call.client, &name, leave).await;
                }
                Err(match leave {
                    Leave::KnownOrigins(throttled) if failure.reason() == Reason::Throttled => away(throttled),
                    _ => Refused::Failed(failure),
                })
            }
        }
    }
}
