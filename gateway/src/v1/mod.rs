//! Our own paths: signing in, staying signed in and out of it, for scripts (tokens in bodies) and for browsers (cookies, B1 to B4).
//!
//! `asker` says who is asking, `cookies` and `origin` what browsers bring and whether they meant to; `bodies` reads JSON strictly,
//! `told` has the shapes of answers. Then one file per path. What each may answer stands in the table of routes.

pub(crate) mod admin;
mod asker;
mod bodies;
pub(crate) mod cookies;
mod device;
pub(crate) mod origin;
pub(crate) mod password;
pub(crate) mod query;
pub(crate) mod refresh;
pub(crate) mod session;
pub(crate) mod sessions;
pub(crate) mod told;
pub(crate) mod trail;

pub(crate) use asker::{Asker, Presented};
pub(crate) use bodies::Text;

use carelink_platform::errors::{Failure, Reason};

use crate::{limits::Throttled, routes::Refused};

impl From<Throttled> for Refused {
    fn from(throttled: Throttled) -> Self {
        Self { over: Some(throttled), ..Failure::new(Reason::Throttled).retry_after(throttled.retry_after).into() }
    }
}

/// A handler as the table holds it: `boxed!(session::sign_in)`.
macro_rules! boxed {
    ($handler:path) => {
        |app, call| Box::pin(async move { $handler(&app, call).await })
    };
}

/// The same of one that knows who asks.
macro_rules! boxed_for_user {
    ($handler:path) => {
        |app, call, asker| Box::pin(async move { $handler(&app, call, asker).await })
    };
}

pub(crate) use {boxed, boxed_for_user};
