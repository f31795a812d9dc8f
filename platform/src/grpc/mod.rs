//! gRPC between services: who calls, by which right, until when, in which trace.
//!
//! A service's RPCs sit behind one [`Stack`]; a caller holds a [`Channel`]. In one process the channel calls the
//! stack itself; over a socket or mTLS the same stack is served by HTTP/2. Nothing but the transport differs.

mod callers;
mod channel;
mod dispatch;
mod identity;
mod lanes;
mod methods;
mod peers;
mod refusals;
mod server;
mod settings;
mod socket;
mod stack;
mod tls;

pub use callers::{Caller, CallerRow, Effect, Lane, Operator, OperatorProof, User, UserRule};
pub use channel::{Channel, as_operator, connect_unix, in_process};
pub use identity::{DOMAIN, server_name};
pub use lanes::{Room, Rooms};
pub use peers::{Network, Peers, Stream};
pub use refusals::{Due, Refusals};
pub use server::TlsServer;
pub use settings::GrpcConfig;
pub use socket::serve_unix;
pub use stack::{Hooks, Refused, Stack};
pub use tls::{Credentials, TlsError};
