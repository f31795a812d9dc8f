//! What every service embeds that must know whether an access token is good: no database, no call per request.
//!
//! A [`Verifier`] holds CareLink's public keys and the set of revoked sessions. Both come by one stream from token-service
//! (`token.Watch`), so that a sign-out, a disabled user or a lost role is refused here within milliseconds. Ten lines:
//!
//! ```no_run
//! use carelink_verifier::{Config, Identity, Purpose, Refusal, Verifier, connect};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let identity = Identity::in_directory("certificates", "ward");
//! let verifier = Verifier::start(Config::named("ward"), connect("token-service", "token-1:8102,token-2:8102", identity));
//! verifier.ready().await;
//!
//! match verifier.check("eyJ...", Purpose::Edge).await {
//!     Ok(claims) => println!("{} may pass: {:?}", claims.user_id, claims.roles),
//!     Err(Refusal::Unavailable) => println!("503: we cannot tell at the moment"),
//!     Err(refusal) => println!("401: {refusal} ({})", refusal.reason()),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! An HTTP service puts a [`BearerLayer`] in front of its routes instead, a gRPC service a [`GrpcBearerLayer`], and both find
//! `Arc<Claims>` in the extensions. The README beside this crate has the lines to write, and `examples/` a whole service.
//!
//! # What it guarantees
//!
//! - **Genuine** (V5): Ed25519 or RS256 under a key of the current set, whose algorithm is bound to the key; one spelling per token;
//!   no header that brings or changes a key, no member twice. Symmetric algorithms and `none` are never accepted.
//! - **Alive** (T2): `exp` is judged by the database's time, so no two services disagree, however wrong their clocks.
//! - **Not revoked** (V1, V2): entries are numbered without gaps; a gap, another key set or five seconds of silence make
//!   the verifier *stale*.
//! - **Honest when stale** (V3): it asks token-service per token; if that is silent too, it goes on for
//!   [`Config::max_staleness`] where [`Purpose`] allows, then answers [`Refusal::Unavailable`]. It never blames a token
//!   for its own blindness.
//! - **Cheap** (V4): a token seen before costs one SHA-256 and two lookups.
//!
//! Metrics go through the `metrics` crate under `carelink_verifier_*`; install the recorder before making a verifier.

mod activity;
mod cache;
mod channel;
mod claims;
mod config;
mod connect;
mod grpc;
mod introspect;
mod json;
mod jwks;
mod keys;
mod layer;
mod metrics;
mod refusal;
mod report;
mod revocations;
mod rsa;
mod service;
mod service_tokens;
mod state;
mod status;
mod time;
mod token;
mod verifier;
mod watch;

/// The README's examples compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// The contracts: messages and typed clients of every service, `proto::token::token_service_client::TokenServiceClient`.
pub use carelink_proto as proto;

pub use self::{
    activity::Use,
    channel::{Channel, channel},
    claims::Claims,
    config::Config,
    connect::{Identity, connect, connect_over},
    grpc::{BearerInterceptor, GrpcBearer, GrpcBearerLayer},
    jwks::{key_id, key_set_digest, thumbprint},
    layer::{Bearer, BearerLayer},
    refusal::Refusal,
    service::ServiceClaims,
    service_tokens::ServiceTokens,
    state::STALE_AFTER,
    status::Status,
    time::UnixSeconds,
    verifier::{Purpose, Verifier},
    watch::Watcher,
};
