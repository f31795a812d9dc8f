//! The one table of everything that can go wrong, from its stable reason to gRPC and HTTP.
//!
//! Each service keeps an error enum of its own and names a [`Reason`] for each; nothing else maps errors.

use std::{fmt, str::FromStr, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// `ErrorInfo.domain` of every status.
pub const DOMAIN: &str = "carelink";

macro_rules! reasons {
    ($($name:ident $text:literal $code:ident $http:literal $title:literal;)*) => {
        /// A stable reason, the same over gRPC (`ErrorInfo.reason`) and HTTP (`code`).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason { $(#[doc = $title] $name,)* }

        impl Reason {
            /// All of them, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$name,)*];
            /// The stable name.
            pub const fn as_str(self) -> &'static str { match self { $(Self::$name => $text,)* } }
            /// The gRPC code.
            pub const fn code(self) -> Code { match self { $(Self::$name => Code::$code,)* } }
            /// The HTTP status.
            pub const fn http(self) -> u16 { match self { $(Self::$name => $http,)* } }
            /// What to tell a person.
            pub const fn title(self) -> &'static str { match self { $(Self::$name => $title,)* } }
        }

        impl FromStr for Reason {
            type Err = ();
            fn from_str(text: &str) -> Result<Self, ()> { match text { $($text => Ok(Self::$name),)* _ => Err(()) } }
        }
    };
}

reasons! {
    CredentialsInvalid "credentials_invalid" Unauthenticated 401 "No active account found with the given credentials";
    Throttled "throttled" ResourceExhausted 429 "Too many requests; try again later";
    QueueFull "queue_full" ResourceExhausted 429 "Too many sign-ins at once; try again later";
    TokenInvalid "token_invalid" Unauthenticated 401 "Token is invalid";
    TokenExpired "token_expired" Unauthenticated 401 "Token is expired";
    TokenTypeWrong "token_type_wrong" Unauthenticated 401 "Token has wrong type";
    TokenTypeMissing "token_type_missing" Unauthenticated 401 "Token has no type";
    TokenExpMissing "token_exp_missing" Unauthenticated 401 "Token has no 'exp' claim";
    TokenNoUser "token_no_user" Unauthenticated 401 "Token contained no recognizable user identification";
    TokenMissing "token_missing" Unauthenticated 401 "Authentication credentials were not provided";
    SessionRevoked "session_revoked" Unauthenticated 401 "The session has been ended";
    SessionExpired "session_expired" Unauthenticated 401 "The session is past its end";
    SessionReused "session_reused" Unauthenticated 401 "An old token was used again; the session has been ended";
    SessionStateLost "session_state_lost" Unauthenticated 401 "The token is not one this session knows; the session has been ended";
    SessionReplaced "session_replaced" Unauthenticated 401 "Somebody signed in again in the same browser; this session has been ended";
    UserInactive "user_inactive" Unauthenticated 401 "The user is disabled";
    AssertionInvalid "assertion_invalid" Unauthenticated 401 "The sign-in assertion is not valid";
    AssertionUsed "assertion_used" FailedPrecondition 409 "The sign-in assertion has been used";
    CallerRefused "caller_refused" PermissionDenied 403 "This caller may not do that";
    OriginRefused "origin_refused" PermissionDenied 403 "Another site may have caused this request: it is refused";
    RoleRequired "role_required" PermissionDenied 403 "This needs a role that the user does not have";
    UserNotFound "user_not_found" NotFound 404 "No such user";
    SessionNotFound "session_not_found" NotFound 404 "No such session";
    SourceNotFound "source_not_found" NotFound 404 "No such source; register it first";
    NotFound "not_found" NotFound 404 "There is nothing here";
    NameTaken "name_taken" AlreadyExists 409 "That name is taken";
    NameInvalid "name_invalid" InvalidArgument 400 "That is not a usable name";
    RoleInvalid "role_invalid" InvalidArgument 400 "That is not a usable role";
    PasswordTooShort "password_too_short" InvalidArgument 400 "The password is too short";
    PasswordTooLong "password_too_long" InvalidArgument 400 "The password is too long";
    PasswordCommon "password_common" InvalidArgument 400 "The password is too easily guessed";
    PasswordInvalid "password_invalid" InvalidArgument 400 "The password cannot be used";
    InputInvalid "input_invalid" InvalidArgument 400 "The request is not valid";
    LinkInvalid "link_invalid" InvalidArgument 400 "The link is wrong, was used, or is too old; ask for a new one";
    MailUnset "mail_unset" FailedPrecondition 409 "No letters leave here: mail is not configured";
    UserUnreachable "user_unreachable" FailedPrecondition 409 "No letter reaches this user: no e-mail address, or disabled";
    CursorInvalid "cursor_invalid" InvalidArgument 400 "The cursor is not one that was handed out";
    ReasonRequired "reason_required" InvalidArgument 400 "Say why: something is taken away";
    HostNotAllowed "host_not_allowed" InvalidArgument 400 "This host name is not served here";
    BodyTooLarge "body_too_large" InvalidArgument 413 "The request body is too large";
    MediaTypeUnsupported "media_type_unsupported" InvalidArgument 415 "Send the body as application/json";
    MethodNotAllowed "method_not_allowed" InvalidArgument 405 "That method is not served here";
    RequestTimeout "request_timeout" InvalidArgument 408 "The request did not arrive in time";
    Conflict "conflict" Aborted 409 "Somebody else changed this at the same time; try again";
    Late "late" Unavailable 503 "The request came to its turn too late; try again";
    DeadlineExceeded "deadline_exceeded" DeadlineExceeded 503 "This took too long; try again";
    Overloaded "overloaded" Unavailable 503 "Too much is going on; try again";
    Unready "unready" Unavailable 503 "Not ready; try again";
    StorageFull "storage_full" Unavailable 503 "There is no room left to store anything";
    StorageUnavailable "storage_unavailable" Unavailable 503 "The database does not answer; try again";
    Internal "internal" Internal 500 "Something went wrong on our side";
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Something that failed: a reason, words that are safe to show, and a cause that is not.
#[derive(Debug)]
pub struct Failure {
    reason: Reason,
    message: Option<String>,
    retry_after: Option<Duration>,
    cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Failure {
    /// With the reason's own words.
    pub fn new(reason: Reason) -> Self {
        Self { reason, message: None, retry_after: None, cause: None }
    }

    /// In better words; they reach the client.
    #[must_use]
    pub fn message(mut self, message: impl Into<String>) -> Self {
        self.message = Some(message.into());
        self
    }

    /// When it is worth trying again.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// What was behind it; logged, never sent.
    #[must_use]
    pub fn caused_by(mut self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// The stable reason.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// When it is worth trying again.
    pub fn retry(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Words that are safe to show.
    pub fn text(&self) -> &str {
        self.message.as_deref().unwrap_or_else(|| self.reason.title())
    }

    /// Encodes for the wire without a line in the log, where there may be many at once and a metric counts them.
    pub fn to_status(&self) -> Status {
        let mut details = ErrorDetails::with_error_info(self.reason.as_str(), DOMAIN, std::collections::HashMap::new());
        if let Some(after) = self.retry_after {
            details.set_retry_info(Some(after));
        }
        Status::with_error_details(self.reason.code(), self.text(), details)
    }

    /// Reads a status that another service sent. One that is not ours becomes unavailable, late or internal.
    pub fn from_status(status: &Status) -> Self {
        let details = status.get_error_details();
        let ours = details.error_info().filter(|info| info.domain == DOMAIN).and_then(|info| info.reason.parse().ok());
        let reason = ours.unwrap_or(match status.code() {
            Code::DeadlineExceeded | Code::Cancelled => Reason::DeadlineExceeded,
            Code::Unavailable => Reason::Unready,
            Code::ResourceExhausted => Reason::Overloaded,
            Code::InvalidArgument | Code::OutOfRange => Reason::InputInvalid,
            Code::PermissionDenied => Reason::CallerRefused,
            _ => Reason::Internal,
        });
        let retry_after = details.retry_info().and_then(|info| info.retry_delay);
        let message = ours.is_some().then(|| status.message().to_owned());
        Self { reason, message, retry_after, cause: ours.is_none().then(|| status.to_string().into()) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}

/// Encodes for the wire; a failure of our own is logged here, once, with its cause.
impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        if failure.reason.http() >= 500 {
            let cause = failure.cause.as_ref().map(ToString::to_string);
            tracing::error!(reason = failure.reason.as_str(), cause, "request failed");
        }
        failure.to_status()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_survives_the_wire() {
        for reason in Reason::ALL {
            let status = Status::from(Failure::new(*reason).message("m").retry_after(Duration::from_secs(3)));
            let read = Failure::from_status(&status);
            assert_eq!((read.reason(), read.text(), read.retry()), (*reason, "m", Some(Duration::from_secs(3))));
            assert_eq!(reason.as_str().parse(), Ok(*reason));
        }
    }

    #[test]
    fn a_cause_never_reaches_the_client() {
        let status = Status::from(Failure::new(Reason::Internal).caused_by("canary"));
        assert!(!format!("{status:?}").contains("canary"));
    }

    #[test]
    fn a_foreign_status_is_not_believed_to_be_ours() {
        assert_eq!(Failure::from_status(&Status::unavailable("x")).reason(), Reason::Unready);
        assert_eq!(Failure::from_status(&Status::unknown("x")).reason(), Reason::Internal);
    }
}
