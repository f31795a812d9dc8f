//! The predecessor's endpoints, as its clients know them: Django REST framework with SimpleJWT, answer for answer.
//!
//! `bodies` and `fields` read what was sent as the predecessor did, `answers` has every answer and the one table from our reasons to
//! its words, `metadata` what OPTIONS says. Then one file per endpoint. Where an answer differs on purpose, rule L4 says why.

mod answers;
mod blacklist;
mod bodies;
mod djoser;
mod fields;
mod me;
mod metadata;
mod obtain;
mod refresh;
mod verify;

pub(crate) use blacklist::blacklist;
pub(crate) use djoser::djoser_me;
pub(crate) use fields::strip;
pub(crate) use me::{Names, me, name_of};
pub(crate) use metadata::Metadata;
pub(crate) use obtain::obtain;
pub(crate) use refresh::{deadline_us, refresh, session_of};
pub(crate) use verify::verify;

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http::{
    HeaderValue, Method, StatusCode,
    header::{CONTENT_TYPE, LOCATION},
};

use self::answers::Answer;
use crate::edge::Call;

/// Where the last slash is missing: Django's redirect, which makes a GET of whatever it was (L4).
pub(crate) fn add_slash(call: &Call) -> Response {
    let uri = &call.head.uri;
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    if let Ok(location) = HeaderValue::from_str(&format!("{}/{query}", uri.path())) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

/// The fields of a POST; everything else is answered here.
async fn posted<const N: usize>(call: &mut Call, names: [&str; N], about: &Bytes) -> Result<[String; N], Answer> {
    match call.head.method {
        Method::POST => {}
        Method::OPTIONS => return Err(answers::described(about)),
        ref other => return Err(answers::method_not_allowed(other)),
    }
    let content_type = call.head.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let given = bodies::read(content_type, std::mem::take(&mut call.body), names).await.map_err(answers::unreadable)?;
    fields::judge(names, given).map_err(|errors| answers::invalid_fields(&errors))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn call(uri: &str) -> Call {
        let request = Request::builder().uri(uri).body(()).unwrap();
        Call { head: request.into_parts().0, body: Bytes::new(), client: [127, 0, 0, 1].into() }
    }

    #[test]
    fn l4_a_missing_slash_is_added_and_the_query_kept() {
        let response = add_slash(&call("/account/token?next=%2Fx"));
        assert_eq!(response.status(), StatusCode::MOVED_PERMANENTLY);
        assert_eq!(response.headers()[LOCATION], "/account/token/?next=%2Fx");
        assert_eq!(add_slash(&call("http://localhost/account/me")).headers()[LOCATION], "/account/me/");
    }
}
