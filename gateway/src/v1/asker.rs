//! Who is asking: the access token of an Authorization header, or of a browser's cookie. Judged by this gateway's verifier: no query
//! and no RPC.

use std::sync::Arc;

use carelink_platform::errors::{Failure, Reason};
use carelink_verifier::{Claims, Purpose, Refusal};
use http::{HeaderMap, Method, header::AUTHORIZATION};
use tonic::metadata::{Ascii, MetadataValue};

use super::{cookies, origin};
use crate::{app::App, edge::Call};

/// Somebody whose access token is good.
pub(crate) struct Asker {
    pub(crate) claims: Arc<Claims>,
    /// Whether a browser's cookie carried the token.
    pub(crate) by_cookie: bool,
    token: String,
}

/// What a request brings as proof, before anybody judged it.
pub(crate) enum Presented {
    /// A token that a script sent on purpose.
    Bearer(String),
    /// A cookie, which a browser sends whoever asks it to (B2).
    Cookie(String),
}

impl Presented {
    /// The access token of a request. An Authorization header is what counts where there is one.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Option<Self>, Failure> {
        if let Some(token) = bearer(headers)? {
            return Ok(Some(Self::Bearer(token)));
        }
        Ok(cookies::find(headers, cookies::ACCESS)?.map(Self::Cookie))
    }

    pub(crate) fn token(&self) -> &str {
        let (Self::Bearer(token) | Self::Cookie(token)) = self;
        token
    }
}

impl Asker {
    /// Whoever asks, if their token is good and, where a cookie carries it, they meant to (B2).
    pub(crate) async fn of(app: &App, call: &Call, method: &Method) -> Result<Self, Failure> {
        let presented = Presented::of(&call.head.headers)?.ok_or_else(|| Failure::new(Reason::TokenMissing))?;
        let by_cookie = matches!(presented, Presented::Cookie(_));
        let asker = Self { by_cookie, ..Self::judged(app, presented.token()).await? };
        if by_cookie && !method.is_safe() {
            origin::own(app, call)?;
        }
        Ok(asker)
    }

    /// Whose token it is.
    pub(crate) async fn judged(app: &App, token: &str) -> Result<Self, Failure> {
        let claims = app.verifier.check(token, Purpose::Edge).await.map_err(refused)?;
        Ok(Self { claims, by_cookie: false, token: token.to_owned() })
    }

    /// A request to a service on behalf of whoever asks: their own token goes along, and the service judges it again (G2).
    pub(crate) fn asks<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        if let Ok(value) = MetadataValue::<Ascii>::try_from(format!("Bearer {}", self.token)) {
            request.metadata_mut().insert("authorization", value);
        }
        request
    }
}

/// Our own blindness is never the token's fault (V3).
pub(crate) fn refused(refusal: Refusal) -> Failure {
    let failure = Failure::new(refusal.reason().parse().unwrap_or(Reason::TokenInvalid));
    match refusal.retry_after() {
        Some(after) => failure.message(refusal.to_string()).retry_after(after),
        None => failure,
    }
}

/// The token of the one Authorization header. Another scheme is no token of ours; two headers are a riddle, and nothing to guess at.
pub(crate) fn bearer(headers: &HeaderMap) -> Result<Option<String>, Failure> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Failure::new(Reason::InputInvalid).message("There are two Authorization headers"));
    }
    let invalid = || Failure::new(Reason::TokenInvalid);
    let mut parts = value.to_str().map_err(|_| invalid())?.split_ascii_whitespace();
    match (parts.next(), parts.next(), parts.next()) {
        (Some(scheme), Some(token), None) if scheme.eq_ignore_ascii_case("bearer") => Ok(Some(token.to_owned())),
        (Some(scheme), ..) if scheme.eq_ignore_ascii_case("bearer") => Err(invalid()),
        _ => Err(Failure::new(Reason::TokenMissing)),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(values: &[&'static str]) -> Result<Option<String>, Reason> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_static(value));
        }
        bearer(&headers).map_err(|failure| failure.reason())
    }

    #[test]
    fn one_header_with_one_token_is_a_bearer_and_nothing_else_is() {
        assert_eq!(read(&[]), Ok(None));
        for good in ["Bearer a.b.c", "bearer a.b.c", "BEARER   a.b.c "] {
            assert_eq!(read(&[good]), Ok(Some("a.b.c".to_owned())), "{good}");
        }
        for odd in ["Bearer", "Bearer ", "Bearer a b"] {
            assert_eq!(read(&[odd]), Err(Reason::TokenInvalid), "{odd}");
        }
        for other in ["Basic abc", "Token abc", "", "a.b.c"] {
            assert_eq!(read(&[other]), Err(Reason::TokenMissing), "{other}");
        }
        assert_eq!(read(&["Bearer a", "Bearer a"]), Err(Reason::InputInvalid));
    }
}
