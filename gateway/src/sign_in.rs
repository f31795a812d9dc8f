//! Proving who one is by a password, whichever path that is for: the limits, then auth-service, whose signed statement comes back.

use std::time::Duration;

use carelink_platform::errors::{Failure, Reason};
use carelink_proto::auth::{VerifyPasswordRequest, VerifyPasswordResponse};

use crate::{account::strip, app::App, edge::Call, limits::Throttled};

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
    /// Proves who somebody is; where they are and what they use is taken from the request. Where auth-service has no room, sign-ins
    /// are turned away at the door from then on (C3).
    pub(crate) async fn prove(&self, call: &Call, proof: VerifyPasswordRequest) -> Result<VerifyPasswordResponse, Refused> {
        let origin = call.origin();
        if let Err(throttled) = self.limits.sign_in(call.client, strip(&proof.username)).await {
            self.throttled.away(call.client, throttled.scope, origin.user_agent);
            return Err(Refused::Throttled(throttled));
        }
        let proof = VerifyPasswordRequest { network: origin.network, user_agent: origin.user_agent, ..proof };
        self.clients.verify_password(proof).await.map_err(|failure| {
            if failure.reason() == Reason::QueueFull {
                self.door.shut(failure.retry().unwrap_or(DEFAULT_WAIT));
            }
            Refused::Failed(failure)
        })
    }
}
