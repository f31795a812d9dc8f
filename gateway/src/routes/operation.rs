//! A row of the table: a path, what may be asked of it, by whom, and what it answers.

use std::{sync::Arc, time::Duration};

use axum::response::Response;
use carelink_platform::errors::{Failure, Reason};
use futures::future::BoxFuture;
use http::{HeaderValue, Method};
use schemars::{JsonSchema, Schema, SchemaGenerator};

use crate::{
    answer::Surface,
    app::App,
    config::DEADLINE,
    edge::Call,
    limits::Throttled,
    v1::{
        Asker,
        query::{Limit, Word},
    },
};

/// An answer on its way.
pub(crate) type Handling = BoxFuture<'static, Response>;
/// Answers a whole request by itself.
pub(crate) type Handler = fn(Arc<App>, Call) -> Handling;
/// What a handler of ours comes to.
pub(crate) type Outcome = Result<Response, Refused>;
/// Answers whoever asks.
pub(crate) type OpenHandler = fn(Arc<App>, Call) -> BoxFuture<'static, Outcome>;
/// Answers somebody whose access token is good.
pub(crate) type UserHandler = fn(Arc<App>, Call, Asker) -> BoxFuture<'static, Outcome>;
/// A type's schema.
pub(crate) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// A refusal, and the cookies that go with it (B3).
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) failure: Failure,
    pub(crate) cookies: Vec<HeaderValue>,
    /// Of which budget nothing is left.
    pub(crate) over: Option<Throttled>,
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self { failure, cookies: Vec::new(), over: None }
    }
}

impl From<Reason> for Refused {
    fn from(reason: Reason) -> Self {
        Failure::new(reason).into()
    }
}

/// A path.
pub(crate) struct Endpoint {
    /// As spans and metrics know it; variable parts in braces.
    pub(crate) path: &'static str,
    /// Where it is served: the same, but for the configured prefix.
    pub(crate) served_at: String,
    pub(crate) surface: Surface,
    /// Answers every method itself, in the predecessor's words; none: each operation has a handler.
    pub(crate) whole: Option<Handler>,
    pub(crate) operations: Vec<Operation>,
}

impl Endpoint {
    /// One of our own.
    pub(crate) fn own(path: &'static str, operations: impl Into<Vec<Operation>>) -> Self {
        Self { path, served_at: path.to_owned(), surface: Surface::Own, whole: None, operations: operations.into() }
    }
}

/// Who may ask.
#[derive(Clone, Copy)]
pub(crate) enum Access {
    /// Answered by the endpoint as a whole.
    Elsewhere,
    /// Whoever comes; where a token is asked for, the handler says which.
    Open(OpenHandler),
    /// Whose access token is good.
    User(UserHandler),
    /// Those of them who have one of these roles.
    Role(&'static [&'static str], UserHandler),
}

/// A parameter of a path or a query.
#[derive(Clone, Copy)]
pub(crate) struct Parameter {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) within: &'static str,
    pub(crate) required: bool,
    pub(crate) schema: SchemaOf,
}

/// What a request's body is.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) schema: SchemaOf,
    /// As which media types it may come.
    pub(crate) types: &'static [&'static str],
    pub(crate) required: bool,
    /// A member that is configured to be called otherwise.
    pub(crate) renamed: Option<(&'static str, String)>,
}

/// What an answer is.
#[derive(Clone)]
pub(crate) struct Told {
    pub(crate) status: u16,
    pub(crate) about: String,
    pub(crate) content: Option<(&'static str, SchemaOf)>,
    /// Headers, each with what it says.
    pub(crate) headers: &'static [(&'static str, &'static str)],
}

/// What may be asked of a path.
#[derive(Clone)]
pub(crate) struct Operation {
    pub(crate) method: Method,
    /// Its `operationId`.
    pub(crate) name: &'static str,
    pub(crate) tag: &'static str,
    pub(crate) summary: &'static str,
    pub(crate) about: &'static str,
    pub(crate) access: Access,
    /// Whether the document says that a token is wanted, where the handler itself asks for it.
    pub(crate) secured: bool,
    pub(crate) deadline: Duration,
    /// Whether its answer waits for a password to be hashed.
    pub(crate) hashes: bool,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) body: Option<Asked>,
    pub(crate) answers: Vec<Told>,
    pub(crate) refusals: Vec<Reason>,
}

impl Operation {
    pub(crate) fn new(method: Method, name: &'static str, tag: &'static str, summary: &'static str, access: Access) -> Self {
        let secured = matches!(access, Access::User(_) | Access::Role(..));
        let (parameters, answers, refusals) = (Vec::new(), Vec::new(), Vec::new());
        let (about, deadline, hashes, body) = ("", DEADLINE, false, None);
        Self { method, name, tag, summary, about, access, secured, deadline, hashes, parameters, body, answers, refusals }
    }

    /// More words than the summary has room for.
    pub(crate) fn about(mut self, about: &'static str) -> Self {
        self.about = about;
        self
    }

