//! The predecessor's paths: each answers every method itself, in the predecessor's words (L4).

use carelink_platform::errors::Reason;
use http::Method;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;

use super::operation::{Access, Asked, Endpoint, Handler, Operation, SchemaOf};
use crate::{
    account,
    answer::Surface,
    config::{GatewayConfig, SIGN_IN_DEADLINE},
};

/// Two tokens.
#[derive(Serialize, JsonSchema)]
struct AccountPair {
    access: String,
    refresh: String,
}

/// Somebody.
#[derive(Serialize, JsonSchema)]
struct AccountUser {
    id: i64,
    username: String,
}

/// Somebody, as djoser tells of them.
#[derive(Serialize, JsonSchema)]
struct DjoserUser {
    email: String,
    id: i64,
    username: String,
}

/// The predecessor's form of an error.
#[derive(Serialize, JsonSchema)]
struct AccountError {
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
}

const TYPES: &[&str] = &["application/json", "application/x-www-form-urlencoded", "multipart/form-data"];
const TAG: &str = "Account";

pub(super) fn endpoints(config: &GatewayConfig) -> Vec<Endpoint> {
    let post = |name, summary| Operation::new(Method::POST, name, TAG, summary, Access::Elsewhere);
    let obtain = post("obtainTokenPair", "Sign in")
        .within(SIGN_IN_DEADLINE)
        .hashes()
        .asks(sign_in_fields)
        .tells::<AccountPair>(200, "Signed in")
        .words(&[400, 401, 413, 415, 429]);
    let refresh = post("refreshToken", "Refresh")
        .asks(refresh_field)
        .tells::<AccountPair>(200, "The token's successor")
        .words(&[400, 401, 413, 415, 429]);
    let verify =
        post("verifyToken", "Whether a token is good").asks(token_field).tells::<Nothing>(200, "It is").words(&[400, 401, 413, 415]);
    let blacklist =
        post("blacklistToken", "Sign out").asks(refresh_field).tells::<Nothing>(200, "The session is over").words(&[400, 401, 413, 415]);
    let me = Operation::new(Method::GET, "me", TAG, "Who am I", Access::Elsewhere)
        .secured()
        .tells::<AccountUser>(200, "Whose token it is")
        .words(&[400, 401, 413]);
    let djoser = config.djoser_prefix.as_deref().map(|prefix| djoser(prefix, [&obtain, &refresh, &verify].map(Clone::clone)));
    let mut endpoints = vec![
        endpoint(config, "/account/token/", |app, call| Box::pin(account::obtain(app, call)), obtain),
        endpoint(config, "/account/token/refresh/", |app, call| Box::pin(account::refresh(app, call)), refresh),
        endpoint(config, "/account/token/verify/", |app, call| Box::pin(account::verify(app, call)), verify),
        endpoint(config, "/account/token/blacklist/", |app, call| Box::pin(account::blacklist(app, call)), blacklist),
        endpoint(config, "/account/me/", |app, call| Box::pin(account::me(app, call)), me),
    ];
    if let Some(body) = endpoints.first_mut().and_then(|sign_in| sign_in.operations.first_mut()).and_then(|post| post.body.as_mut()) {
        body.renamed = Some(("username", config.username_field.clone()));
    }
    endpoints.into_iter().chain(djoser.into_iter().flatten()).collect()
}

/// SimpleJWT's operations at djoser's paths, and its own user.
fn djoser(prefix: &str, [mut obtain, mut refresh, mut verify]: [Operation; 3]) -> Vec<Endpoint> {
    (obtain.name, refresh.name, verify.name) = ("djoserCreate", "djoserRefresh", "djoserVerify");
    let me = Operation::new(Method::GET, "djoserMe", TAG, "Who am I", Access::Elsewhere)
        .secured()
        .tells::<DjoserUser>(200, "Whose token it is")
        .words(&[400, 401, 413]);
    let at = |path: &'static str, whole: Handler, operation: Operation| Endpoint {
        path,
        served_at: path.replacen("/djoser", prefix, 1),
        surface: Surface::Account,
        whole: Some(whole),
        operations: vec![operation],
    };
    vec![
        at("/djoser/jwt/create/", |app, call| Box::pin(account::obtain(app, call)), obtain),
        at("/djoser/jwt/refresh/", |app, call| Box::pin(account::refresh(app, call)), refresh),
        at("/djoser/jwt/verify/", |app, call| Box::pin(account::verify(app, call)), verify),
        at("/djoser/users/me/", |app, call| Box::pin(account::djoser_me(app, call)), me),
    ]
}

fn endpoint(config: &GatewayConfig, path: &'static str, whole: Handler, first: Operation) -> Endpoint {
    let options = Operation::new(Method::OPTIONS, described(first.name), TAG, "What this path takes", Access::Elsewhere)
        .sends(200, "A description", Some(("application/json", |_| json_schema!({"type": "object"}))))
        .words(&[400, 401, 413]);
    let served_at = path.replacen("/account", &config.account_prefix, 1);
    Endpoint { path, served_at, surface: Surface::Account, whole: Some(whole), operations: vec![first, options] }
}

fn described(name: &'static str) -> &'static str {
    match name {
        "obtainTokenPair" => "describeObtainTokenPair",
        "refreshToken" => "describeRefreshToken",
        "verifyToken" => "describeVerifyToken",
        "blacklistToken" => "describeBlacklistToken",
        _ => "describeMe",
    }
}

/// `{}`.
#[derive(Serialize, JsonSchema)]
struct Nothing {}

impl Operation {
    fn asks(mut self, schema: SchemaOf) -> Self {
        self.body = Some(Asked { schema, types: TYPES, required: true, renamed: None });
        self
    }

    /// The predecessor's errors, in its words.
    fn words(mut self, statuses: &[u16]) -> Self {
        for status in statuses {
            let (about, schema): (&str, SchemaOf) = match status {
                400 => ("What is wrong, field by field or as a whole", |_| json_schema!({"type": "object"})),
                401 => ("Not let in", |schemas| schemas.subschema_for::<AccountError>()),
                413 => (Reason::BodyTooLarge.title(), |schemas| schemas.subschema_for::<AccountError>()),
                415 => ("Neither JSON nor a form", |schemas| schemas.subschema_for::<AccountError>()),
                _ => (Reason::Throttled.title(), |schemas| schemas.subschema_for::<AccountError>()),
            };
            self = self.sends(*status, about, Some(("application/json", schema)));
        }
        for (status, about) in [(408, Reason::RequestTimeout.title()), (500, Reason::Internal.title()), (503, Reason::Unready.title())] {
            self = self.sends(status, about, Some(("application/json", |schemas| schemas.subschema_for::<AccountError>())));
        }
        self
    }
}

fn sign_in_fields(_: &mut SchemaGenerator) -> Schema {
    fields(&["username", "password"])
}

fn refresh_field(_: &mut SchemaGenerator) -> Schema {
    fields(&["refresh"])
}

fn token_field(_: &mut SchemaGenerator) -> Schema {
    fields(&["token"])
}

/// Fields as the predecessor reads them: numbers count as their text, what it does not know is passed over.
fn fields(names: &[&str]) -> Schema {
    let properties: serde_json::Map<_, _> =
        names.iter().map(|name| ((*name).to_owned(), serde_json::json!({"type": "string", "minLength": 1}))).collect();
    json_schema!({"type": "object", "required": names, "properties": properties})
}
