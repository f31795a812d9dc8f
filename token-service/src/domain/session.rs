//! What a session is: one row with a generation number (S1).

use carelink_platform::clock::Timestamp;
use uuid::Uuid;

/// The count of rotations since sign-in.
pub type Generation = u64;

/// What makes a token of one generation unguessable; 128 random bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Jti(pub [u8; 16]);

impl std::fmt::Debug for Jti {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Jti(..)")
    }
}

macro_rules! end_reasons {
    ($($(#[$doc:meta])* $name:ident $text:literal;)*) => {
        /// Why a session ended (S5).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum EndReason { $($(#[$doc])* $name,)* }

        impl EndReason {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// As it is stored and told.
            pub const fn as_str(self) -> &'static str { match self { $(Self::$name => $text,)* } }

            /// Reads what was stored; what a newer version wrote counts as revoked.
            pub fn parse(text: &str) -> Self { match text { $($text => Self::$name,)* _ => Self::Revoked } }
        }
    };
}

end_reasons! {
    /// By its holder.
    SignedOut "signed_out";
    /// By its holder, from another session.
    SignedOutEverywhere "signed_out_everywhere";
    /// The password was changed.
    PasswordChanged "password_changed";
    /// The user was disabled.
    Disabled "disabled";
    /// By an administrator or operator.
    Revoked "revoked";
    /// An old token was used again.
    Reused "reused";
    /// A token was ahead of the row.
    StateLost "state_lost";
    /// Its time was up.
    Expired "expired";
    /// Nobody used it for too long (S12).
    Idle "idle";
    /// Another sign-in in the same browser took its place (B4).
    Replaced "replaced";
    /// Its holder had more than they may; it was the oldest.
    Cap "cap";
    /// The key that had signed its refresh token was withdrawn.
    KeyWithdrawn "key_withdrawn";
    /// The database was restored from a backup.
    Restored "restored";
    /// The predecessor had blacklisted it.
    Blacklisted "blacklisted";
}

/// A session's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Names it.
    pub id: Uuid,
    /// Whose it is.
    pub subject: Uuid,
    /// The number of U4.
    pub user_id: u64,
    /// How often it has been rotated.
    pub generation: Generation,
    /// Of the present pair.
    pub jti: Jti,
    /// Of the pair before.
    pub previous_jti: Option<Jti>,
    /// When the present pair was made.
    pub rotated_at: Timestamp,
    /// What the next pair will grant; a JSON list.
    pub roles: String,
    /// What the present pair was minted with.
    pub minted: Minted,
    /// Authentication methods; a JSON list.
    pub amr: String,
    /// Authentication context class.
    pub acr: String,
    /// When they proved who they are.
    pub auth_time: Timestamp,
    /// When it began.
    pub created_at: Timestamp,
    /// When it is over; fixed at the beginning (S7).
    pub ends_at: Timestamp,
    /// Access tokens up to this generation are refused: a role was lost (U2).
    pub refused_generation: Option<Generation>,
    /// When and why it was ended.
    pub ended: Option<(Timestamp, EndReason)>,
    /// The call that made the present pair, if it named itself.
    pub rotated_by: Option<Uuid>,
    /// Who holds its tokens.
    pub mode: Mode,
    /// The highest generation whose access token a verifier has seen (S12).
    pub seen_generation: Generation,
}

/// Who holds a session's tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Whoever asked for them.
    Bearer,
    /// A browser, in cookies (B1).
    Cookies,
}

/// What a pair was minted with, so that it can be minted again byte for byte (S6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Minted {
    /// Signed the access token.
    pub access_kid: String,
    /// Signed the refresh token.
    pub refresh_kid: String,
    /// `iat` of both, a whole second.
    pub at: Timestamp,
    /// `exp` of the access token.
    pub access_expires: Timestamp,
    /// What it grants; a JSON list.
    pub roles: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_reason_reads_back() {
        for reason in EndReason::ALL {
            assert_eq!(EndReason::parse(reason.as_str()), *reason);
        }
        assert_eq!(EndReason::parse("of a newer version"), EndReason::Revoked);
    }

    #[test]
    fn a_jti_never_prints() {
        assert_eq!(format!("{:?}", Jti([7; 16])), "Jti(..)");
    }
}
