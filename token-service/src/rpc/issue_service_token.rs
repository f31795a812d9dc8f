//! A token for the service that calls: by its certificate's name, as far as `token.service_accounts` allows.

use carelink_platform::{
    clock::Timestamp,
    errors::Reason,
    events::{Actor, Detail, EventType},
    grpc::{Caller, Refused},
};
use carelink_proto::token::{IssueServiceTokenRequest, IssueServiceTokenResponse};
use tonic::Extensions;

use crate::{
    App, Error,
    domain::service::{Denied, ServiceClaims, grant},
};

const METHOD: &str = "/carelink.token.v1.TokenService/IssueServiceToken";

pub(super) async fn issue_service_token(
    app: &App,
    extensions: &Extensions,
    request: IssueServiceTokenRequest,
) -> Result<IssueServiceTokenResponse, Error> {
    app.trail.admit().map_err(Error::Backlog)?;
    let caller = extensions.get::<Caller>();
    let service = caller.map(Caller::name).ok_or(Denied::NoAccount)?;
    let account = app.config.token.service_accounts.get(&service);
    let roles = grant(account, &request.audience, request.roles).inspect_err(|_| {
        let refused = Refused { caller: caller.cloned(), method: METHOD.to_owned(), reason: Reason::CallerRefused };
        (app.trail.on_refused())(refused);
    })?;
    let held = app.held();
    let at = app.now().floor_to_second();
    let expires = at + app.config.session.access_lifetime;
    let claims = ServiceClaims {
        iss: app.config.token.issuer.clone(),
        sub: service,
        aud: request.audience,
        token_type: ServiceClaims::TYPE.to_owned(),
        iat: at.as_secs(),
        exp: Timestamp::as_secs(expires),
        jti: app.random.uuid_v4().simple().to_string(),
        roles,
    };
    let token = held.mint.service(&claims).ok_or(Error::KeyGone)?;
    let event = app.trail.note(EventType::ServiceTokenIssued, app.now(), |event| {
        let event = event.actor(Actor::of(extensions)).detail("audience", Detail::roles([&claims.aud]));
        event.detail("roles", Detail::roles(&claims.roles))
    });
    app.trail.record(vec![event]).await?;
    Ok(IssueServiceTokenResponse { token, expires: expires.as_secs() })
}
