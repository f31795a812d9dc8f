//! The HTTP edge. It owns no data: it reads what browsers and scripts send, asks the services over gRPC, and answers in the words that
//! the predecessor's clients know.
//!
//! Invariants: an access token is checked here, without a query and without an RPC; a name may be up to a minute old, authority never
//! is; nothing that a client sends decides who it is but a token, a password, or its address behind a trusted proxy. Passwords, tokens,
//! names and addresses are in no log, span or metric. Every answer carries its trace id; one with 5xx says nothing else about us.
//!
//! Where to look: [`app`](self) wires, `server` accepts connections, `edge` is the way of every request, `routes/` the table of
//! paths, `account/` has the predecessor's endpoints, `v1/` our own, `openapi/` what is told of both, `limits/` the budgets, `hosts` and `proxies` who is meant and who asks.

mod account;
mod answer;
mod app;
mod body;
mod clients;
mod config;
mod crowd;
mod door;
mod edge;
mod framing;
mod hosts;
mod jwks;
mod limits;
mod listen;
mod meters;
mod openapi;
mod proxies;
mod rarely;
mod routes;
mod server;
mod sign_in;
mod tls;
mod traces;
mod trail;
mod v1;
mod verify;

#[cfg(test)]
mod tests;

pub use app::{Gateway, GatewayOptions};
pub use clients::Clients;
pub use config::{Config, GatewayConfig};
pub use limits::{Budget, Budgets, LimitsConfig, RedisUrl, RedisUrlError};
pub use listen::{ListenError, bind};
pub use proxies::{Cidr, CidrError};
