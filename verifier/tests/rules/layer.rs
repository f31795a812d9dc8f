//! The tower layer: claims in, or an answer out.

use std::{convert::Infallible, sync::Arc};

use carelink_verifier::{BearerLayer, Claims, Config, Purpose, Verifier};
use http::{Request, Response, StatusCode, header};
use serde_json::{Value, json};
use tower::{ServiceBuilder, ServiceExt, service_fn};

use crate::{
    issuer::{Issuer, pinned},
    service::Ward,
};

async fn call(verifier: &Verifier, authorization: &[&str]) -> Response<String> {
    let inner = service_fn(|request: Request<()>| async move {
        let claims: &Arc<Claims> = request.extensions().get().unwrap();
        Ok::<_, Infallible>(Response::new(claims.user_id.to_string()))
    });
    let service = ServiceBuilder::new().layer(BearerLayer::new(verifier.clone()).purpose(Purpose::Edge)).service(inner);
    let mut request = Request::builder();
    for value in authorization {
        request = request.header(header::AUTHORIZATION, *value);
    }
    service.oneshot(request.body(()).unwrap()).await.unwrap()
}

fn code(response: &Response<String>) -> Value {
    let body: Value = serde_json::from_str(response.body()).unwrap();
    assert_eq!(body["status"], json!(response.status().as_u16()));
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
    body["code"].clone()
}

#[tokio::test(start_paused = true)]
async fn v4_the_layer_lets_a_good_token_through_with_its_claims() {
    let issuer = Issuer::new(1);
    let verifier = pinned(&[&issuer]);
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let response = call(&verifier, &[&format!("{scheme} {}", issuer.access())]).await;
        assert_eq!((response.status(), response.body().as_str()), (StatusCode::OK, "1000000000"));
    }
}

#[tokio::test(start_paused = true)]
async fn v5_the_layer_answers_everything_else() {
    let issuer = Issuer::new(1);
    let verifier = pinned(&[&issuer]);
    let good = format!("Bearer {}", issuer.access());
    let expired = format!("Bearer {}", issuer.access_with(|claims| claims["exp"] = 1.into()));
    for (presented, expected, challenge) in [
        (vec![], "token_missing", "Bearer"),
        (vec!["Basic YTpi"], "token_missing", "Bearer"),
        (vec!["Bearer"], "token_invalid", r#"Bearer error="invalid_token""#),
        (vec!["Bearer "], "token_invalid", r#"Bearer error="invalid_token""#),
        (vec!["Bearer a b"], "token_invalid", r#"Bearer error="invalid_token""#),
        (vec![good.as_str(), good.as_str()], "token_invalid", r#"Bearer error="invalid_token""#),
        (vec![expired.as_str()], "token_expired", r#"Bearer error="invalid_token""#),
    ] {
        let response = call(&verifier, &presented).await;
        assert_eq!((response.status(), code(&response)), (StatusCode::UNAUTHORIZED, json!(expected)), "{presented:?}");
        assert_eq!(response.headers()[header::WWW_AUTHENTICATE], challenge);
    }
}

#[tokio::test(start_paused = true)]
async fn v3_the_layer_answers_our_blindness_with_503() {
    let issuer = Issuer::new(1);
    let ward = Ward::new(&[&issuer]);
    let (verifier, _nobody_watches) = Verifier::new(Config::default(), ward.channel());
    let response = call(&verifier, &[&format!("Bearer {}", issuer.access())]).await;
    assert_eq!((response.status(), code(&response)), (StatusCode::SERVICE_UNAVAILABLE, json!("unready")));
    assert!(response.headers().contains_key(header::RETRY_AFTER) && !response.headers().contains_key(header::WWW_AUTHENTICATE));
}
