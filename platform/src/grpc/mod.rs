//! gRPC between services: who calls, by which right, until when, in which trace.
//!
//! A service's RPCs sit behind one [`Stack`]; a caller holds a [`Channel`]. In one process the channel calls the
//! stack itself; over a socket the same stack is served by HTTP/2. Nothing but the transport differs.

mod callers;
mod channel;
mod socket;
mod stack;

pub use callers::{Caller, CallerRow, Lane, Operator, OperatorProof, User, UserRule};
pub use channel::{Channel, as_operator, connect_unix, in_process};
pub use socket::serve_unix;
pub use stack::{Hooks, Refused, Stack};
