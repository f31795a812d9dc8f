//! Why a token is not accepted: one enum, stable reasons, the words the predecessor's clients know.

use std::time::Duration;

use thiserror::Error;

/// Why a token is not accepted. `Display` gives SimpleJWT's words; [`Refusal::reason`] the error table's.
///
/// Everything but [`Refusal::Unavailable`] says something about the token (401); that one says something about us (503).
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Refusal {
    /// Not a compact JWS of the accepted form, too long, a duplicate or forbidden member (V5).
    #[error("Token is invalid")]
    Malformed,
    /// The algorithm is not the one bound to the key, or none that is accepted at all (V5).
    #[error("Token is invalid")]
    AlgorithmWrong,
    /// The key it names is not in the current set.
    #[error("Token is invalid")]
    KeyUnknown,
    /// The signature does not verify.
    #[error("Token is invalid")]
    SignatureWrong,
    /// Genuine, but from another issuer.
    #[error("Token is invalid")]
    IssuerWrong,
    /// Genuine, but for another audience.
    #[error("Token is invalid")]
    AudienceWrong,
    /// Genuine, but a claim is missing or not of its type.
    #[error("Token is invalid")]
    ClaimsWrong,
    /// token-service says it is not good, and gives no reason that is known here.
    #[error("Token is invalid")]
    Inactive,
    /// Genuine, but of another kind: a service token, another `typ`.
    #[error("Token has wrong type")]
    TypeWrong,
    /// Looks like a refresh token, which only token-service can check. A hint for the right words; nothing is trusted by it.
    #[error("Token has wrong type")]
    NotAccess,
    /// Genuine, but does not say which kind it is.
    #[error("Token has no type")]
    TypeMissing,
    /// Genuine, but names no user.
    #[error("Token contained no recognizable user identification")]
    NoUser,
    /// Past its `exp` by the database's time (T2).
    #[error("Token is expired")]
    Expired,
    /// Its session has ended, or lost a role since (V1).
    #[error("Token is blacklisted")]
    Revoked,
    /// Its session is past its end.
    #[error("Token is expired")]
    SessionExpired,
    /// We cannot tell, and say so instead of blaming the token (V3).
    #[error("Tokens cannot be checked at the moment; try again")]
    Unavailable,
}

impl Refusal {
    /// The stable reason, as in the error table.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Malformed
            | Self::AlgorithmWrong
            | Self::KeyUnknown
            | Self::SignatureWrong
            | Self::IssuerWrong
            | Self::AudienceWrong
            | Self::ClaimsWrong
            | Self::Inactive => "token_invalid",
            Self::TypeWrong | Self::NotAccess => "token_type_wrong",
            Self::TypeMissing => "token_type_missing",
            Self::NoUser => "token_no_user",
            Self::Expired => "token_expired",
            Self::Revoked => "session_revoked",
            Self::SessionExpired => "session_expired",
            Self::Unavailable => "unready",
        }
    }

    /// What exactly was wrong, for metrics and logs; finer than [`Refusal::reason`], and nothing a client needs.
    pub const fn detail(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::AlgorithmWrong => "algorithm_wrong",
            Self::KeyUnknown => "key_unknown",
            Self::SignatureWrong => "signature_wrong",
            Self::IssuerWrong => "issuer_wrong",
            Self::AudienceWrong => "audience_wrong",
            Self::ClaimsWrong => "claims_wrong",
            Self::Inactive => "inactive",
            Self::TypeWrong => "type_wrong",
            Self::NotAccess => "not_access",
            Self::TypeMissing => "type_missing",
            Self::NoUser => "no_user",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::SessionExpired => "session_expired",
            Self::Unavailable => "unavailable",
        }
    }

    /// When it is worth asking again with the same token, if ever.
    pub const fn retry_after(self) -> Option<Duration> {
        match self {
            Self::Unavailable => Some(Duration::from_secs(2)),
            _ => None,
        }
    }

    /// Whether a newer view of keys, issuer or audience could lift it: our own blindness, while stale (V3).
    pub(crate) const fn may_be_blindness(self) -> bool {
        matches!(self, Self::KeyUnknown | Self::IssuerWrong | Self::AudienceWrong | Self::Unavailable)
    }

    /// What token-service's `reason` means; it comes from the same table.
    pub(crate) fn from_reason(reason: &str) -> Self {
        match reason {
            "token_expired" => Self::Expired,
            "session_revoked" | "session_replaced" | "session_reused" | "session_state_lost" | "user_inactive" => Self::Revoked,
            "session_expired" => Self::SessionExpired,
            "token_type_wrong" => Self::TypeWrong,
            "token_type_missing" => Self::TypeMissing,
            "token_no_user" => Self::NoUser,
            _ => Self::Inactive,
        }
    }
}