    /// How long it may take.
    pub(crate) fn within(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// It waits for a password to be hashed.
    pub(crate) fn hashes(mut self) -> Self {
        self.hashes = true;
        self
    }

    /// The handler itself asks for a token.
    pub(crate) fn secured(mut self) -> Self {
        self.secured = true;
        self
    }

    /// A variable part of the path.
    pub(crate) fn part<T: JsonSchema>(self, name: &'static str, about: &'static str) -> Self {
        self.parameter::<T>("path", name, about)
    }

    /// Something that the query may say.
    pub(crate) fn query<T: JsonSchema>(self, name: &'static str, about: &'static str) -> Self {
        self.parameter::<T>("query", name, about)
    }

    /// Something that the query has to say.
    pub(crate) fn needs<T: JsonSchema>(self, name: &'static str, about: &'static str) -> Self {
        let mut operation = self.parameter::<T>("query", name, about);
        if let Some(parameter) = operation.parameters.last_mut() {
            parameter.required = true;
        }
        operation
    }

    /// Something that a header may say.
    pub(crate) fn header<T: JsonSchema>(self, name: &'static str, about: &'static str) -> Self {
        self.parameter::<T>("header", name, about)
    }

    fn parameter<T: JsonSchema>(mut self, within: &'static str, name: &'static str, about: &'static str) -> Self {
        self.parameters.push(Parameter { name, about, within, required: within == "path", schema: |schemas| schemas.subschema_for::<T>() });
        self
    }

    /// A JSON body.
    pub(crate) fn takes<T: JsonSchema>(mut self) -> Self {
        let (schema, types): (SchemaOf, _) = (|schemas| schemas.subschema_for::<T>(), &["application/json"]);
        self.body = Some(Asked { schema, types, required: true, renamed: None });
        self.refusals.extend([Reason::InputInvalid, Reason::MediaTypeUnsupported]);
        self
    }

    /// It answers a page at a time.
    pub(crate) fn pages(self) -> Self {
        self.query::<Word>("cursor", "`next_cursor` of the page before")
            .query::<Limit>("limit", "At most so many, up to 1000; 100 where it is not said")
            .refuses(&[Reason::CursorInvalid])
    }

    /// Nobody needs to bring it.
    pub(crate) fn optional_body(mut self) -> Self {
        if let Some(body) = &mut self.body {
            body.required = false;
        }
        self
    }

    /// An answer in JSON.
    pub(crate) fn tells<T: JsonSchema>(self, status: u16, about: &str) -> Self {
        self.sends(status, about, Some(("application/json", |schemas| schemas.subschema_for::<T>())))
    }

    /// An answer of any type, or without a body.
    pub(crate) fn sends(mut self, status: u16, about: &str, content: Option<(&'static str, SchemaOf)>) -> Self {
        self.answers.push(Told { status, about: about.to_owned(), content, headers: &[] });
        self
    }

    /// Headers of the answer named last.
    pub(crate) fn with(mut self, headers: &'static [(&'static str, &'static str)]) -> Self {
        if let Some(told) = self.answers.last_mut() {
            told.headers = headers;
        }
        self
    }

    /// Refusals that are its own.
    pub(crate) fn refuses(mut self, reasons: &[Reason]) -> Self {
        self.refusals.extend(reasons);
        self
    }

    /// Every reason for which it may be refused: its own, those of whoever asks, and those of any request.
    pub(crate) fn reasons(&self) -> Vec<Reason> {
        let unsafe_by_cookie = !matches!(self.method, Method::GET | Method::HEAD);
        let mut all = [&self.refusals, ALWAYS].concat();
        if matches!(self.access, Access::User(_) | Access::Role(..)) {
            all.extend(ASKERS);
            all.extend(unsafe_by_cookie.then_some(Reason::OriginRefused));
        }
        if matches!(self.access, Access::Role(..)) {
            all.push(Reason::RoleRequired);
        }
        all.sort_by_key(|reason| (reason.http(), reason.as_str()));
        all.dedup();
        all
    }
}

/// Why an access token is no proof.
pub(crate) const ASKERS: &[Reason] = &[
    Reason::TokenMissing,
    Reason::TokenInvalid,
    Reason::TokenExpired,
    Reason::TokenTypeWrong,
    Reason::TokenTypeMissing,
    Reason::TokenNoUser,
    Reason::SessionRevoked,
    Reason::SessionExpired,
    Reason::InputInvalid,
];

/// What any request may come to.
const ALWAYS: &[Reason] = &[
    Reason::HostNotAllowed,
    Reason::InputInvalid,
    Reason::RequestTimeout,
    Reason::BodyTooLarge,
    Reason::Internal,
    Reason::DeadlineExceeded,
    Reason::Late,
    Reason::Overloaded,
    Reason::StorageFull,
    Reason::StorageUnavailable,
    Reason::Unready,
];
